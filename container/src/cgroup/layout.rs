//! Where the groups are: found once at the start of the runner. Three forms of machine: v1 and hybrid (each controller its own hierarchy; a
//! hybrid's unified mount carries none of ours) and v2 (one hierarchy).

use super::{CgroupError, Group, unified};
use cgroups_rs::fs::Controllers;
use cgroups_rs::fs::hierarchies::{V1, is_cgroup2_unified_mode};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The parent group of one runner's attempts.
#[derive(Debug)]
pub struct Cgroups {
    parents: Rc<Parents>,
}

/// It in each hierarchy. An empty path is a controller that a runner without root could not get.
#[derive(Debug, Clone)]
pub(super) struct Parents {
    pub(super) memory: PathBuf,
    pub(super) cpu: PathBuf,
    pub(super) pids: PathBuf,
    /// Of v1, where the machine has that hierarchy. Made when the first attempt needs it.
    pub(super) io: Option<PathBuf>,
    pub(super) v2: bool,
    /// On the disk that limits on reading and writing are for.
    pub(super) disk_of: PathBuf,
}

impl Parents {
    /// Each directory that every attempt has once, also where hierarchies are mounted together.
    pub(super) fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        let cpu = (self.cpu != self.memory).then_some(&self.cpu);
        let pids = (self.pids != self.memory && self.pids != self.cpu).then_some(&self.pids);
        std::iter::once(&self.memory).chain(cpu).chain(pids).filter(|dir| is_there(dir))
    }

    /// Those that the stub is a member of. Not of cpu where that is a hierarchy of its own (v1): the quota is the task's alone, or the stub, which keeps the
    /// deadline, would wait for it behind the task's own processes. On v2 the quota is on a group within (`Group::tasks_own`).
    pub(super) fn of_stub(&self) -> impl Iterator<Item = &PathBuf> {
        self.directories().filter(|dir| !self.is_tasks_alone(dir))
    }

    /// Of v1, the directory that only the task is in.
    pub(super) fn of_task(&self) -> Option<&PathBuf> {
        self.directories().find(|dir| self.is_tasks_alone(dir))
    }

    fn is_tasks_alone(&self, dir: &PathBuf) -> bool {
        !self.v2 && *dir == self.cpu && self.cpu != self.memory && self.cpu != self.pids
    }

    /// All of them.
    fn everywhere(&self) -> impl Iterator<Item = &PathBuf> {
        self.directories().chain(&self.io)
    }
}

impl Cgroups {
    /// Finds the hierarchies and prepares `shoal/HASH` in them.
    pub fn prepare(state_dir: &Path) -> Result<Cgroups, CgroupError> {
        let relative = PathBuf::from("shoal").join(hash_name(state_dir));
        let disk_of = state_dir.to_owned();
        if is_cgroup2_unified_mode() {
            let dir = unified::prepare(&relative)?;
            let parents =
                Parents { memory: dir.clone(), cpu: dir.clone(), pids: dir, io: None, v2: true, disk_of };
            return Ok(Cgroups { parents: Rc::new(parents) });
        }
        let v1 = V1::new();
        let at = |controller| Some(v1.get_mount_point(controller)?.0.join(&relative));
        let need = |controller, name| at(controller).ok_or(CgroupError::Controller(name));
        let parents = Parents {
            memory: need(Controllers::Mem, "memory")?,
            cpu: need(Controllers::Cpu, "cpu")?,
            pids: need(Controllers::Pids, "pids")?,
            io: at(Controllers::BlkIo),
            v2: false,
            disk_of,
        };
        for dir in parents.directories() {
            make_all(dir)?;
        }
        Ok(Cgroups { parents: Rc::new(parents) })
    }

    /// The same with those controllers alone that this process, which is not root, may use. Perhaps none.
    pub fn prepare_available(state_dir: &Path) -> Cgroups {
        let relative = PathBuf::from("shoal").join(hash_name(state_dir));
        let disk_of = state_dir.to_owned();
        if is_cgroup2_unified_mode() {
            let (dir, controllers) = unified::prepare_available(&relative).unwrap_or_default();
            let at = |name| if controllers.contains(&name) { dir.clone() } else { PathBuf::new() };
            let (memory, cpu, pids) = (at("memory"), at("cpu"), at("pids"));
            return Cgroups { parents: Rc::new(Parents { memory, cpu, pids, io: None, v2: true, disk_of }) };
        }
        let v1 = V1::new();
        let at = |controller: Controllers| {
            let dir = v1.get_mount_point(controller).map(|mount| mount.0.join(&relative));
            dir.filter(|dir| make_all(dir).is_ok())
        };
        let need = |controller| at(controller).unwrap_or_default();
        let (memory, cpu, pids) = (need(Controllers::Mem), need(Controllers::Cpu), need(Controllers::Pids));
        let io = at(Controllers::BlkIo);
        Cgroups { parents: Rc::new(Parents { memory, cpu, pids, io, v2: false, disk_of }) }
    }

    /// Controllers that are not there.
    pub fn missing(&self) -> Vec<&'static str> {
        let Parents { memory, cpu, pids, .. } = &*self.parents;
        let all = [(memory, "memory"), (cpu, "cpu"), (pids, "pids")];
        all.into_iter().filter(|(dir, _)| !is_there(dir)).map(|(_, name)| name).collect()
    }

    /// Limits on reading and writing are for the disk of this directory.
    pub fn with_disk_of(self, dir: &Path) -> Cgroups {
        Cgroups { parents: Rc::new(Parents { disk_of: dir.to_owned(), ..(*self.parents).clone() }) }
    }

    /// The group of an attempt; it need not exist.
    pub fn group(&self, id: &str) -> Group {
        Group { parents: Rc::clone(&self.parents), id: id.to_owned(), io: Cell::new(false) }
    }

    /// Attempts that have a group in any hierarchy.
    pub fn existing(&self) -> Vec<String> {
        let mut ids: Vec<String> = self
            .parents
            .everywhere()
            .filter_map(|dir| std::fs::read_dir(dir).ok())
            .flatten()
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Removes the parent group, and `shoal` itself when no other runner uses it.
    pub fn remove(&self) {
        for dir in self.parents.everywhere() {
            if std::fs::remove_dir(dir).is_ok() {
                let _ = dir.parent().map(std::fs::remove_dir);
            }
        }
    }
}

pub(super) fn is_there(dir: &Path) -> bool {
    !dir.as_os_str().is_empty()
}

/// Makes a group and those above it. Another runner that ends may remove `shoal` between the two, so a vanished parent is made again.
pub(super) fn make_all(dir: &Path) -> Result<(), CgroupError> {
    /// Other runners that would have to end in just these moments.
    const TRIES: usize = 8;
    let mut result = Ok(());
    for _ in 0..TRIES {
        result = std::fs::create_dir_all(dir);
        if !matches!(&result, Err(e) if e.kind() == std::io::ErrorKind::NotFound) {
            break;
        }
    }
    result.map_err(|e| CgroupError::file("make", dir, e))
}

/// 64-bit FNV-1a of the path, in hexadecimal: stable between builds, and short enough to read in a listing.
fn hash_name(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_between_state_directories_and_never_change() {
        assert_eq!(hash_name(Path::new("/a")), "07d66707b49cd92d");
        assert_ne!(hash_name(Path::new("/a")), hash_name(Path::new("/b")));
    }
}
