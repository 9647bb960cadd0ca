//! What may stand in the way of a start: an etcd that outlived its server, or a stranger on one of the ports.
//!
//! The caller holds the data directory's lock, so an etcd that runs on that directory has no server: it is ours to end. Nothing
//! is ever killed by name or by port: only the process that the pid file names, held by a pidfd so that it cannot be another one, and only
//! when its command line names the data directory.

use super::data_dir::DataDir;
use super::flags::data_dir_argument;
use super::url::{MemberUrl, UrlError};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long an orphan has to end in good order before it is killed, and then to be gone.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// Why a start is not possible.
#[derive(Debug, thiserror::Error)]
pub enum OrphanError {
    /// A port is taken by somebody else.
    #[error("{field} {url} is taken by another process: {advice}")]
    PortTaken {
        /// Which URL.
        field: &'static str,
        /// The URL.
        url: MemberUrl,
        /// What to do.
        advice: String,
    },
    /// A port cannot be bound for another reason.
    #[error("cannot listen on {field} {url}")]
    Bind {
        /// Which URL.
        field: &'static str,
        /// The URL.
        url: MemberUrl,
        /// Why not.
        source: std::io::Error,
    },
    /// A URL that cannot be listened on.
    #[error("{field}")]
    Url {
        /// Which URL.
        field: &'static str,
        /// What is wrong.
        source: UrlError,
    },
    /// It is our own, but does not die.
    #[error(
        "etcd with pid {pid} was left behind by a server that died, holds {field}, and cannot be ended: {why}"
    )]
    WillNotEnd {
        /// Its pid.
        pid: i32,
        /// What it holds.
        field: String,
        /// What happened.
        why: String,
    },
}

/// Ends the etcd that an earlier server left on this data directory. Returns its pid when there was one. Blocks for up to twice
/// [`END_DEADLINE`].
pub(super) fn end_orphan(data: &DataDir) -> Result<Option<i32>, OrphanError> {
    let Some((pid, process)) = find(data) else { return Ok(None) };
    let fails = |why: String| OrphanError::WillNotEnd {
        pid: pid.as_raw_nonzero().get(),
        field: data.etcd().display().to_string(),
        why,
    };
    tracing::warn!(pid = pid.as_raw_nonzero().get(), "ending an etcd that an earlier server left behind");
    for signal in [Signal::TERM, Signal::KILL] {
        match pidfd_send_signal(&process, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(fails(error.to_string())),
        }
        if ended_within(&process, END_DEADLINE).map_err(|error| fails(error.to_string()))? {
            return Ok(Some(pid.as_raw_nonzero().get()));
        }
    }
    Err(fails(format!("it did not end within {END_DEADLINE:?} of SIGKILL")))
}

/// The process of the pid file, if it runs on our data directory.
fn find(data: &DataDir) -> Option<(Pid, OwnedFd)> {
    let text = std::fs::read_to_string(data.pid_file()).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok().filter(|pid| *pid > 0)?)?;
    // First the handle, then the question whose it is: the answer then holds for what the handle holds.
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let command_line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let wanted = data_dir_argument(&data.etcd());
    let ours = command_line.split(|byte| *byte == 0).any(|argument| argument == wanted.as_bytes());
    ours.then_some((pid, process))
}

/// A pidfd becomes readable when its process has ended.
fn ended_within(process: &OwnedFd, limit: Duration) -> rustix::io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Checks that the member can listen on both URLs. After [`end_orphan`], whoever holds one is a stranger.
pub(super) fn check_ports(client_url: &MemberUrl, peer_url: &MemberUrl) -> Result<(), OrphanError> {
    for (field, url) in [("etcd-client-url", client_url), ("etcd-peer-url", peer_url)] {
        let address = url.listen_address().map_err(|source| OrphanError::Url { field, source })?;
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(source) if source.kind() == std::io::ErrorKind::AddrInUse => {
                let advice = format!("see `ss -ltnp sport = :{}`, or give another --{field}", address.port());
                return Err(OrphanError::PortTaken { field, url: url.clone(), advice });
            }
            Err(source) => return Err(OrphanError::Bind { field, url: url.clone(), source }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::binary::Version;

    #[test]
    fn a_process_that_does_not_name_our_data_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::claim(dir.path(), "a", "c", Version::OLDEST).unwrap();
        // A pid file that names this very test: it would not survive being taken for an orphan.
        std::fs::write(data.pid_file(), std::process::id().to_string()).unwrap();
        assert_eq!(end_orphan(&data).unwrap(), None);
    }

    #[test]
    fn a_damaged_pid_file_names_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::claim(dir.path(), "a", "c", Version::OLDEST).unwrap();
        for text in ["", "-1", "0", "x", "99999999999"] {
            std::fs::write(data.pid_file(), text).unwrap();
            assert_eq!(end_orphan(&data).unwrap(), None, "{text:?}");
        }
    }
}
