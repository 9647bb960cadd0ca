//! /proc of the container's pid namespace, with all that concerns the whole machine covered or read-only.
//!
//! What is covered is an entry of the file system that was made a moment before, reached by its descriptor and one name, through no link and across
//! no mount; what covers it is checked to be the null device. So neither can be swapped by what a root file system carries, or by anybody at
//! the same time (CVE-2025-31133, CVE-2025-52881, CVE-2025-62161).

use super::devices::EMPTY;
use super::error::{SetupError, Step};
use super::mounts::{attach_as, new_filesystem, restrict, view_of};
use rustix::fs::{AtFlags, FileType, fstat, fstatfs, makedev, statat};
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
const READ_ONLY: [&str; 6] = ["bus", "fs", "irq", "pressure", "sys", "sysrq-trigger"];
/// `PROC_SUPER_MAGIC` of linux/magic.h, and the inode of its root (linux/proc_ns.h).
const MAGIC: u64 = 0x9fa0;
const ROOT_INODE: u64 = 1;
const HARMLESS: Attr = Attr::MOUNT_ATTR_NOSUID.union(Attr::MOUNT_ATTR_NODEV).union(Attr::MOUNT_ATTR_NOEXEC);

/// Mounts it on /proc of `root`. `dev` is the container's /dev, and `template` has an empty directory.
pub fn mount(root: BorrowedFd<'_>, dev: BorrowedFd<'_>, template: BorrowedFd<'_>) -> Result<(), SetupError> {
    let proc = new_filesystem("proc", &[], HARMLESS)?;
    attach_as(proc.as_fd(), root, "proc").step("mount /proc")?;
    check_proc(proc.as_fd())?;
    check_null(dev)?;
    for name in MASKED {
        cover(proc.as_fd(), name, dev, template).step(format!("cover /proc/{name}"))?;
    }
    for name in READ_ONLY {
        match view_of(proc.as_fd(), name, false) {
            Err(Errno::NOENT) => Ok(()),
            opened => opened.and_then(|same| {
                restrict(same.as_fd(), Attr::MOUNT_ATTR_RDONLY)?;
                attach_as(same.as_fd(), proc.as_fd(), name)
            }),
        }
        .step(format!("make /proc/{name} read-only"))?;
    }
    Ok(())
}

/// Shows the null device in place of a file and an empty directory in place of a directory. Both are read-only already. It is looked at what is there
/// first: a view that is made and then not attached takes the kernel an expedited grace period of RCU to give up, more than all the rest here.
fn cover(
    proc: BorrowedFd<'_>,
    name: &str,
    dev: BorrowedFd<'_>,
    template: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    let stat = match statat(proc, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()), // what there is depends on the kernel's configuration
        stat => stat?,
    };
    let nothing = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => view_of(template, EMPTY, false),
        _ => view_of(dev, "null", false),
    };
    match attach_as(nothing?.as_fd(), proc, name) {
        Err(Errno::NOENT) => Ok(()), // gone with its module a moment ago
        attached => attached,
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

fn check_null(dev: BorrowedFd<'_>) -> Result<(), SetupError> {
    let stat = statat(dev, "null", AtFlags::SYMLINK_NOFOLLOW).step("look at /dev/null")?;
    let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if device && stat.st_rdev == makedev(1, 3) {
        return Ok(());
    }
    Err(io::Error::other("it is something else")).step("check that /dev/null is the null device")
}
