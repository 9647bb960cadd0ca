//! The program inside: runs attempts, each in a forked process with a time limit, and prints a line on each.

use super::attempt::{Attempt, Outcome};
use super::attempts;
use super::raw;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// An attempt that has not ended by then hangs.
const SECONDS_MAX: i64 = 20;

/// What the program was started with, before it opened anything.
static DESCRIPTORS: OnceLock<Vec<(i32, String)>> = OnceLock::new();

/// The descriptors that the program was started with, and where they lead.
pub fn inherited() -> &'static [(i32, String)] {
    DESCRIPTORS.get_or_init(|| {
        let list = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let open = list.filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            // The list's own descriptor is closed by now.
            Some((number, std::fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
        });
        let open: Vec<_> = open.collect();
        open.into_iter()
            .filter(|(number, _)| std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok())
            .collect()
    })
}

/// Runs the attempts of these names, or all. Each attempt's process calls `before` first.
pub fn run(names: &[String], before: fn()) {
    inherited();
    for attempt in attempts::all() {
        if names.is_empty() || names.iter().any(|name| name == attempt.name) {
            let line = format!("{}\t{}\n", attempt.name, run_one(attempt, before).line());
            // Whoever reads it is gone or reads it all.
            let _ = std::io::stdout().write_all(line.as_bytes());
        }
    }
}

fn run_one(attempt: &Attempt, before: fn()) -> Outcome {
    let Ok((reader, mut writer)) = std::io::pipe() else { return Outcome::Broken("no pipe".into()) };
    let child = match raw::fork() {
        Ok(0) => {
            drop(reader);
            before();
            let outcome = (attempt.run)();
            let _ = writer.write_all(outcome.line().as_bytes());
            raw::exit(0)
        }
        Ok(child) => child,
        Err(error) => return Outcome::Broken(format!("fork: {error}")),
    };
    drop(writer);
    let limit = Timespec { tv_sec: SECONDS_MAX, tv_nsec: 0 };
    let answered = poll(&mut [PollFd::new(&reader.as_fd(), PollFlags::IN)], Some(&limit)).unwrap_or(0) > 0;
    if !answered {
        let _ = raw::call!(libc::SYS_kill, child, libc::SIGKILL);
    }
    let text = if answered { std::io::read_to_string(&reader).unwrap_or_default() } else { String::new() };
    let status = raw::wait(child).unwrap_or(-1);
    match Outcome::parse(&text) {
        Some(outcome) => outcome,
        None if !answered => Outcome::Broken(format!("hung for {SECONDS_MAX} s")),
        None if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS => {
            Outcome::Held("killed by SIGSYS".into())
        }
        None => Outcome::Broken(format!("ended with wait status {status:#x} and said {text:?}")),
    }
}
