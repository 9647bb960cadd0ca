//! Groups that are used again. To make a group of v1, set its limits and remove it costs more than all mounts of a container; to give it another name
//! costs next to nothing. So an attempt's group is kept, under a name that no attempt has, when nothing of the attempt is left in it that matters
//! to the next: no process, no kill for lack of memory, no lifted quota, little memory (what was read from files stays charged for a while; the kernel takes it
//! back when it is needed). Its limits were read back when they were set, and only root can have changed them.
//!
//! v2 has two directories instead of three, and no renaming.

use super::file::count;
use super::{CgroupError, CpuQuota, Group, OomWatch, TaskJoin, file};
use crate::protocol::Limits;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// A kept group may still hold this part of its limit.
const MEMORY_LEFT_DIVISOR: u64 = 16;

/// A kept group.
#[derive(Debug)]
pub struct ReadyGroup {
    /// Under its name in between.
    group: Group,
    limits: Limits,
    /// `tasks` in each hierarchy that the stub joins.
    joins: Vec<File>,
    /// What the task joins.
    task: Option<TaskJoin>,
    usage: File,
    processes: File,
    kills: File,
    quota: CpuQuota,
    watch: Option<OomWatch>,
}

impl ReadyGroup {
    /// Whether these are its limits.
    pub fn has(&self, limits: &Limits) -> bool {
        self.limits == *limits
    }

    /// Tells when memory has run out in it.
    pub fn watch(&self) -> Option<&OomWatch> {
        self.watch.as_ref()
    }

    /// What is left for the task to join.
    pub fn task_join(&self) -> Option<&TaskJoin> {
        self.task.as_ref()
    }

    /// Its quota of processor time.
    pub fn cpu_quota(&self) -> &CpuQuota {
        &self.quota
    }

    /// What a stub needs to use it.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let watch = self.watch.iter().flat_map(OomWatch::descriptors);
        let task = self.task.iter().map(|join| join.tasks.as_fd());
        self.joins.iter().map(AsFd::as_fd).chain(task).chain(watch).chain([self.quota.descriptor()])
    }

    /// Removes it under its own name; parts of it may have another.
    pub fn remove(&self) -> Result<(), CgroupError> {
        self.group.remove()
    }

    /// Whether the next attempt finds it as good as new.
    fn is_as_new(&self) -> bool {
        let number = |file: &File| {
            let mut bytes = [0; 32];
            let read = file.read_at(&mut bytes, 0).ok()?;
            std::str::from_utf8(&bytes[..read]).ok()?.trim().parse::<u64>().ok()
        };
        let left = number(&self.usage).unwrap_or(u64::MAX);
        left <= self.limits.memory_bytes / MEMORY_LEFT_DIVISOR
            && number(&self.processes) == Some(0)
            && count(&self.kills, &super::oom::KILLS) == 0
            && self.quota.holds()
    }
}

impl Group {
    /// Makes a kept group this attempt's and moves the calling process, which must be single-threaded, into it. Instead of making, limiting and
    /// joining one. False when there is none: the runner that kept it has died, and the next has swept.
    pub fn take_over(&self, ready: &ReadyGroup) -> Result<bool, CgroupError> {
        for (number, (from, to)) in ready.group.directories().zip(self.directories()).enumerate() {
            match std::fs::rename(&from, &to) {
                Err(e) if number == 0 && e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                renamed => renamed.map_err(|e| CgroupError::file("rename", &from, e))?,
            }
        }
        for (mut join, dir) in ready.joins.iter().zip(self.parents.of_stub()) {
            join.write_all(b"0").map_err(|e| CgroupError::file("join", dir, e))?;
        }
        Ok(true)
    }

    /// Keeps the group of an attempt that has ended under another name. `before` is what it was kept as before. `None` when it is not fit for another
    /// attempt; it then has the attempt's name still, or in part.
    pub fn keep(&self, before: Option<ReadyGroup>, name: &str, limits: &Limits) -> Option<ReadyGroup> {
        if self.is_v2() || !self.has_all() || limits.io_bytes_per_s > 0 {
            return None;
        }
        let ready = match before {
            Some(ready) => ready,
            None => self.open(name, limits)?,
        };
        if !ready.is_as_new() {
            return None;
        }
        let rename = |(from, to)| std::fs::rename(from, to);
        self.directories().zip(ready.group.directories()).try_for_each(rename).ok()?;
        Some(ready)
    }

    fn open(&self, name: &str, limits: &Limits) -> Option<ReadyGroup> {
        let join = |parent: &std::path::PathBuf| file::open_to_write(&parent.join(&self.id).join("tasks"));
        let joins = self.parents.of_stub().map(join).collect::<Result<Vec<_>, _>>().ok()?;
        Some(ReadyGroup {
            group: self.named(name),
            limits: *limits,
            joins,
            task: self.task_join().ok()?,
            usage: File::open(self.memory("memory.usage_in_bytes")).ok()?,
            processes: File::open(self.pids("pids.current")).ok()?,
            kills: File::open(self.memory("memory.oom_control")).ok()?,
            quota: self.cpu_quota()?,
            watch: self.watch_oom().ok()?,
        })
    }
}
