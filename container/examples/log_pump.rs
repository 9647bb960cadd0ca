//! Measures ways to keep what a task writes: `cargo run --release -p shoal-container --example log_pump`. Each way moves the output of three kinds
//! of task to a file; printed is the CPU time of the task and of the keeper (median of five), which share a control group in earnest.
// getrusage has no safe face, and a task that is slow, or a keeper that waits for more, sleeps.
#![allow(unsafe_code, clippy::disallowed_methods)]

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 5;
/// The buffer of a keeper that reads: it stays within a core's second-level cache.
const READ_BYTES: usize = 128 << 10;
const TASKS: [(&str, &str); 4] = [
    ("bulk", "512 MB in 64k writes"),
    ("lines", "64 MB of 11-byte lines"),
    ("unbuffered", "20k unbuffered lines"),
    ("slow", "500 lines, 1 ms apart"),
];

/// How output is kept.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    pipe: Option<Pipe>,
}

#[derive(Clone, Copy)]
struct Pipe {
    bytes: usize,
    splice: bool,
    /// Before a pipe that is not half full is emptied.
    delay_ms: u64,
    /// What comes after goes to /dev/null.
    cap: u64,
}

const ALL: u64 = u64::MAX;
const CAP: u64 = 64 << 20;
const WAYS: [Way; 11] = [
    Way { name: "direct O_APPEND file", pipe: None },
    pipe("pipe 64K", 64, Pipe::PLAIN),
    pipe("pipe 64K, 2 ms delay", 64, Pipe { delay_ms: 2, ..Pipe::PLAIN }),
    pipe("pipe 64K, splice", 64, Pipe { splice: true, ..Pipe::PLAIN }),
    pipe("pipe 256K", 256, Pipe::PLAIN),
    pipe("pipe 1M", 1024, Pipe::PLAIN),
    pipe("pipe 1M, splice", 1024, Pipe { splice: true, ..Pipe::PLAIN }),
    pipe("pipe 64K, cap 64M", 64, Pipe { cap: CAP, ..Pipe::PLAIN }),
    pipe("pipe 256K, cap 64M", 256, Pipe { cap: CAP, ..Pipe::PLAIN }),
    pipe("pipe 1M, cap 64M", 1024, Pipe { cap: CAP, ..Pipe::PLAIN }),
    pipe("pipe 256K, cap 64M, splice", 256, Pipe { cap: CAP, splice: true, ..Pipe::PLAIN }),
];

impl Pipe {
    const PLAIN: Pipe = Pipe { bytes: 0, splice: false, delay_ms: 0, cap: ALL };
}

const fn pipe(name: &'static str, kib: usize, pipe: Pipe) -> Way {
    Way { name, pipe: Some(Pipe { bytes: kib << 10, ..pipe }) }
}

fn main() {
    if let Some(task) = std::env::args().nth(1) {
        return write_out(&task);
    }
    for (task, text) in TASKS {
        println!("{text}\n  {:32} {:>8} {:>8} {:>8} {:>8}", "", "task", "keeper", "both ms", "wall ms");
        write_row("no log (/dev/null)", |_| once(task, None));
        for way in WAYS {
            write_row(way.name, |_| once(task, Some(way)));
        }
    }
}

fn write_row(name: &str, once: impl Fn(usize) -> [f64; 3]) {
    let mut rounds: Vec<[f64; 3]> = (0..ROUNDS).map(once).collect();
    rounds.sort_by(|a, b| (a[0] + a[1]).total_cmp(&(b[0] + b[1])));
    let [task, keeper, wall] = rounds[ROUNDS / 2];
    println!("  {name:32} {task:8.0} {keeper:8.0} {:8.0} {wall:8.0}", task + keeper);
}

fn write_out(task: &str) {
    let mut out = std::mem::ManuallyDrop::new(File::from(
        std::io::stdout().as_fd().try_clone_to_owned().expect("stdout"),
    ));
    match task {
        "bulk" => {
            let block = vec![b'x'; 64 << 10];
            for _ in 0..(512 << 20) / block.len() {
                out.write_all(&block).expect("written");
            }
        }
        "lines" => {
            let mut out = BufWriter::with_capacity(4096, &*out);
            for _ in 0..(64 << 20) / 11 {
                out.write_all(b"0123456789\n").expect("written");
            }
        }
        "slow" => {
            for _ in 0..500 {
                out.write_all(b"0123456789\n").expect("written");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        _ => {
            for _ in 0..20_000 {
                out.write_all(b"0123456789\n").expect("written");
            }
        }
    }
}

/// CPU milliseconds of the task and of the keeper, and wall milliseconds.
fn once(task: &str, way: Option<Way>) -> [f64; 3] {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg(task);
    let before = [cpu_ms(libc::RUSAGE_CHILDREN), cpu_ms(libc::RUSAGE_SELF)];
    let begin = std::time::Instant::now();
    match way.map(|way| way.pipe) {
        None => run(command.stdout(Stdio::null())),
        Some(None) => {
            let log = File::options().append(true).open(file.path()).expect("the file");
            run(command.stdout(log));
        }
        Some(Some(pipe)) => {
            let (output, end) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
            rustix::io::ioctl_fionbio(&output, true).expect("non-blocking");
            fcntl_setpipe_size(&output, pipe.bytes).expect("its size");
            let mut child = command.stdout(end).spawn().expect("started");
            drop(command);
            keep(&output, file.as_file(), pipe);
            child.wait().expect("reaped");
        }
    }
    let wall = begin.elapsed().as_secs_f64() * 1000.0;
    [cpu_ms(libc::RUSAGE_CHILDREN) - before[0], cpu_ms(libc::RUSAGE_SELF) - before[1], wall]
}

fn run(command: &mut Command) {
    command.status().expect("it ran");
}

fn keep(output: &OwnedFd, file: &File, pipe: Pipe) {
    let null = File::options().write(true).open("/dev/null").expect("null");
    let mut buffer = vec![0; READ_BYTES.min(pipe.bytes)];
    let mut at = 0u64;
    loop {
        poll(&mut [PollFd::new(output, PollFlags::IN)], None).expect("polled");
        if pipe.delay_ms > 0 && rustix::io::ioctl_fionread(output).expect("size") < pipe.bytes as u64 / 2 {
            std::thread::sleep(Duration::from_millis(pipe.delay_ms));
        }
        let moved = if pipe.splice && at < pipe.cap {
            splice(output, None, file, Some(&mut at), pipe.bytes, SpliceFlags::NONBLOCK)
        } else if pipe.splice {
            splice(output, None, &null, None, pipe.bytes, SpliceFlags::NONBLOCK)
        } else {
            rustix::io::read(output, &mut buffer[..]).inspect(|read| {
                if at < pipe.cap {
                    at += rustix::io::write(file, &buffer[..*read]).expect("written") as u64;
                }
            })
        };
        match moved {
            Ok(0) => return,
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn cpu_ms(who: i32) -> f64 {
    // SAFETY: rusage is plain old data and the call fills it.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(who, &raw mut usage);
        usage
    };
    let ms = |time: libc::timeval| time.tv_sec as f64 * 1000.0 + time.tv_usec as f64 / 1000.0;
    ms(usage.ru_utime) + ms(usage.ru_stime)
}
