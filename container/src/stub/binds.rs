//! Directories of the host that the operator lets tasks see. What is shown was looked up in the operator's policy; where it is shown is found inside
//! the root without following a link, also in a directory that others write to at the same time.

use super::Job;
use super::error::{SetupError, Step};
use super::mounts::{self, SCRATCH, SEALED, attach, open_beneath};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Whether all targets exist in a root that nothing can be made in.
pub fn have_targets(job: &Job<'_>, root: BorrowedFd<'_>) -> bool {
    job.binds.iter().all(|bind| is_private(bind.target) || open_beneath(root, bind.target).is_ok())
}

/// Makes the targets that do not exist, in a root that takes them.
pub fn make_targets(job: &Job<'_>, root: BorrowedFd<'_>) -> Result<(), SetupError> {
    for bind in job.binds.iter().filter(|bind| !is_private(bind.target)) {
        make(root, bind.target).step(format!("make {}", bind.target))?;
    }
    Ok(())
}

/// Opens what is to be shown.
pub fn open_sources(job: &Job<'_>) -> Result<Vec<OwnedFd>, SetupError> {
    let open = |bind: &super::Bind<'_>| {
        mounts::open_host(bind.source).step(format!("open {}", bind.source.display()))
    };
    job.binds.iter().map(open).collect()
}

/// Mounts all. Those below /work and /tmp find their targets made in the private file system.
pub fn mount(job: &Job<'_>, sources: &[OwnedFd], root: BorrowedFd<'_>) -> Result<(), SetupError> {
    for (bind, source) in job.binds.iter().zip(sources) {
        let step = || format!("mount {} on {}", bind.source.display(), bind.target);
        let target = make(root, bind.target).step(step())?;
        let attributes = if bind.writable { SCRATCH } else { SEALED };
        let shown = match bind.map {
            Some(map) => mounts::mapped_view(source.as_fd(), attributes, map),
            None => mounts::view(source.as_fd(), attributes, true).map_err(Into::into),
        };
        attach(shown.step(step())?.as_fd(), target.as_fd()).step(step())?;
    }
    Ok(())
}

/// Whether the target lies in what each container has for itself.
fn is_private(target: &str) -> bool {
    ["/work/", "/tmp/"].iter().any(|private| target.starts_with(private))
}

/// Opens a directory by its path inside `root`, through no link; what does not exist is made.
pub(super) fn make(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let mut at = open_at(root, ".")?;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        at = match open_at(at.as_fd(), part) {
            Err(Errno::NOENT) => {
                mkdirat(&at, part, Mode::from_bits_truncate(0o755))?;
                open_at(at.as_fd(), part)?
            }
            opened => opened?,
        };
    }
    Ok(at)
}

fn open_at(at: BorrowedFd<'_>, part: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(at, part, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}
