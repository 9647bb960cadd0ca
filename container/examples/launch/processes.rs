//! Tasks that are processes of this one: bare ones, and those of runtimes that are called once for each start.

use super::Result;
use super::variant::Variant;
use std::collections::HashMap;
use std::io::{PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Calls `command` for the numbers from `first` on, so often, with so many at once. std starts these without copying this process (posix_spawn).
pub fn run(
    starts: usize,
    in_flight: usize,
    first: usize,
    command: impl Fn(usize) -> Command,
) -> Result<Vec<Duration>> {
    let mut begun: HashMap<i32, Instant> = HashMap::new();
    let (mut next, mut took) = (0, Vec::with_capacity(starts));
    while took.len() < starts {
        while next < starts && begun.len() < in_flight {
            let at = Instant::now();
            let child = command(first + next).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
            begun.insert(child.id() as i32, at);
            next += 1;
        }
        let waited = rustix::process::wait(rustix::process::WaitOptions::empty())?;
        let (pid, status) = waited.ok_or("no process to wait for")?;
        let Some(at) = begun.remove(&pid.as_raw_nonzero().get()) else { continue };
        if status.exit_status() != Some(0) {
            return Err(format!("{:?} ended with {status:?}", command(first)).into());
        }
        took.push(at.elapsed());
    }
    Ok(took)
}

/// Makes one process for each command; each must say a byte once it is ready to idle.
pub fn start_idle(commands: impl Iterator<Item = Command>) -> Result<Vec<Child>> {
    let (mut ready, end) = std::io::pipe()?;
    let mut children = Vec::new();
    for mut command in commands {
        children.push(command.stdin(Stdio::null()).stdout(end.try_clone()?).spawn()?);
    }
    drop(end);
    await_bytes(&mut ready, children.len())?;
    Ok(children)
}

fn await_bytes(from: &mut PipeReader, count: usize) -> Result<()> {
    let mut bytes = vec![0; count];
    Ok(from.read_exact(&mut bytes)?)
}

/// What an idle task runs, with busybox's applets at `bin`: says that it is there, and sleeps.
pub fn idle_command(bin: &str) -> Vec<String> {
    ["sh", "-c", "printf . && exec sleep 3600"]
        .iter()
        .enumerate()
        .map(|(at, word)| match at {
            0 => format!("{bin}/{word}"),
            _ => (*word).to_owned(),
        })
        .collect()
}

/// Fork and exec of the same program, with nothing around it.
pub struct Bare {
    bin: PathBuf,
    idle: Vec<Child>,
}

impl Bare {
    /// Programs from this root.
    pub fn new(root: &Path) -> Bare {
        Bare { bin: root.join("bin"), idle: Vec::new() }
    }
}

impl Variant for Bare {
    fn name(&self) -> &str {
        "bare"
    }

    fn run(&mut self, starts: usize, in_flight: usize) -> Result<Vec<Duration>> {
        let program = self.bin.join("true");
        run(starts, in_flight, 0, |_| {
            let mut command = Command::new(&program);
            command.env_clear().env("PATH", "/bin");
            command
        })
    }

    fn servant(&self) -> Option<u32> {
        None
    }

    fn start_idle(&mut self, count: usize) -> Result<()> {
        let words = idle_command(&self.bin.to_string_lossy());
        let commands = (0..count).map(|_| {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).env_clear().env("PATH", &self.bin);
            command
        });
        self.idle = start_idle(commands)?;
        Ok(())
    }

    fn end_idle(&mut self) -> Result<()> {
        for mut child in self.idle.drain(..) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
