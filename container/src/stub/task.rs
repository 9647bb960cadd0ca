//! The task's process between fork and exec. It works on the stub's memory while the stub sleeps, and has its own credentials, descriptors, and signal dispositions.

use super::error::{SetupError, Step};
use super::{Job, privileges, program};
use crate::cgroup::TaskJoin;
use crate::failpoint;
use crate::protocol::Cause;
use crate::sys;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// A task goes before the stub when its memory is short and before every service when the host's is. (The runner and its stubs stand at the
/// other end, where they have the privilege for that; raising needs none.)
const OOM_SCORE_ADJ: &str = "500";
const OOM_SCORE_FILE: &str = "/proc/self/oom_score_adj";

/// Becomes the task. `failure` says why it did not: it is empty from just before the exec on, and filled again should that fail. The caller
/// ends the process.
pub fn become_task(
    job: &Job<'_>,
    group: Option<&TaskJoin>,
    output: BorrowedFd<'_>,
    failure: &mut Option<Cause>,
) {
    *failure = Some(match prepare(job, group, output) {
        Err(error) => Cause::Setup(error.to_string()),
        Ok(()) => match enter_workdir(job) {
            Some(cause) => cause,
            None if job.page.passed() => {
                Cause::Vanished("the deadline passed before the program was executed".to_owned())
            }
            None => {
                failpoint!("task.before_exec");
                *failure = None;
                program::execute(&job.start.command, &job.start.env)
            }
        },
    });
}

/// Lets the kernel choose this process before others when memory is short.
fn go_first() -> rustix::io::Result<()> {
    match write_oom_score() {
        // What is hidden belongs to the machine's root: without root, the stub has done it before it hid.
        Err(Errno::ACCESS) if read_oom_score()? == OOM_SCORE_ADJ => Ok(()),
        written => written,
    }
}

/// The stub's part, before it is hidden: where the runner had no privilege to stand at the other end, its stubs stand by their tasks, which
/// could not get there on their own.
pub fn go_first_unless_protected() -> rustix::io::Result<()> {
    if read_oom_score()?.starts_with('-') { Ok(()) } else { write_oom_score() }
}

fn write_oom_score() -> rustix::io::Result<()> {
    let file = rustix::fs::openat(CWD, OOM_SCORE_FILE, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, OOM_SCORE_ADJ.as_bytes()).map(drop)
}

fn read_oom_score() -> rustix::io::Result<String> {
    let file = rustix::fs::openat(CWD, OOM_SCORE_FILE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = [0; 16];
    let read = rustix::io::read(file, &mut text)?;
    Ok(String::from_utf8_lossy(&text[..read]).trim().to_owned())
}

fn enter_workdir(job: &Job<'_>) -> Option<Cause> {
    let error = std::io::Error::from(rustix::process::chdir(job.start.workdir.as_str()).err()?);
    Some(Cause::NotExecutable(format!("working directory {}: {error}", job.start.workdir)))
}

fn prepare(job: &Job<'_>, group: Option<&TaskJoin>, output: BorrowedFd<'_>) -> Result<(), SetupError> {
    if let Some(group) = group {
        group.join()?;
        sys::unshare(libc::CLONE_NEWCGROUP).step("make the cgroup namespace")?;
    }
    rustix::process::setsid().step("make a session")?;
    go_first().step("set oom_score_adj")?;
    let input = rustix::fs::openat(CWD, "/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .step("open /dev/null")?;
    rustix::stdio::dup2_stdin(input.as_fd()).step("set standard input")?;
    rustix::stdio::dup2_stdout(output).step("set standard output")?;
    rustix::stdio::dup2_stderr(output).step("set standard error")?;
    sys::close_from_at_exec(3).step("close files at exec")?;
    failpoint!("task.before_user_namespace");
    privileges::drop_all(job)?;
    sys::reset_signals().step("reset signals")?;
    job.filter.load().step("restrict system calls")
}
