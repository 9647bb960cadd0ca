//! A process that does nothing but stay in the user namespace. While it lives, a later runner of the same user can enter the namespace through it,
//! and so end or adopt containers whose ids exist only there. The runner that leaves no container behind ends it.

use crate::sys::{self, Fork};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// In the state directory: its process id and start time.
const FILE: &str = "keeper.pid";
/// Of /proc/PID/stat, counted from behind the name (proc_pid_stat(5) has it as number 22).
const STAT_START_TIME: usize = 19;

/// The process.
#[derive(Debug)]
pub struct Keeper {
    pidfd: OwnedFd,
    pid: Pid,
    file: PathBuf,
}

impl Keeper {
    /// One that an earlier runner has left.
    pub fn find(state_dir: &Path) -> Option<Keeper> {
        let file = state_dir.join(FILE);
        let text = std::fs::read_to_string(&file).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let pid = Pid::from_raw(pid.parse().ok()?)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // A pid is used again; both together are not. Asked after the process is held.
        (start_time(pid)? == started).then_some(Keeper { pidfd, pid, file })
    }

    /// Forks one.
    pub fn start(state_dir: &Path) -> io::Result<Keeper> {
        // SAFETY: the runner has one thread, and the child's branch never returns.
        #[allow(unsafe_code)]
        let (pid, pidfd) = match unsafe { sys::fork_into(0) }? {
            Fork::Child => stay(),
            Fork::Parent(pid, pidfd) => (pid, pidfd),
        };
        let keeper = Keeper { pidfd, pid, file: state_dir.join(FILE) };
        let started = start_time(pid).ok_or(io::ErrorKind::NotFound)?;
        let new = keeper.file.with_extension("new");
        let text = format!("{} {started}\n", pid.as_raw_nonzero());
        if let Err(error) = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &keeper.file)) {
            keeper.end();
            return Err(error);
        }
        Ok(keeper)
    }

    /// Moves the calling process, which must have one thread, into the namespace.
    pub fn join(&self) -> io::Result<()> {
        let path = format!("/proc/{}/ns/user", self.pid.as_raw_nonzero());
        let namespace = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))?)
    }

    /// Ends it.
    pub fn end(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = std::fs::remove_file(&self.file);
    }
}

/// The keeper's life.
fn stay() -> ! {
    let _ = rustix::thread::set_name(c"shoal-keeper");
    let _ = rustix::process::setsid();
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    if let Ok(null) = null {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    // SAFETY: this process was just forked and uses none of the runner's descriptors.
    #[allow(unsafe_code)]
    let _ = unsafe { sys::close_all_but(&mut []) };
    loop {
        // Returns after a signal that did not end the process.
        rustix::event::pause();
    }
}

fn start_time(pid: Pid) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, behind_name) = stat.rsplit_once(") ")?;
    behind_name.split(' ').nth(STAT_START_TIME).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_names_another_process_or_none_is_no_keeper() {
        let dir = tempfile::tempdir().unwrap();
        let me = rustix::process::getpid();
        let started = start_time(me).unwrap();
        let find = |text: &str| {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            Keeper::find(dir.path()).map(|keeper| keeper.pid)
        };
        assert_eq!(find(&format!("{} {started}\n", me.as_raw_nonzero())), Some(me));
        assert_eq!(find(&format!("{} 1\n", me.as_raw_nonzero())), None);
        for text in ["", "0 0", "x y", "2147483647 5"] {
            assert_eq!(find(text), None, "{text}");
        }
    }
}
