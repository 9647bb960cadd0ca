//! /proc of the container's pid namespace, with all that concerns the whole machine covered or read-only.
//!
//! What is covered is opened beneath the file system that was made a moment before, by descriptor, through no link and across no mount; what covers
//! it is checked to be the null device. So neither can be swapped by what a root file system carries, or by anybody at the same time
//! (CVE-2025-31133, CVE-2025-52881, CVE-2025-62161).

use super::error::{SetupError, Step};
use super::mounts::{attach, new_filesystem, open_beneath, open_on, view};
use rustix::fs::{FileType, fstat, fstatfs, makedev};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags as Attr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Parts of /proc that show or change the whole machine: nothing is seen in their place.
const MASKED: [&str; 11] = [
    "acpi",
    "asound",
    "interrupts",
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
/// `PROC_SUPER_MAGIC` of linux/magic.h, and the inode of its root (linux/proc_ns.h).
const MAGIC: u64 = 0x9fa0;
const ROOT_INODE: u64 = 1;
const HARMLESS: Attr = Attr::MOUNT_ATTR_NOSUID.union(Attr::MOUNT_ATTR_NODEV).union(Attr::MOUNT_ATTR_NOEXEC);

/// Mounts it on /proc of `root`, where /dev must be mounted already. `empty` is an empty directory.
pub fn mount(root: BorrowedFd<'_>, empty: BorrowedFd<'_>) -> Result<(), SetupError> {
    let proc = new_filesystem("proc", &[], HARMLESS)?;
    open_beneath(root, "proc").and_then(|target| attach(proc.as_fd(), target.as_fd())).step("mount /proc")?;
    check_proc(proc.as_fd())?;
    let null = open_beneath(root, "dev/null").step("open /dev/null")?;
    check_null(null.as_fd())?;
    for name in MASKED {
        let Some(target) = existing(proc.as_fd(), name)? else { continue };
        let kind = fstat(&target).step(format!("look at /proc/{name}"))?.st_mode;
        let cover = if FileType::from_raw_mode(kind) == FileType::Directory { empty } else { null.as_fd() };
        view(cover, Attr::MOUNT_ATTR_RDONLY, false)
            .and_then(|cover| attach(cover.as_fd(), target.as_fd()))
            .step(format!("cover /proc/{name}"))?;
    }
    for name in READ_ONLY {
        let Some(target) = existing(proc.as_fd(), name)? else { continue };
        view(target.as_fd(), HARMLESS | Attr::MOUNT_ATTR_RDONLY, false)
            .and_then(|same| attach(same.as_fd(), target.as_fd()))
            .step(format!("make /proc/{name} read-only"))?;
    }
    Ok(())
}

/// Opens an entry, if it exists: what there is depends on the kernel's configuration.
fn existing(proc: BorrowedFd<'_>, name: &str) -> Result<Option<std::os::fd::OwnedFd>, SetupError> {
    match open_on(proc, name) {
        Ok(entry) => Ok(Some(entry)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).step(format!("open /proc/{name}")),
    }
}

fn check_proc(proc: BorrowedFd<'_>) -> Result<(), SetupError> {
    let magic = fstatfs(proc).step("look at /proc")?.f_type as u64;
    let inode = fstat(proc).step("look at /proc")?.st_ino;
    if (magic, inode) == (MAGIC, ROOT_INODE) {
        return Ok(());
    }
    let found = format!("file system {magic:#x}, inode {inode}");
    Err(io::Error::other(found)).step("check that /proc is the proc file system's root")
}

fn check_null(null: BorrowedFd<'_>) -> Result<(), SetupError> {
    let stat = fstat(null).step("look at /dev/null")?;
    let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if device && stat.st_rdev == makedev(1, 3) {
        return Ok(());
    }
    Err(io::Error::other("it is something else")).step("check that /dev/null is the null device")
}
