//! The directory that the members of a task of several nodes share: a small file system of its own for each member, which the task, its node's server and
//! nobody else sees. The runner makes it, not mounted anywhere; the stub mounts it where the task finds it; the runner's descriptor goes to the server, which
//! carries files from one member's directory into the others'. It has no name on the host: it is gone with the last who holds it.

use super::binds;
use super::error::{SetupError, Step};
use super::mounts::{self, SCRATCH, attach, open_beneath};
use rustix::mount::MountAttrFlags as Attr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where a task finds it.
pub const PATH: &str = "/run/shoal/gang";
/// Enough for all keys that a task of several nodes may have, and as many files beside; its pages are the task's or the server's, whoever wrote them.
const OPTIONS: [(&str, &str); 3] = [("size", "1m"), ("nr_inodes", "256"), ("mode", "1777")];

/// A new one, empty, not mounted anywhere.
pub fn make() -> Result<OwnedFd, SetupError> {
    mounts::new_filesystem("tmpfs", &OPTIONS, SCRATCH.union(Attr::MOUNT_ATTR_NOEXEC))
}

/// Whether it can be mounted in a root that nothing can be made in.
pub fn has_target(directory: Option<BorrowedFd<'_>>, root: BorrowedFd<'_>) -> bool {
    directory.is_none() || open_beneath(root, PATH).is_ok()
}

/// Mounts it; what is missing on the way is made. Before what the operator shows, so that nothing is made in a directory of the host.
pub fn mount(directory: Option<BorrowedFd<'_>>, root: BorrowedFd<'_>) -> Result<(), SetupError> {
    let Some(directory) = directory else { return Ok(()) };
    let target = binds::make(root, PATH).step(format!("make {PATH}"))?;
    attach(directory, target.as_fd()).step(format!("mount {PATH}"))
}
