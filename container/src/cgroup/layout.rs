//! Where the groups are: found once at the start of the runner. Three forms of machine: v1 and hybrid (each controller its own hierarchy; a
//! hybrid's unified mount carries none of ours) and v2 (one hierarchy).

use super::{CgroupError, Group, unified};
use cgroups_rs::fs::Controllers;
use cgroups_rs::fs::hierarchies::{V1, is_cgroup2_unified_mode};
use std::path::{Path, PathBuf};

/// The parent group of one runner's attempts.
#[derive(Debug)]
pub struct Cgroups {
    parent: Group,
}

impl Cgroups {
    /// Finds the hierarchies and prepares `shoal/HASH` in them.
    pub fn prepare(state_dir: &Path) -> Result<Cgroups, CgroupError> {
        let relative = PathBuf::from("shoal").join(hash_name(state_dir));
        if is_cgroup2_unified_mode() {
            let dir = unified::prepare(&relative)?;
            let parent = Group { memory: dir.clone(), cpu: dir.clone(), pids: dir, v2: true };
            return Ok(Cgroups { parent });
        }
        let v1 = V1::new();
        let at = |controller: Controllers, name| {
            let mount = v1.get_mount_point(controller).ok_or(CgroupError::Controller(name))?;
            Ok::<_, CgroupError>(mount.0.join(&relative))
        };
        let (memory, cpu) = (at(Controllers::Mem, "memory")?, at(Controllers::Cpu, "cpu")?);
        let parent = Group { memory, cpu, pids: at(Controllers::Pids, "pids")?, v2: false };
        for dir in parent.directories() {
            make_all(dir)?;
        }
        Ok(Cgroups { parent })
    }

    /// The group of an attempt; it need not exist.
    pub fn group(&self, id: &str) -> Group {
        let Group { memory, cpu, pids, v2 } = &self.parent;
        Group { memory: memory.join(id), cpu: cpu.join(id), pids: pids.join(id), v2: *v2 }
    }

    /// Attempts that have a group in any hierarchy.
    pub fn existing(&self) -> Vec<String> {
        let mut ids: Vec<String> = self
            .parent
            .directories()
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
        if self.parent.remove().is_ok() {
            for dir in self.parent.directories() {
                let _ = dir.parent().map(std::fs::remove_dir);
            }
        }
    }
}

/// Makes a group and those above it. Another runner that ends may remove `shoal` between the two, so a vanished parent is made again.
fn make_all(dir: &Path) -> Result<(), CgroupError> {
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
