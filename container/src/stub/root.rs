//! The container's root file system: the task's root read-only, and one private tmpfs behind everything that it may write to
//! (/tmp, /work, /dev/shm). Its pages are charged to the task's memory limit and its size is capped, so a task can fill neither
//! the node's disk nor its memory.
//!
//! A directory that has all the mount points is bound as it is. One that lacks some, and the host's own system, is put together
//! entry by entry in the tmpfs instead, because nothing may be created in somebody's directory.

use super::Job;
use super::error::{SetupError, Step};
use super::mounts::{self, SCRATCH, SEALED, attach, bind, is_directory, open_beneath, view};
use super::{devices, workdir};
use crate::protocol::Root;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, mkdirat, symlinkat};
use rustix::mount::{MountAttrFlags as Attr, UnmountFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The task's own directory.
pub const WORK: &str = "work";
/// Directories that we mount on.
const POINTS: [&str; 4] = ["proc", "dev", "tmp", WORK];
/// Of the host, these are never shown: kernel interfaces, and the sockets of its services.
const HOST_HIDDEN: [&str; 2] = ["sys", "run"];
/// The private tmpfs may take this part of the task's memory; the rest is left to run in, so that a full file system is ENOSPC and not an OOM kill.
const TMPFS_MEMORY_DIVISOR: u64 = 2;
/// One inode for so many bytes of it: an inode costs about 1 KiB of kernel memory, charged to the task as well.
const TMPFS_BYTES_PER_INODE: u64 = 4096;

/// Builds the root and moves into it.
pub fn enter(job: &Job<'_>) -> Result<(), SetupError> {
    mounts::make_private()?;
    let scratch = scratch(job)?;
    let root = match &job.start.root {
        Root::Directory(path) => directory_root(path, scratch)?,
        Root::Image(digest) => {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(missing).step(format!("open the image {digest}"));
        }
        Root::Host => {
            let host = mounts::open_host(Path::new("/")).step("open the host's root")?;
            let stage = mounts::open_host(Path::new("/tmp")).step("open the host's /tmp")?;
            attach(scratch.as_fd(), stage.as_fd()).step("mount the private file system")?;
            assemble(host.as_fd(), scratch.as_fd(), true)?;
            Built { root: scratch.try_clone().step("keep the root")?, scratch }
        }
    };
    furnish(job, &root)?;
    pivot(root.root.as_fd())
}

/// The root to be and the mounted private tmpfs.
struct Built {
    root: OwnedFd,
    scratch: OwnedFd,
}

/// The private tmpfs with its directories.
fn scratch(job: &Job<'_>) -> Result<OwnedFd, SetupError> {
    let bytes = (job.start.limits.memory_bytes / TMPFS_MEMORY_DIVISOR).max(TMPFS_BYTES_PER_INODE);
    let inodes = (bytes / TMPFS_BYTES_PER_INODE).max(64);
    let options =
        [("size", bytes.to_string()), ("nr_inodes", inodes.to_string()), ("mode", "0755".to_owned())];
    let options: Vec<(&str, &str)> = options.iter().map(|(k, v)| (*k, v.as_str())).collect();
    mounts::new_filesystem("tmpfs", &options, Attr::MOUNT_ATTR_NOSUID)
}

fn directory_root(path: &Path, scratch: OwnedFd) -> Result<Built, SetupError> {
    let step = || format!("open the root {}", path.display());
    let source = mounts::open_host(path).step(step())?;
    let complete = POINTS.iter().all(|name| is_directory(source.as_fd(), name));
    if complete {
        let root = view(source.as_fd(), SEALED, false).step(step())?;
        attach(root.as_fd(), source.as_fd()).step(step())?;
        let tmp = open_beneath(root.as_fd(), "tmp").step("open /tmp")?;
        attach(scratch.as_fd(), tmp.as_fd()).step("mount the private file system")?;
        return Ok(Built { root, scratch });
    }
    attach(scratch.as_fd(), source.as_fd()).step("mount the private file system")?;
    assemble(source.as_fd(), scratch.as_fd(), false)?;
    Ok(Built { root: scratch.try_clone().step("keep the root")?, scratch })
}

/// Shows each entry of `source` in `target`, read-only, but for those that we mount on.
fn assemble(source: BorrowedFd<'_>, target: BorrowedFd<'_>, host: bool) -> Result<(), SetupError> {
    let list =
        rustix::fs::openat(source, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .and_then(Dir::new)
            .step("list the root")?;
    for entry in list {
        let entry = entry.step("list the root")?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        let hidden = host && HOST_HIDDEN.contains(&name);
        if matches!(name, "." | "..") || hidden || POINTS.contains(&name) {
            continue;
        }
        show(source, target, name, host).step(format!("show /{name}"))?;
    }
    let empty: &[&str] = if host { &HOST_HIDDEN } else { &[] };
    for name in empty {
        mkdirat(target, *name, Mode::from_bits_truncate(0o555)).step(format!("make /{name}"))?;
    }
    Ok(())
}

fn show(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    name: &str,
    recursive: bool,
) -> rustix::io::Result<()> {
    let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(source, name, Vec::new())?;
            return symlinkat(link, target, name);
        }
        FileType::Directory => mkdirat(target, name, Mode::from_bits_truncate(0o755))?,
        FileType::RegularFile => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(target, name, flags, Mode::from_bits_truncate(0o644))?;
        }
        // A socket, pipe or device at the top of a root is nothing that a task needs.
        _ => return Ok(()),
    }
    let tree = view(open_beneath(source, name)?.as_fd(), SEALED, recursive)?;
    attach(tree.as_fd(), open_beneath(target, name)?.as_fd())
}

/// Makes and mounts what is private to the container.
fn furnish(job: &Job<'_>, built: &Built) -> Result<(), SetupError> {
    let (root, scratch) = (built.root.as_fd(), built.scratch.as_fd());
    let make = |name: &str, mode: u32| {
        let made = mkdirat(scratch, name, Mode::from_bits_truncate(mode));
        let made =
            made.and_then(|()| chmodat(scratch, name, Mode::from_bits_truncate(mode), AtFlags::empty()));
        made.and_then(|()| open_beneath(scratch, name)).step(format!("make /{name}"))
    };
    let dev = make("dev", 0o755)?;
    devices::fill(dev.as_fd())?;
    let shm = make("shm", 0o1777)?;
    let empty = make("empty", 0o555)?;
    make("proc", 0o555)?;
    let work = make(WORK, 0o755)?;
    let tmp = make("tmp", 0o1777)?;
    workdir::make_work(job, scratch)?;
    bind(
        dev.as_fd(),
        root,
        "dev",
        Attr::MOUNT_ATTR_RDONLY | Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NOEXEC,
    )?;
    bind(shm.as_fd(), root, "dev/shm", SCRATCH | Attr::MOUNT_ATTR_NOEXEC)?;
    devices::mount_terminals(root)?;
    devices::mount_proc(root, empty.as_fd())?;
    bind(work.as_fd(), root, WORK, SCRATCH)?;
    workdir::cover_host_directory(job, root, scratch)?;
    // Last: where the tmpfs itself was mounted on /tmp, this covers it.
    bind(tmp.as_fd(), root, "tmp", SCRATCH)?;
    crate::sys::set_mount_attributes(root, u64::from(Attr::MOUNT_ATTR_RDONLY.bits()), false)
        .step("make the root read-only")
}

/// Makes `root` the root of this mount namespace and lets go of the host's.
fn pivot(root: BorrowedFd<'_>) -> Result<(), SetupError> {
    rustix::process::fchdir(root).step("enter the root")?;
    rustix::process::pivot_root(".", ".").step("change the root")?;
    // The old root is stacked on the new one; "." is the old.
    rustix::mount::unmount(".", UnmountFlags::DETACH).step("let go of the host's root")?;
    let top = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    top.and_then(rustix::process::fchdir).step("enter the root")
}
