//! Control groups as tests see them from outside: where they are, processes in them, and the group of a service.

use super::wait_for;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A machine's manager hands these down to the services that it starts.
const CONTROLLERS: &str = "+cpu +memory +pids";

/// Where control groups are mounted.
pub fn hierarchies() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut found: Vec<PathBuf> =
        fields.filter(|field| field[2].starts_with("cgroup")).map(|field| field[1].into()).collect();
    found.sort();
    found
}

/// Whether this machine has cgroup v2 alone.
pub fn unified() -> bool {
    hierarchies() == [Path::new("/sys/fs/cgroup")]
}

/// A program that is a member of these groups from its start.
pub fn joining(groups: &[PathBuf], program: &str) -> Command {
    let lists: Vec<String> = groups.iter().map(|group| format!("{}/cgroup.procs", group.display())).collect();
    let mut command = Command::new("sh");
    command.args(["-c", "for list in $LISTS; do echo $$ >$list || exit; done; exec \"$0\" \"$@\"", program]);
    command.env("LISTS", lists.join(" "));
    command
}

/// A group like those that a machine's manager makes for its services, in each hierarchy that has one of our controllers. Ends the
/// processes it was given, and removes itself.
pub struct Service {
    /// Its path in each hierarchy.
    pub name: PathBuf,
    /// Its directories.
    pub groups: Vec<PathBuf>,
    processes: Vec<Child>,
}

impl Service {
    /// Makes it, with the controllers that a manager hands down.
    pub fn new(name: &str) -> Service {
        let slice = PathBuf::from(format!("shoal-test-{}-{name}.slice", std::process::id()));
        let name = slice.join("shoald.service");
        let mounts: Vec<PathBuf> =
            hierarchies().into_iter().filter(|mount| unified() || has_controller(mount)).collect();
        let groups: Vec<PathBuf> = mounts.iter().map(|mount| mount.join(&name)).collect();
        for (mount, group) in mounts.iter().zip(&groups) {
            std::fs::create_dir_all(group).unwrap();
            if unified() {
                for dir in [mount.clone(), mount.join(&slice)] {
                    std::fs::write(dir.join("cgroup.subtree_control"), CONTROLLERS).unwrap();
                }
            }
        }
        Service { name, groups, processes: Vec::new() }
    }

    /// Marks the group as systemd does for `Delegate=yes`. v1 has no such attributes.
    pub fn delegate(&self) {
        if unified() {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&self.groups[0], "trusted.delegate", b"1", flags).unwrap();
        }
    }

    /// Leaves it to a user, as a user's own manager does with `Delegate=yes`.
    pub fn delegate_to(&self, uid: u32) {
        for group in &self.groups {
            for name in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
                std::os::unix::fs::chown(group.join(name), Some(uid), Some(uid)).unwrap();
            }
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(group, "user.delegate", b"1", flags).unwrap();
        }
    }

    /// Starts a process in it.
    pub fn process(&mut self, program: &str, arguments: &[&str]) -> u32 {
        let child = joining(&self.groups, program).args(arguments).stdin(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        self.processes.push(child);
        let list = self.groups[0].join("cgroup.procs");
        wait_for("the service's process to join", || {
            std::fs::read_to_string(&list).ok()?.lines().any(|line| line == pid.to_string()).then_some(())
        });
        pid
    }

    /// Groups that were made in it.
    pub fn leaves(&self) -> Vec<PathBuf> {
        let entries = self.groups.iter().flat_map(|group| std::fs::read_dir(group).unwrap());
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for child in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
        let leaves = self.leaves();
        for group in leaves.iter().chain(&self.groups) {
            let _ = std::fs::remove_dir(group);
        }
        for group in &self.groups {
            let _ = group.parent().map(std::fs::remove_dir);
        }
    }
}

fn has_controller(mount: &Path) -> bool {
    // The top of the pids hierarchy has no file of its own.
    mount.ends_with("pids")
        || ["memory.limit_in_bytes", "cpu.shares"].iter().any(|file| mount.join(file).exists())
}
