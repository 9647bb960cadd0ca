//! More than the limits give: tried to the end, so these come last.

use super::told;
use crate::escape::attempt::{Attempt, Control, Outcome, reason};
use crate::escape::raw::{call, exit, fork, wait};
use std::os::fd::AsFd;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("limits::more_open_files", open_files, Control::None("the limit of the host differs")),
    Attempt::new("limits::more_terminals", terminals, Control::None("would use up the host's terminals")),
    Attempt::new(
        "limits::more_in_the_writable_directories",
        disk,
        Control::None("would fill the host's disk"),
    ),
    Attempt::new("limits::more_locked_memory", locked, Control::Root),
    Attempt::new("limits::more_processes", processes, Control::None("would use up the host's processes")),
];

/// More than any container may have.
const FILES_MAX: usize = 1 << 20;

fn open_files() -> Outcome {
    let mut count = 0;
    loop {
        match call!(libc::SYS_dup, 0) {
            Ok(_) if count < FILES_MAX => count += 1,
            Ok(_) => return Outcome::Escaped(format!("{count} open files")),
            Err(error) => return Outcome::Held(format!("{count} open files, then {}", reason(&error))),
        }
    }
}

/// The machine has 4096 terminals for all; one container must leave the others most of them. Several processes, since each has its limit of files.
fn terminals() -> Outcome {
    const PROCESSES: usize = 8;
    const TERMINALS_MAX: usize = 1024;
    let Ok((reader, writer)) = std::io::pipe() else { return Outcome::Broken("no pipe".into()) };
    let mut children = Vec::new();
    for _ in 0..PROCESSES {
        match fork() {
            Ok(0) => hold_terminals(&writer, TERMINALS_MAX),
            Ok(child) => children.push(child),
            Err(_) => break,
        }
    }
    drop(writer);
    let counts = (0..children.len()).map_while(|_| read_count(&reader)).collect::<Vec<_>>();
    for child in &children {
        let _ = call!(libc::SYS_kill, *child, libc::SIGKILL);
        let _ = wait(*child);
    }
    let total: usize = counts.iter().sum();
    Outcome::expect(
        total < TERMINALS_MAX && counts.len() == children.len(),
        format!("{total} terminals in {} processes", counts.len()),
    )
}

fn hold_terminals(writer: &impl AsFd, max: usize) -> ! {
    let mut count = 0;
    while count < max
        && call!(libc::SYS_openat, libc::AT_FDCWD, c"/dev/ptmx".as_ptr(), libc::O_RDWR | libc::O_NOCTTY, 0)
            .is_ok()
    {
        count += 1;
    }
    let _ = rustix::io::write(writer, &count.to_ne_bytes());
    loop {
        let _ = call!(libc::SYS_pause);
    }
}

fn read_count(reader: &impl AsFd) -> Option<usize> {
    let mut bytes = [0; size_of::<usize>()];
    (rustix::io::read(reader, &mut bytes) == Ok(bytes.len())).then(|| usize::from_ne_bytes(bytes))
}

/// Holes and space: what can be allocated in the three directories together must be below the memory that the container has.
fn disk() -> Outcome {
    const PIECE: usize = 1 << 20;
    const BYTES_MAX: usize = 64 << 20;
    let mut taken = 0;
    for dir in ["/tmp", "/work", "/dev/shm"] {
        let path = std::ffi::CString::new(format!("{dir}/shoal-escape-big")).unwrap_or_default();
        let Ok(file) =
            call!(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600)
        else {
            continue;
        };
        let mut size = 0;
        while taken <= BYTES_MAX && call!(libc::SYS_fallocate, file, 0, size, PIECE).is_ok() {
            size += PIECE;
            taken += PIECE;
        }
    }
    for dir in ["/tmp", "/work", "/dev/shm"] {
        let _ = std::fs::remove_file(format!("{dir}/shoal-escape-big"));
    }
    Outcome::expect(taken < BYTES_MAX, format!("{} MiB in the writable directories", taken >> 20))
}

fn locked() -> Outcome {
    const BYTES: usize = 32 << 20;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let Ok(memory) = call!(libc::SYS_mmap, 0, BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, -1isize, 0)
    else {
        return Outcome::Held("no memory to lock".into());
    };
    Outcome::of("lock 32 MiB", call!(libc::SYS_mlock, memory, BYTES))
}

/// Children that wait until they are killed, as many as there can be.
fn processes() -> Outcome {
    let Ok(limit) = told::get(told::PIDS).parse::<usize>() else {
        return Outcome::Skipped("processes are not limited here, and the server was told (pids)".into());
    };
    let mut children = Vec::new();
    let refused = loop {
        match fork() {
            Ok(0) => loop {
                if call!(libc::SYS_pause).is_ok() {
                    exit(0);
                }
            },
            Ok(child) if children.len() <= limit => children.push(child),
            Ok(child) => {
                children.push(child);
                break None;
            }
            Err(error) => break Some(error),
        }
    };
    for child in &children {
        let _ = call!(libc::SYS_kill, *child, libc::SIGKILL);
    }
    for child in &children {
        let _ = wait(*child);
    }
    match refused {
        Some(error) => Outcome::Held(format!(
            "{} children of {limit} processes, then {}",
            children.len(),
            reason(&error)
        )),
        None => Outcome::Escaped(format!("{} children of {limit} processes", children.len())),
    }
}
