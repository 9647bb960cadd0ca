//! What a program may expect under /dev and /proc, and nothing that reaches the host.

use super::error::{SetupError, Step};
use super::mounts::{attach, bind, new_filesystem, open_beneath, view};
use rustix::fs::{FileType, Mode, makedev, mkdirat, mknodat, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags as Attr;
use std::os::fd::{AsFd, BorrowedFd};

/// Character devices: name, major, minor (Documentation/admin-guide/devices.txt).
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// Links: name and target.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// The group that owns terminals, `tty` everywhere.
const TTY_GROUP: &str = "5";
/// Parts of /proc that show or change the whole machine: nothing is seen in their place.
const MASKED: [&str; 10] = [
    "acpi",
    "asound",
    "kcore",
    "keys",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];
/// Parts of /proc that can be written to: read-only.
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Fills a directory with nodes, links and the mount points `pts` and `shm`.
pub fn fill(dev: BorrowedFd<'_>) -> Result<(), SetupError> {
    for (name, major, minor) in NODES {
        mknodat(dev, name, FileType::CharacterDevice, Mode::from_bits_truncate(0o666), makedev(major, minor))
            .and_then(|()| {
                rustix::fs::chmodat(dev, name, Mode::from_bits_truncate(0o666), rustix::fs::AtFlags::empty())
            })
            .step(format!("make /dev/{name}"))?;
    }
    for (name, target) in LINKS {
        symlinkat(target, dev, name).step(format!("make /dev/{name}"))?;
    }
    for name in ["pts", "shm"] {
        mkdirat(dev, name, Mode::from_bits_truncate(0o755)).step(format!("make /dev/{name}"))?;
    }
    Ok(())
}

/// Mounts the container's own pseudo-terminals.
pub fn mount_terminals(root: BorrowedFd<'_>) -> Result<(), SetupError> {
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", TTY_GROUP)];
    let pts = new_filesystem("devpts", &options, Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NOEXEC)?;
    open_beneath(root, "dev/pts")
        .and_then(|target| attach(pts.as_fd(), target.as_fd()))
        .step("mount /dev/pts")
}

/// Mounts the pid namespace's /proc, with what concerns the whole machine masked. `empty` is an empty directory.
pub fn mount_proc(root: BorrowedFd<'_>, empty: BorrowedFd<'_>) -> Result<(), SetupError> {
    let harmless = Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV | Attr::MOUNT_ATTR_NOEXEC;
    let proc = new_filesystem("proc", &[], harmless)?;
    open_beneath(root, "proc").and_then(|target| attach(proc.as_fd(), target.as_fd())).step("mount /proc")?;
    let null = open_beneath(root, "dev/null").step("open /dev/null")?;
    for name in MASKED {
        let Some(stat) = stat(proc.as_fd(), name)? else { continue };
        let cover = if FileType::from_raw_mode(stat) == FileType::Directory { empty } else { null.as_fd() };
        bind(cover, root, &format!("proc/{name}"), Attr::MOUNT_ATTR_RDONLY)?;
    }
    for name in READ_ONLY {
        if stat(proc.as_fd(), name)?.is_none() {
            continue;
        }
        open_beneath(proc.as_fd(), name)
            .and_then(|it| {
                attach(view(it.as_fd(), harmless | Attr::MOUNT_ATTR_RDONLY, false)?.as_fd(), it.as_fd())
            })
            .step(format!("make /proc/{name} read-only"))?;
    }
    Ok(())
}

/// The mode of an entry, if it exists: what there is depends on the kernel's configuration.
fn stat(at: BorrowedFd<'_>, name: &str) -> Result<Option<u32>, SetupError> {
    match rustix::fs::statat(at, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat.st_mode)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).step(format!("look at /proc/{name}")),
    }
}
