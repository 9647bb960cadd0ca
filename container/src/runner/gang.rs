//! Handing the server the directory of a member of a task of several nodes ([`crate::stub::gang`]): the runner holds it until the attempt is forgotten, and its
//! stub while it lives, from which a runner that comes back has it again.

use super::Runner;
use super::attempt::Phase;
use crate::protocol::Event;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Pid;
use std::os::fd::OwnedFd;

impl Runner {
    /// Answers with the directory of an attempt that has one.
    pub(super) fn tell_gang_directory(&mut self, id: String) {
        let Some(attempt) = self.attempts.number(&id).and_then(|number| self.attempts.get_mut(number)) else {
            return;
        };
        let ended = !matches!(attempt.phase, Phase::Alive(_));
        let Some(directory) = &attempt.gang else { return };
        // Without a descriptor left the server asks again at its next connection.
        if let Ok(directory) = directory.try_clone() {
            self.tell_with(&Event::GangDirectory { id, ended }, directory);
        }
    }
}

/// The directory of an attempt that an earlier runner has started: its stub has it open under this number. Without root a stub cannot be looked into, so
/// that there is none: whoever has it by now keeps it.
pub(super) fn of_stub(pid: Pid, number: i32) -> Option<OwnedFd> {
    let path = format!("/proc/{}/fd/{number}", pid.as_raw_nonzero());
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}
