//! The few mount operations of a container, on descriptors: what is mounted where cannot be redirected by a link that a root file system
//! carries, and attributes are set before a mount can be seen.

use super::error::{SetupError, Step};
use crate::sys;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// Read-only, and nothing in it has powers.
pub const SEALED: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV);
/// Writable, and nothing in it has powers.
pub const SCRATCH: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// Keeps mounts of this namespace from spreading to the host, and the host's from coming in.
pub fn make_private() -> Result<(), SetupError> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).step("make all mounts private")
}

/// A new file system that is not mounted anywhere yet.
pub fn new_filesystem(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, SetupError> {
    let step = || format!("make a {kind}");
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).step(step())?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, *value)
            .step(format!("make a {kind} with {key}={value}"))?;
    }
    rustix::mount::fsconfig_create(&context).step(step())?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).step(step())
}

/// A directory or file below `at`, without following any link on the way or at the end.
pub fn open_beneath(at: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(at, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Whether there is a real directory (no link) of this name.
pub fn is_directory(at: BorrowedFd<'_>, name: &str) -> bool {
    rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Another view of what is at `source`, not mounted anywhere yet, with these attributes added.
pub fn view(
    source: BorrowedFd<'_>,
    attributes: MountAttrFlags,
    recursive: bool,
) -> rustix::io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = rustix::mount::open_tree(source, c"", flags)?;
    sys::set_mount_attributes(&tree, u64::from(attributes.bits()), recursive)
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    Ok(tree)
}

/// Another view of the entry `name` of a directory, with the attributes of the mount that it is in.
pub fn view_of(at: BorrowedFd<'_>, name: &str, recursive: bool) -> rustix::io::Result<OwnedFd> {
    debug_assert!(!name.contains('/'), "{name}");
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(at, name, flags)
}

/// Adds attributes to a mount.
pub fn restrict(mount: BorrowedFd<'_>, attributes: MountAttrFlags) -> rustix::io::Result<()> {
    sys::set_mount_attributes(mount, u64::from(attributes.bits()), false)
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}

/// The same with the owners of its files shown as the map of a user namespace says: an id of the disk as the id that it is outside of that namespace.
pub fn mapped_view(
    source: BorrowedFd<'_>,
    attributes: MountAttrFlags,
    map: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let tree = view(source, attributes, false)?;
    sys::map_mount(&tree, map).map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL | libc::EPERM | libc::EOPNOTSUPP) => {
            io::Error::new(io::ErrorKind::Unsupported, "its file system cannot show files as another user's")
        }
        _ => error,
    })?;
    Ok(tree)
}

/// Mounts `tree` on the directory or file `target`.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags)
}

/// Mounts `tree` on the entry `name` of a directory: a name, no path, so that no link can be on the way; one at the end is not followed, and nothing
/// can be mounted on it.
pub fn attach_as(tree: BorrowedFd<'_>, at: BorrowedFd<'_>, name: &str) -> rustix::io::Result<()> {
    debug_assert!(!name.contains('/'), "{name}");
    rustix::mount::move_mount(tree, c"", at, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Opens a directory of the host by its path, links followed: for paths that the operator has configured.
pub fn open_host(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}
