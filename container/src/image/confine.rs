//! Executes the unpacker behind walls: a user namespace whose root is a host user that owns nothing but the tree, and mount, pid, net, ipc, uts and cgroup
//! namespaces of its own. It gets the archive as standard input, a pipe as standard output and the tree as its directory, and no other descriptor.

use super::{Caps, IDS_RESERVED, Outcome, RESULT_BYTES_MAX};
use crate::policy::UserRange;
use crate::sys::{self, Fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longer than the largest image takes on a slow disk.
const PATIENCE: Duration = Duration::from_secs(1800);
const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;
/// The child's exit code when it could not become the unpacker.
const EXIT_SETUP: i32 = 125;

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// A step of the setup.
    #[error("cannot {action}: {source}")]
    Step {
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The unpacker's program.
    #[error("cannot open {path}: {source}")]
    Program {
        /// Where it was looked for.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It ended without a word.
    #[error("the unpacker {0} without a result")]
    Silent(String),
    /// It did not end.
    #[error("the unpacker took longer than {0:?}")]
    Slow(Duration),
}

fn step<T>(action: &'static str, result: Result<T, impl Into<io::Error>>) -> Result<T, ConfineError> {
    result.map_err(|source| ConfineError::Step { action, source: source.into() })
}

/// Unpacks `blob` into `tree` and returns what the unpacker said. For a process with one thread, whose directory it changes.
pub fn run(
    program: &Path,
    blob: &OwnedFd,
    tree: PathBuf,
    users: UserRange,
    caps: Caps,
) -> Result<Outcome, ConfineError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let executable = rustix::fs::open(program, flags, Mode::empty())
        .map_err(|source| ConfineError::Program { path: program.to_owned(), source: source.into() })?;
    step("enter the tree", rustix::process::chdir(&tree))?;
    let ids = users.count.min(IDS_RESERVED);
    let arguments = arguments(caps, ids)?;
    let (output, output_end) = step("make a pipe", pipe_with(PipeFlags::CLOEXEC))?;
    let (wait, go) = step("make a pipe", pipe_with(PipeFlags::CLOEXEC))?;
    // SAFETY: this process has one thread, and the child's branch never returns.
    #[allow(unsafe_code)]
    let (pid, pidfd) = match step("fork into namespaces", unsafe { sys::fork_into(NAMESPACES) })? {
        Fork::Child => {
            drop(go);
            let _ = become_unpacker(&executable, blob.as_fd(), output_end.as_fd(), &wait, &arguments);
            sys::exit_now(EXIT_SETUP)
        }
        Fork::Parent(pid, pidfd) => (pid, pidfd),
    };
    drop((output_end, wait));
    let told = step("map the ids", map(pid, UserRange { first: users.first, count: ids }))
        .and_then(|()| step("let it go", rustix::io::write(&go, &[1])))
        .and_then(|_| listen(&output));
    // It and all that it may have started: it is the first process of its namespace.
    let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
    let status = step("reap", rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED))?;
    let text = told?;
    serde_json::from_slice(&text).map_err(|_| {
        let how = match status.as_ref().and_then(|status| status.terminating_signal()) {
            Some(signal) => format!("was killed by signal {signal}"),
            None => format!("exited with {}", status.and_then(|s| s.exit_status()).unwrap_or(-1)),
        };
        ConfineError::Silent(how)
    })
}

fn arguments(caps: Caps, ids: u32) -> Result<Vec<CString>, ConfineError> {
    let caps = step("write the caps", serde_json::to_string(&caps))?;
    let words = ["shoal-unpack".to_owned(), caps, ids.to_string()];
    step("write the arguments", words.into_iter().map(CString::new).collect::<Result<_, _>>())
}

/// Writes the maps of a child's user namespace: its root is the first of the range.
fn map(pid: Pid, users: UserRange) -> io::Result<()> {
    let line = format!("0 {} {}\n", users.first, users.count);
    let pid = pid.as_raw_nonzero();
    std::fs::write(format!("/proc/{pid}/uid_map"), &line)?;
    std::fs::write(format!("/proc/{pid}/gid_map"), &line)
}

/// In the child: becomes root of the new user namespace, and then the unpacker. Returns only the failure.
fn become_unpacker(
    program: &OwnedFd,
    blob: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    wait: &OwnedFd,
    arguments: &[CString],
) -> io::Error {
    let prepare = || -> io::Result<()> {
        if rustix::io::read(wait, &mut [0])? != 1 {
            return Err(io::Error::other("nobody waits any more"));
        }
        sys::become_user(0, 0)?;
        // Behind the change of user, which clears it. Who died before is noticed by the pipe.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let mut ends = [PollFd::new(wait, PollFlags::empty())];
        if poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? != 0 {
            return Err(io::Error::other("nobody waits any more"));
        }
        rustix::stdio::dup2_stdin(blob)?;
        rustix::stdio::dup2_stdout(output)?;
        sys::reset_signals()?;
        sys::close_from_at_exec(3)
    };
    match prepare() {
        Ok(()) => sys::execveat(program, arguments, &[]),
        Err(error) => error,
    }
}

/// All that it prints, within its time.
fn listen(output: &OwnedFd) -> Result<Vec<u8>, ConfineError> {
    let deadline = Instant::now() + PATIENCE;
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while text.len() <= RESULT_BYTES_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(ConfineError::Slow(PATIENCE)),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return step("wait for the unpacker", Err(error)),
        }
        match step("read from the unpacker", rustix::io::read(output, &mut buffer))? {
            0 => return Ok(text),
            read => text.extend_from_slice(&buffer[..read]),
        }
    }
    Err(ConfineError::Silent("said too much and ended".to_owned()))
}
