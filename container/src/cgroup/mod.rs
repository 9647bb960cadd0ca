//! Limits and accounting of attempts: one group for each, `shoal/HASH/ID` in every hierarchy that carries the memory, cpu or
//! pids controller, where HASH stands for the runner's state directory, so that several nodes share a machine.
//!
//! cgroups-rs gives the layout of v1 and the setters; every value is read back, because its `apply` drops errors and an unlimited
//! task is worse than none. Creation, joining, killing, the OOM count and removal are our own few lines: the crate's differ by version
//! in ways that lose errors or sleep.

mod layout;
mod limits;
mod unified;

pub use layout::Cgroups;

use std::io;
use std::path::{Path, PathBuf};

/// Why a group could not be made, limited or joined.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A controller that limits need is not mounted.
    #[error("the {0} cgroup controller is not available")]
    Controller(&'static str),
    /// A controller that limits need is not available to a group of v2.
    #[error("the {controller} cgroup controller is not delegated to {group}")]
    NotDelegated {
        /// Its name.
        controller: &'static str,
        /// The group that lacks it.
        group: PathBuf,
    },
    /// A file or directory operation failed.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The crate's setter failed.
    #[error("cannot set a limit in {path}: {source}")]
    Set {
        /// The group.
        path: PathBuf,
        /// The cause.
        source: cgroups_rs::fs::error::Error,
    },
    /// The kernel holds another value than the one written.
    #[error("{path} is {found:?} after {wanted} was written")]
    NotHeld {
        /// The file.
        path: PathBuf,
        /// What was written.
        wanted: String,
        /// What it reads.
        found: String,
    },
}

impl CgroupError {
    fn file(action: &'static str, path: &Path, source: io::Error) -> CgroupError {
        CgroupError::File { action, path: path.to_owned(), source }
    }
}

/// The group of one attempt, in all its hierarchies.
#[derive(Debug, Clone)]
pub struct Group {
    memory: PathBuf,
    cpu: PathBuf,
    pids: PathBuf,
    v2: bool,
}

impl Group {
    /// Makes the group's directories. An existing one is an error: it would bring its old limits and counters.
    pub fn create(&self) -> Result<(), CgroupError> {
        for dir in self.directories() {
            std::fs::create_dir(dir).map_err(|e| CgroupError::file("make", dir, e))?;
        }
        Ok(())
    }

    /// Moves the calling process, which must be single-threaded, into the group.
    pub fn join(&self) -> Result<(), CgroupError> {
        // v1: `tasks` moves one thread and skips the lock that `cgroup.procs` takes over all processes of the system.
        let file = if self.v2 { "cgroup.procs" } else { "tasks" };
        for dir in self.directories() {
            write(&dir.join(file), "0")?;
        }
        Ok(())
    }

    /// Whether the kernel killed a process of the group for lack of memory. To be asked after the end and before the removal.
    pub fn oom_killed(&self) -> bool {
        let file = if self.v2 { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(self.memory.join(file)).unwrap_or_default();
        text.lines().filter_map(|line| line.split_once(' ')).any(|(key, count)| {
            matches!(key, "oom_kill" | "oom_group_kill") && count.trim().parse::<u64>().is_ok_and(|n| n > 0)
        })
    }

    /// Whether a process is in it.
    pub fn populated(&self) -> bool {
        self.directories()
            .any(|dir| std::fs::read(dir.join("cgroup.procs")).is_ok_and(|list| !list.is_empty()))
    }

    /// Sends SIGKILL to all that is in the group: the last resort when a stub cannot be reached.
    pub fn kill(&self) {
        if self.v2 && std::fs::write(self.pids.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        for dir in self.directories() {
            let members = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            for pid in members.lines().filter_map(|l| rustix::process::Pid::from_raw(l.parse().ok()?)) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    /// Removes the directories that exist. An error means that one is still populated: ask again later.
    pub fn remove(&self) -> Result<(), CgroupError> {
        for dir in self.directories() {
            match std::fs::remove_dir(dir) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(CgroupError::file("remove", dir, e)),
            }
        }
        Ok(())
    }

    /// Each directory once, also where hierarchies are mounted together.
    fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        let cpu = (self.cpu != self.memory).then_some(&self.cpu);
        let pids = (self.pids != self.memory && self.pids != self.cpu).then_some(&self.pids);
        std::iter::once(&self.memory).chain(cpu).chain(pids)
    }
}

fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    // Opened without O_CREAT, so that a missing control file is an error and not a new file's EACCES.
    let mut file =
        std::fs::OpenOptions::new().write(true).open(path).map_err(|e| CgroupError::file("open", path, e))?;
    io::Write::write_all(&mut file, text.as_bytes()).map_err(|e| CgroupError::file("write", path, e))
}

fn read(path: &Path) -> Result<String, CgroupError> {
    let text = std::fs::read_to_string(path).map_err(|e| CgroupError::file("read", path, e))?;
    Ok(text.trim_end().to_owned())
}
