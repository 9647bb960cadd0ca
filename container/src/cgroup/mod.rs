//! Limits and accounting of attempts: one group for each, `shoal/HASH/ID` in every hierarchy that carries the memory, cpu or
//! pids controller, where HASH stands for the runner's state directory, so that several nodes share a machine. The quota of processor time is not the
//! stub's: on v1 the stub is left out of the cpu hierarchy, on v2 the task has a group of its own in the attempt's (`shoal/HASH/ID/task`).
//!
//! cgroups-rs gives the layout of v1. Everything else is our own few lines: its setters drop errors or differ by version, open each
//! file twice to set it and read it back (which costs a start 60 us more than one descriptor does), and an unlimited task is worse than none.
//! Only a runner that is not root may go without a controller that it cannot get, and then says so.

mod disk;
mod file;
mod freeze;
mod join;
mod layout;
mod limits;
mod oom;
mod quota;
mod ready;
mod unified;

pub use join::TaskJoin;
pub use layout::Cgroups;
pub use oom::OomWatch;
pub use quota::CpuQuota;
pub use ready::ReadyGroup;

use layout::Parents;
use rustix::process::Pid;
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

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
    /// There is nothing to limit reading and writing on.
    #[error("reading and writing cannot be limited: {path} is on no single disk")]
    NoDisk {
        /// The directory whose disk it would have been.
        path: PathBuf,
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
    parents: Rc<Parents>,
    id: String,
    /// Whether this process has made the group of the blkio hierarchy, which only attempts with such a limit have.
    io: Cell<bool>,
}

impl Group {
    /// Makes the group's directories. An existing one is an error: it would bring its old limits and counters.
    pub fn create(&self) -> Result<(), CgroupError> {
        for dir in self.directories() {
            std::fs::create_dir(&dir).map_err(|e| CgroupError::file("make", &dir, e))?;
        }
        if self.tasks_own().is_some() { unified::split(&self.parents.cpu.join(&self.id)) } else { Ok(()) }
    }

    /// Whether a process is in it.
    pub fn populated(&self) -> bool {
        self.everywhere()
            .any(|dir| std::fs::read(dir.join("cgroup.procs")).is_ok_and(|list| !list.is_empty()))
    }

    /// The processes in it.
    pub fn members(&self) -> Vec<Pid> {
        let lists =
            self.everywhere().filter_map(|dir| std::fs::read_to_string(dir.join("cgroup.procs")).ok());
        let mut pids: Vec<Pid> =
            lists.flat_map(|list| list.lines().filter_map(parse_pid).collect::<Vec<_>>()).collect();
        pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
        pids.dedup();
        pids
    }

    /// Sends SIGKILL to all that is in the group: the last resort when a stub cannot be reached.
    pub fn kill(&self) {
        self.cpu_quota().inspect(CpuQuota::lift);
        if self.is_v2() && self.directories().any(|dir| std::fs::write(dir.join("cgroup.kill"), "1").is_ok())
        {
            return;
        }
        for pid in self.members() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// Removes the directories that exist. An error means that one is still populated: ask again later.
    pub fn remove(&self) -> Result<(), CgroupError> {
        // Innermost first, and whatever controllers this runner has: the one that made it may have had more.
        let inner = self.directories().filter(|_| self.is_v2()).map(|dir| dir.join(unified::TASK));
        for dir in inner.chain(self.everywhere()) {
            match std::fs::remove_dir(&dir) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(CgroupError::file("remove", &dir, e)),
            }
        }
        Ok(())
    }

    /// Makes the group of the blkio hierarchy; where it is.
    fn make_io(&self) -> Result<PathBuf, CgroupError> {
        let parent = self.parents.io.as_ref().ok_or(CgroupError::Controller("blkio"))?;
        layout::make_all(parent)?;
        let dir = parent.join(&self.id);
        std::fs::create_dir(&dir).map_err(|e| CgroupError::file("make", &dir, e))?;
        self.io.set(true);
        Ok(dir)
    }

    /// The directories that every attempt has.
    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        self.parents.directories().map(|parent| parent.join(&self.id))
    }

    /// All that an attempt may have.
    fn everywhere(&self) -> impl Iterator<Item = PathBuf> {
        self.directories().chain(self.parents.io.iter().map(|parent| parent.join(&self.id)))
    }

    /// On v2 the group in this one that has the quota of processor time and holds the task without its stub; none where cpu is not limited.
    fn tasks_own(&self) -> Option<PathBuf> {
        (self.is_v2() && layout::is_there(&self.parents.cpu)).then(|| self.cpu(unified::TASK))
    }

    fn is_v2(&self) -> bool {
        self.parents.v2
    }

    /// The group of all attempts, in some hierarchy; v2 has only one.
    fn any_parent(&self) -> Result<&PathBuf, CgroupError> {
        self.parents.directories().next().ok_or(CgroupError::Controller("io"))
    }

    /// The same hierarchies under another name.
    pub fn named(&self, name: &str) -> Group {
        Group { parents: Rc::clone(&self.parents), id: name.to_owned(), io: Cell::new(false) }
    }

    /// Whether no controller is missing.
    fn has_all(&self) -> bool {
        let Parents { memory, cpu, pids, .. } = &*self.parents;
        [memory, cpu, pids].iter().all(|dir| !dir.as_os_str().is_empty())
    }

    fn has_memory(&self) -> bool {
        layout::is_there(&self.parents.memory)
    }

    /// A directory on the disk that a limit on reading and writing is for.
    fn disk_of(&self) -> &Path {
        &self.parents.disk_of
    }

    fn memory(&self, file: &str) -> PathBuf {
        path(&self.parents.memory, &self.id, file)
    }

    fn cpu(&self, file: &str) -> PathBuf {
        path(&self.parents.cpu, &self.id, file)
    }

    fn pids(&self, file: &str) -> PathBuf {
        path(&self.parents.pids, &self.id, file)
    }
}

/// In one allocation, which `join` twice is not.
fn path(parent: &Path, id: &str, file: &str) -> PathBuf {
    let mut path = PathBuf::with_capacity(parent.as_os_str().len() + id.len() + file.len() + 2);
    path.push(parent);
    path.push(id);
    path.push(file);
    path
}

fn parse_pid(line: &str) -> Option<Pid> {
    Pid::from_raw(line.parse().ok()?)
}
