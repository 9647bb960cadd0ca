//! Noticing from inside that the kernel has killed a process of the group for lack of memory. v2 kills all of the group by itself
//! (`memory.oom.group`); on v1 one process dies, and what its parent makes of that is anybody's guess: so the stub kills the rest.

use super::file::count;
use super::{CgroupError, Group, file};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What tells of kills, in v1 and in v2.
pub(super) const KILLS: [&str; 2] = ["oom_kill", "oom_group_kill"];

/// Tells when memory has run out. Opened while the control files can be, used after.
#[derive(Debug)]
pub struct OomWatch {
    event: OwnedFd,
    control: File,
}

impl OomWatch {
    /// Readable after memory has run out, before a process was killed: a hint, and one of which nothing need follow.
    pub fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Takes the hint, so that the next one is seen; whether there was one.
    pub fn take_event(&self) -> bool {
        rustix::io::read(&self.event, &mut [0; 8]).is_ok()
    }

    /// What it needs.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.event.as_fd(), self.control.as_fd()]
    }

    /// Whether a process was killed.
    pub fn killed(&self) -> bool {
        count(&self.control, &KILLS) > 0
    }
}

impl Group {
    /// A watch on the group; `None` where the kernel kills the whole group, or cannot tell.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>, CgroupError> {
        if self.is_v2() || !self.has_memory() {
            return Ok(None);
        }
        let path = self.memory("memory.oom_control");
        let control = File::open(&path).map_err(|e| CgroupError::file("open", &path, e))?;
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let event =
            rustix::event::eventfd(0, flags).map_err(|e| CgroupError::file("watch", &path, e.into()))?;
        let request = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        match file::write(&self.memory("cgroup.event_control"), &request) {
            Ok(()) => {
                let watch = OomWatch { event, control };
                // The first read of a control file allocates its buffer. Were that the one when memory has run out, it would wait for the killed
                // process to give some back, and use up the processor time of the group that this one needs for it: up to 2 s.
                watch.killed();
                Ok(Some(watch))
            }
            // A kernel for real-time use has no such file.
            Err(CgroupError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the kernel killed a process of the group for lack of memory. To be asked after the end and before the removal.
    pub fn oom_killed(&self) -> bool {
        let file = if self.is_v2() { "memory.events" } else { "memory.oom_control" };
        self.has_memory() && File::open(self.memory(file)).is_ok_and(|file| count(&file, &KILLS) > 0)
    }
}
