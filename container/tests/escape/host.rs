//! The host as the suite sees it from outside: what must be as it was when the attempts are over.

use crate::support::groups::hierarchies;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// What attempts try to change, read before and after.
#[derive(Debug, PartialEq, Eq)]
pub struct HostState {
    host_name: String,
    /// Settings of the kernel, by path.
    settings: BTreeMap<PathBuf, Option<String>>,
    /// Limits of the machine's own groups, by path.
    limits: BTreeMap<PathBuf, Option<String>>,
    /// Mounts that an attempt has made.
    mounts: Vec<String>,
}

impl HostState {
    /// Reads it.
    pub fn read() -> HostState {
        let settings = [
            "core_pattern",
            "modprobe",
            "hotplug",
            "sysrq",
            "domainname",
            "panic",
            "printk",
            "randomize_va_space",
            "kptr_restrict",
            "yama/ptrace_scope",
        ];
        let settings = settings.map(|name| Path::new("/proc/sys/kernel").join(name));
        let helper = PathBuf::from("/sys/kernel/uevent_helper");
        let files = [
            "memory.limit_in_bytes",
            "memory.max",
            "pids.max",
            "cpu.max",
            "release_agent",
            "notify_on_release",
        ];
        let groups: Vec<PathBuf> =
            hierarchies().into_iter().flat_map(|mount| [mount.join("shoal"), mount]).collect();
        let limits = groups.iter().flat_map(|group| files.map(|file| group.join(file)));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        HostState {
            host_name: std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
            settings: settings.into_iter().chain([helper]).map(read).collect(),
            limits: limits.map(read).collect(),
            mounts: mounts.lines().filter(|line| line.contains("shoal-escape")).map(str::to_owned).collect(),
        }
    }
}

fn read(path: PathBuf) -> (PathBuf, Option<String>) {
    let text = std::fs::read_to_string(&path).ok();
    (path, text)
}

/// Everything below a directory that a change would show in, links not followed.
pub fn fingerprint(dir: &Path) -> BTreeMap<PathBuf, String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let mut content = DefaultHasher::new();
        if metadata.is_file() {
            std::fs::read(&path).unwrap().hash(&mut content);
        }
        let content = content.finish();
        let link = std::fs::read_link(&path).unwrap_or_default();
        let text =
            format!("{:o} {}:{} {link:?} {content:?}", metadata.mode(), metadata.uid(), metadata.gid());
        if metadata.is_dir() {
            found.extend(fingerprint(&path));
        }
        found.insert(path, text);
    }
    found
}
