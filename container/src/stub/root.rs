//! The container's root file system, and one private tmpfs behind everything that the task may write to. Its pages are charged to the task's
//! memory limit and its size is capped, so a task can fill neither the node's disk nor its memory.
//!
//! A directory that has all the mount points is bound as it is, read-only. One that lacks some, and every image, is the lower layer of an overlay,
//! because nothing may be created in somebody's directory. The host's own system is put together entry by entry in the tmpfs.

use super::error::{SetupError, Step};
use super::mounts::{self, SCRATCH, SEALED, attach, attach_as, is_directory, open_beneath, view, view_of};
use super::{Job, Tree, binds, devices, gang, overlay, proc, workdir};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, mkdirat, symlinkat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags as Attr, UnmountFlags};
use std::io;
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
    // Modes are meant as they are written here.
    let umask = rustix::process::umask(Mode::empty());
    mounts::make_private()?;
    // All that is the host's is opened while its names still mean what they did.
    let template = mounts::open_host(job.devices).step("open the devices")?;
    let sources = binds::open_sources(job)?;
    let scratch = scratch(job)?;
    let built = match &job.tree {
        Some(tree) => tree_root(job, tree, scratch)?,
        None => host_root(scratch)?,
    };
    furnish(job, &built, template.as_fd())?;
    gang::mount(job.gang, built.root.as_fd())?;
    binds::mount(job, &sources, built.root.as_fd())?;
    if !built.writable {
        crate::sys::set_mount_attributes(&built.root, u64::from(Attr::MOUNT_ATTR_RDONLY.bits()), false)
            .step("make the root read-only")?;
    }
    pivot(built.root.as_fd())?;
    rustix::process::umask(umask);
    Ok(())
}

/// The root to be and the mounted private tmpfs.
struct Built {
    root: OwnedFd,
    scratch: OwnedFd,
    /// Whether the task may write to the root itself.
    writable: bool,
}

/// The private tmpfs.
fn scratch(job: &Job<'_>) -> Result<OwnedFd, SetupError> {
    let limits = &job.start.limits;
    let half = limits.memory_bytes / TMPFS_MEMORY_DIVISOR;
    let bytes = if limits.disk_bytes == 0 { half } else { half.min(limits.disk_bytes) };
    let bytes = bytes.max(TMPFS_BYTES_PER_INODE);
    let inodes = (bytes / TMPFS_BYTES_PER_INODE).max(64);
    let options =
        [("size", bytes.to_string()), ("nr_inodes", inodes.to_string()), ("mode", "0755".to_owned())];
    let options: Vec<(&str, &str)> = options.iter().map(|(k, v)| (*k, v.as_str())).collect();
    mounts::new_filesystem("tmpfs", &options, SCRATCH)
}

fn tree_root(job: &Job<'_>, tree: &Tree<'_>, scratch: OwnedFd) -> Result<Built, SetupError> {
    let step = || format!("open the root {}", tree.path.display());
    let source = mounts::open_host(tree.path).step(step())?;
    let plain = || Ok(view(source.as_fd(), SEALED, false)?);
    let shown = match tree.map.map(|map| mounts::mapped_view(source.as_fd(), SEALED, map)) {
        // Not every file system can show other owners; what is only read is shown with those it has.
        Some(Err(error)) if error.kind() == io::ErrorKind::Unsupported && !tree.writable => plain(),
        Some(mapped) => mapped,
        None => plain(),
    };
    let lower = shown.step(step())?;
    attach(lower.as_fd(), source.as_fd()).step(step())?;
    let complete = POINTS.iter().all(|name| is_directory(lower.as_fd(), name));
    let fits = binds::have_targets(job, lower.as_fd()) && gang::has_target(job.gang, lower.as_fd());
    if complete && !tree.writable && fits {
        let tmp = open_beneath(lower.as_fd(), "tmp").step("open /tmp")?;
        attach(scratch.as_fd(), tmp.as_fd()).step("mount the private file system")?;
        return Ok(Built { root: lower, scratch, writable: false });
    }
    // Out of sight below the overlay, which takes this place next.
    attach(scratch.as_fd(), lower.as_fd()).step("mount the private file system")?;
    let root = overlay::layer(lower.as_fd(), scratch.as_fd(), "root", job.ids.host(0), job.ids.host(0))
        .step("make the writable layer")?;
    attach(root.as_fd(), lower.as_fd()).step(step())?;
    for name in POINTS {
        if !is_directory(root.as_fd(), name) {
            // A link or a file in its place is covered, like everything else that changes, in the layer alone.
            match unlinkat(&root, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error).step(format!("replace /{name}")),
            }
            mkdirat(&root, name, Mode::from_bits_truncate(0o755)).step(format!("make /{name}"))?;
        }
    }
    binds::make_targets(job, root.as_fd())?;
    Ok(Built { root, scratch, writable: tree.writable })
}

/// The host's system, as far as it is shown at all.
fn host_root(scratch: OwnedFd) -> Result<Built, SetupError> {
    let host = mounts::open_host(Path::new("/")).step("open the host's root")?;
    let stage = mounts::open_host(Path::new("/tmp")).step("open the host's /tmp")?;
    attach(scratch.as_fd(), stage.as_fd()).step("mount the private file system")?;
    assemble(host.as_fd(), scratch.as_fd())?;
    Ok(Built { root: scratch.try_clone().step("keep the root")?, scratch, writable: false })
}

/// Shows each entry of `source` in `target`, read-only, but for those that we mount on.
fn assemble(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), SetupError> {
    let list =
        rustix::fs::openat(source, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .and_then(Dir::new)
            .step("list the root")?;
    for entry in list {
        let entry = entry.step("list the root")?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if matches!(name, "." | "..") || HOST_HIDDEN.contains(&name) || POINTS.contains(&name) {
            continue;
        }
        show(source, target, name).step(format!("show /{name}"))?;
    }
    for name in HOST_HIDDEN {
        mkdirat(target, name, Mode::from_bits_truncate(0o555)).step(format!("make /{name}"))?;
    }
    Ok(())
}

fn show(source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &str) -> rustix::io::Result<()> {
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
    let tree = view(open_beneath(source, name)?.as_fd(), SEALED, true)?;
    attach(tree.as_fd(), open_beneath(target, name)?.as_fd())
}

/// Makes and mounts what is private to the container.
fn furnish(job: &Job<'_>, built: &Built, template: BorrowedFd<'_>) -> Result<(), SetupError> {
    let (root, scratch) = (built.root.as_fd(), built.scratch.as_fd());
    let points: &[(&str, u32)] = if job.tree.is_none() { &[("proc", 0o555), ("dev", 0o755)] } else { &[] };
    for (name, mode) in points.iter().chain(&[("shm", 0o1777), (WORK, 0o755), ("tmp", 0o1777)]) {
        mkdirat(scratch, *name, Mode::from_bits_truncate(*mode)).step(format!("make /{name}"))?;
    }
    workdir::make_work(job, scratch)?;
    let dev = devices::mount(template, root, scratch, |id| job.ids.host(id))?;
    proc::mount(root, dev.as_fd(), template)?;
    show_private(scratch, root, WORK)?;
    workdir::cover_host_directory(job, root, scratch)?;
    // Late: where the tmpfs itself was mounted on /tmp, this covers it.
    show_private(scratch, root, "tmp")
}

fn show_private(scratch: BorrowedFd<'_>, root: BorrowedFd<'_>, name: &str) -> Result<(), SetupError> {
    view_of(scratch, name, false)
        .and_then(|own| attach_as(own.as_fd(), root, name))
        .step(format!("mount /{name}"))
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
