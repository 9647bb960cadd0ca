//! Frozen processes of v1. They die of a SIGKILL only once they are thawed (those of v2 die at once), and whoever froze them need not
//! know that they are to die. They are moved out of the frozen group, which thaws them and nobody else: whatever else is frozen there is
//! not ours to thaw.

use super::Group;
use super::file::{read, write};
use cgroups_rs::fs::Controllers;
use cgroups_rs::fs::hierarchies::V1;
use std::path::Path;

impl Group {
    /// Moves frozen members into this process' own freezer group, where they run, and end if they were killed.
    pub fn thaw(&self) {
        if self.is_v2() {
            return;
        }
        let Some(own) = freezer_of("self") else { return };
        let elsewhere: Vec<(String, String)> = self
            .members()
            .into_iter()
            .map(|pid| pid.as_raw_nonzero().to_string())
            .filter_map(|pid| Some((freezer_of(&pid)?, pid)))
            .filter(|(group, _)| *group != own)
            .collect();
        if elsewhere.is_empty() {
            return;
        }
        let Some(mount) = V1::new().get_mount_point(Controllers::Freezer).map(|mount| mount.0) else {
            return;
        };
        for (group, pid) in elsewhere {
            if read(&mount.join(group).join("freezer.state")).is_ok_and(|state| state != "THAWED") {
                // It may be gone by now. One that cannot be moved is seen as what it is, a process that does not die.
                let _ = write(&mount.join(&own).join("cgroup.procs"), &pid);
            }
        }
    }
}

/// The freezer group of a process, relative to the top of that hierarchy.
fn freezer_of(pid: &str) -> Option<String> {
    let memberships = read(&Path::new("/proc").join(pid).join("cgroup")).ok()?;
    path_in(&memberships).map(str::to_owned)
}

fn path_in(memberships: &str) -> Option<&str> {
    memberships.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == "freezer").then(|| path.trim_start_matches('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_freezer_is_found_among_the_hierarchies_of_a_process() {
        let memberships = "9:name=systemd:/a\n6:freezer:/b/c\n4:memory:/freezer\n0::/";
        assert_eq!(path_in(memberships), Some("b/c"));
        assert_eq!(path_in("3:devices,freezer:/"), Some(""));
        assert_eq!(path_in("4:memory:/freezer\n0::/"), None);
    }
}
