//! A process that is known by a pid file. It is held by a pidfd before it is checked, so that what is signalled is what was checked,
//! even when the number is used again.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A live process.
#[derive(Debug)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    fd: OwnedFd,
}

impl Process {
    /// The process that `pid_file` names, if it is alive and `data_dir`, or a path in it, stands on its command line.
    pub fn of_pid_file(pid_file: &Path, data_dir: &Path) -> Option<Process> {
        let text = std::fs::read_to_string(pid_file).ok()?;
        let pid: i32 = text.split_whitespace().next()?.parse().ok()?;
        let fd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let process = Process { pid, fd };
        let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = names(&command_line, data_dir) && !process.ended_within(Duration::ZERO).ok()?;
        ours.then_some(process)
    }

    /// Sends a signal. That the process has ended meanwhile is no error.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.fd, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => Ok(sent?),
        }
    }

    /// Whether it ends within `limit`; returns at once when it does.
    pub fn ended_within(&self, limit: Duration) -> io::Result<bool> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends it: `signal`, and SIGKILL when `limit` has passed. Returns whether the first signal was enough.
    pub fn end(&self, signal: Signal, limit: Duration) -> io::Result<bool> {
        self.signal(signal)?;
        // A stopped process does not see the signal before it goes on.
        self.signal(Signal::CONT)?;
        if self.ended_within(limit)? {
            return Ok(true);
        }
        self.signal(Signal::KILL)?;
        self.ended_within(limit)?;
        Ok(false)
    }

    /// Whether it is stopped (SIGSTOP).
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The state is the first field behind the name, which stands in brackets and may hold anything.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
    }
}

/// Whether a word of the command line is, or ends in, `dir` or a path in it (`--data-dir=DIR/etcd`).
fn names(command_line: &[u8], dir: &Path) -> bool {
    let dir = dir.as_os_str().as_bytes();
    let hit = |window: usize| {
        let before = window.checked_sub(1).map_or(0, |index| command_line[index]);
        let after = command_line.get(window + dir.len()).copied().unwrap_or(0);
        matches!(before, 0 | b'=') && matches!(after, 0 | b'/')
    };
    command_line.windows(dir.len()).enumerate().any(|(at, window)| window == dir && hit(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid_file(dir: &Path, pid: u32) -> std::path::PathBuf {
        let path = dir.join("pid");
        std::fs::write(&path, format!("{pid}\n")).unwrap();
        path
    }

    #[test]
    fn only_a_whole_path_counts() {
        let dir = Path::new("/d/node-1");
        for line in [
            "etcd\0--data-dir=/d/node-1/etcd\0",
            "shoald\0--data-dir\0/d/node-1\0",
            "runner\0/d/node-1/runner",
        ] {
            assert!(names(line.as_bytes(), dir), "{line:?}");
        }
        for line in ["etcd\0--data-dir=/d/node-10/etcd\0", "sh\0/x/d/node-1\0", "", "/d/node-"] {
            assert!(!names(line.as_bytes(), dir), "{line:?}");
        }
    }

    #[test]
    fn a_process_is_found_stopped_resumed_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read line", "sh"])
            .arg(dir.path())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let path = pid_file(dir.path(), child.id());
        // The kernel lets the parent go on a moment before the new program's command line can be read.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let process = loop {
            match Process::of_pid_file(&path, dir.path()) {
                Some(process) => break process,
                None => assert!(
                    std::time::Instant::now() < deadline,
                    "its command line never names the directory"
                ),
            }
        };
        assert!(!process.is_stopped() && !process.ended_within(Duration::ZERO).unwrap());
        assert!(process.end(Signal::TERM, Duration::from_secs(10)).unwrap());
        child.wait().unwrap();
        assert!(Process::of_pid_file(&path, dir.path()).is_none());
    }

    #[test]
    fn a_process_of_somebody_else_is_never_taken_for_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = pid_file(dir.path(), std::process::id());
        assert!(Process::of_pid_file(&path, dir.path()).is_none());
        assert!(Process::of_pid_file(&dir.path().join("missing"), dir.path()).is_none());
    }
}
