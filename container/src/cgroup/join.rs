//! Becoming a member of an attempt's group: the stub of what counts memory and processes, the task of its cpu quota as well.

use super::{CgroupError, Group, file};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

/// What the task's own process joins, opened while the control files can be.
#[derive(Debug)]
pub struct TaskJoin {
    pub(super) tasks: File,
    pub(super) path: PathBuf,
}

impl TaskJoin {
    /// Moves the calling thread, which must be the only one of its process, into the group.
    pub fn join(&self) -> Result<(), CgroupError> {
        (&self.tasks).write_all(b"0").map_err(|e| CgroupError::file("join", &self.path, e))
    }
}

impl Group {
    /// Moves the calling process, which must be single-threaded, into the group: as its stub.
    pub fn join(&self) -> Result<(), CgroupError> {
        // v1: `tasks` moves one thread and skips the lock that `cgroup.procs` takes over all processes of the system.
        let list = if self.is_v2() { "cgroup.procs" } else { "tasks" };
        let io = self.parents.io.iter().filter(|_| self.io.get()).map(|parent| parent.join(&self.id));
        for dir in self.parents.of_stub().map(|parent| parent.join(&self.id)).chain(io) {
            file::write(&dir.join(list), "0")?;
        }
        Ok(())
    }

    /// What is left for the task to join; `None` where there is nothing.
    pub fn task_join(&self) -> Result<Option<TaskJoin>, CgroupError> {
        let of_v1 = || Some(self.parents.of_task()?.join(&self.id).join("tasks"));
        // v2 as well moves one thread without that lock.
        let of_v2 = self.tasks_own().map(|dir| dir.join("cgroup.threads"));
        let Some(path) = of_v2.or_else(of_v1) else { return Ok(None) };
        Ok(Some(TaskJoin { tasks: file::open_to_write(&path)?, path }))
    }
}
