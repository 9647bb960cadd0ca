//! The own log: a task may write to it, and that is all (the class of CVE-2026-6959, where it lay where the task could swap it).

use super::told;
use crate::escape::attempt::{Attempt, Control, Outcome};
use crate::escape::raw::call;
use std::fs::OpenOptions;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("logs::reach_the_log_by_its_path", by_path, Control::Root),
    Attempt::new(
        "logs::reopen_the_log",
        reopen,
        Control::None("standard output of the control is a pipe as well"),
    ),
    Attempt::new("logs::cut_the_log", cut, Control::None("standard output of the control is a pipe as well")),
    Attempt::new(
        "logs::change_the_logs_owner_mode_or_name",
        change,
        Control::None("standard output of the control is a pipe as well"),
    ),
];

fn by_path() -> Outcome {
    let attempts = told::get(told::ATTEMPTS);
    Outcome::all(
        [attempts.clone(), format!("{attempts}/.."), format!("/proc/self/cwd/{attempts}")]
            .map(|dir| Outcome::of(&format!("list {dir}"), std::fs::read_dir(&dir))),
    )
}

fn is_pipe(fd: usize) -> bool {
    std::fs::read_link(format!("/proc/self/fd/{fd}"))
        .is_ok_and(|link| link.to_string_lossy().starts_with("pipe:"))
}

/// A pipe can only be written to or drained; a file that is the log itself must not be read, for it may hold what other processes of the task said.
fn reopen() -> Outcome {
    Outcome::all([1, 2].map(|fd| {
        if is_pipe(fd) {
            return Outcome::Held(format!("{fd} is a pipe"));
        }
        let path = format!("/proc/self/fd/{fd}");
        Outcome::all([
            Outcome::of("reopen for writing", OpenOptions::new().write(true).open(&path)),
            Outcome::of("reopen for reading", OpenOptions::new().read(true).open(&path)),
        ])
    }))
}

fn cut() -> Outcome {
    const PUNCH_HOLE: usize = 3;
    Outcome::all([1, 2].map(|fd| {
        Outcome::all([
            Outcome::of("truncate", call!(libc::SYS_ftruncate, fd, 0)),
            Outcome::of("punch a hole", call!(libc::SYS_fallocate, fd, PUNCH_HOLE, 0, 1)),
            Outcome::of("allocate beyond", call!(libc::SYS_fallocate, fd, 0, 1u64 << 40, 1)),
            Outcome::of("write elsewhere", call!(libc::SYS_pwrite64, fd, c"x".as_ptr(), 1, 0)),
            appending(fd),
        ])
    }))
}

/// Without the flag a file could be overwritten; a pipe has no place to write to.
fn appending(fd: usize) -> Outcome {
    if is_pipe(fd) {
        return Outcome::Held(format!("{fd} is a pipe"));
    }
    Outcome::of("write without appending", call!(libc::SYS_fcntl, fd, libc::F_SETFL, 0))
}

fn change() -> Outcome {
    const FS_IOC_SETFLAGS: usize = 0x4008_6602;
    let link = c"/tmp/shoal-escape-log";
    let flags = 0x10i64;
    let outcomes = [1, 2].map(|fd| {
        if is_pipe(fd) {
            return Outcome::Held(format!("{fd} is a pipe, which nobody else uses"));
        }
        Outcome::all([
            Outcome::of("chmod", call!(libc::SYS_fchmod, fd, 0o666)),
            Outcome::of("chown", call!(libc::SYS_fchown, fd, 65534, 65534)),
            Outcome::of(
                "link",
                call!(libc::SYS_linkat, fd, c"".as_ptr(), libc::AT_FDCWD, link.as_ptr(), libc::AT_EMPTY_PATH),
            ),
            Outcome::of("attributes", call!(libc::SYS_ioctl, fd, FS_IOC_SETFLAGS, &raw const flags)),
        ])
    });
    Outcome::all(outcomes)
}
