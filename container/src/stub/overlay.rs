//! A writable layer over a directory: an overlay whose changes lie in the container's private file system, so they are capped, charged to the task
//! and gone with it.

use rustix::fs::{AtFlags, Gid, Mode, Uid, chownat, mkdirat};
use rustix::mount::{FsMountFlags, FsOpenFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// An overlay over `lower`, not mounted anywhere yet. `name` tells its layers in `scratch`, which must be mounted, from others'; its top
/// belongs to this user and group.
pub fn layer(
    lower: BorrowedFd<'_>,
    scratch: BorrowedFd<'_>,
    name: &str,
    uid: u32,
    gid: u32,
) -> rustix::io::Result<OwnedFd> {
    let make = |part: &str| {
        let name = format!("{name}-{part}");
        mkdirat(scratch, &name, Mode::from_bits_truncate(0o755))?;
        super::mounts::open_beneath(scratch, &name)
    };
    let (upper, work) = (make("upper")?, make("work")?);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(&upper, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, layer) in [("lowerdir", lower), ("upperdir", upper.as_fd()), ("workdir", work.as_fd())] {
        // By descriptor, so that no name has to be escaped and no link is followed.
        let path = format!("/proc/self/fd/{}", layer.as_raw_fd());
        rustix::mount::fsconfig_set_string(&context, key, path)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, super::mounts::SCRATCH)
}
