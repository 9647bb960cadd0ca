//! The task's process between fork and exec. It works on the stub's memory while the stub sleeps, and has its own credentials, descriptors, and signal dispositions.

use super::error::{SetupError, Step};
use super::{Job, privileges, program};
use crate::failpoint;
use crate::protocol::Cause;
use crate::sys;
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd};

/// A task goes before the stub when its memory is short and before every service when the host's is. (The runner and its stubs stand at the
/// other end, where they have the privilege for that; raising needs none.)
const OOM_SCORE_ADJ: &str = "500";

/// Becomes the task. `failure` says why it did not: it is empty from just before the exec on, and filled again should that fail. The caller
/// ends the process.
pub fn become_task(job: &Job<'_>, output: BorrowedFd<'_>, failure: &mut Option<Cause>) {
    *failure = Some(match prepare(job, output) {
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

fn enter_workdir(job: &Job<'_>) -> Option<Cause> {
    let error = std::io::Error::from(rustix::process::chdir(job.start.workdir.as_str()).err()?);
    Some(Cause::NotExecutable(format!("working directory {}: {error}", job.start.workdir)))
}

fn prepare(job: &Job<'_>, output: BorrowedFd<'_>) -> Result<(), SetupError> {
    rustix::process::setsid().step("make a session")?;
    let adjust =
        rustix::fs::openat(CWD, "/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    adjust.and_then(|file| rustix::io::write(file, OOM_SCORE_ADJ.as_bytes())).step("set oom_score_adj")?;
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
