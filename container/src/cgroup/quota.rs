//! Letting what was killed have the processor time that it needs to end. A process meets its SIGKILL on its way out of the kernel, and the kernel of
//! 6.18 stops it right there when its group has used its quota up, which a group may overdraw by seconds; older ones stop it anywhere. So
//! a group whose processes were killed loses its quota: nothing in it executes anything of its own any more.

use super::layout::is_there;
use super::{Group, file};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// The quota of a group, opened while its control files could be.
#[derive(Debug)]
pub struct CpuQuota {
    file: File,
    /// What means that there is none.
    unlimited: &'static str,
}

impl CpuQuota {
    /// Lets the group run as it likes. For groups that are dying: no attempt is given one that was lifted.
    pub fn lift(&self) {
        // What cannot be lifted takes longer to die.
        let _ = self.file.write_at(self.unlimited.as_bytes(), 0);
    }

    /// What it needs.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Whether it still limits the group.
    pub(super) fn holds(&self) -> bool {
        let mut bytes = [0; 32];
        let read = self.file.read_at(&mut bytes, 0).unwrap_or(0);
        bytes[..read].first().is_some_and(u8::is_ascii_digit)
    }
}

impl Group {
    /// Its quota; `None` where cpu is not limited.
    pub fn cpu_quota(&self) -> Option<CpuQuota> {
        if !is_there(&self.parents.cpu) {
            return None;
        }
        let (name, unlimited) = if self.is_v2() { ("cpu.max", "max") } else { ("cpu.cfs_quota_us", "-1") };
        let of_task = self.tasks_own().and_then(|own| file::open_to_change(&own.join(name)).ok());
        // An attempt of v2 that an earlier build has started has it on the group itself.
        let file = of_task.or_else(|| file::open_to_change(&self.cpu(name)).ok())?;
        Some(CpuQuota { file, unlimited })
    }
}
