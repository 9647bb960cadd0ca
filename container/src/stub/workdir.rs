//! The working directory of a task: /work is its own and empty. With the host's system as root it may also be a directory of the host, which
//! the task then sees as it is and writes to as it likes: an overlay keeps what it writes in the private file system, and the host's stays as it was.

use super::Job;
use super::error::{SetupError, Step};
use super::mounts::{SCRATCH, attach, open_beneath};
use super::root::WORK;
use crate::protocol::Root;
use crate::sys;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat};
use rustix::mount::{FsMountFlags, FsOpenFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Where an overlay keeps what is written, and its own scratch directory, in the private file system.
const UPPER: &str = "overlay";
const OVERLAY_WORK: &str = "overlay-work";

/// Below these, a task has its own directories.
const PRIVATE: [&str; 4] = [WORK, "tmp", "dev", "proc"];

/// The task owns /work, and finds the working directory it asked for below it.
pub fn make_work(job: &Job<'_>, scratch: BorrowedFd<'_>) -> Result<(), SetupError> {
    let parts = parts(job);
    let mut path = WORK.to_owned();
    own(job, scratch, &path)?;
    if parts.first() == Some(&WORK) {
        for part in &parts[1..] {
            path = format!("{path}/{part}");
            mkdirat(scratch, &path, Mode::from_bits_truncate(0o755)).step(format!("make /{path}"))?;
            own(job, scratch, &path)?;
        }
    }
    Ok(())
}

/// Makes a directory of the host writable for the task, privately, if the task's user may read it at all.
pub fn cover_host_directory(
    job: &Job<'_>,
    root: BorrowedFd<'_>,
    scratch: BorrowedFd<'_>,
) -> Result<(), SetupError> {
    let covered = parts(job).first().is_some_and(|first| !PRIVATE.contains(first));
    if job.start.root != Root::Host || !covered {
        return Ok(());
    }
    // The overlay's top belongs to the task, so it would open a directory that is closed to the task's user.
    let Ok(lower) = sys::as_user(job.uid, job.gid, || open_readable(root, &job.start.workdir))
        .step("become the task's user and come back")?
    else {
        return Ok(()); // entering it will fail, and say why
    };
    for name in [UPPER, OVERLAY_WORK] {
        mkdirat(scratch, name, Mode::from_bits_truncate(0o755)).step(format!("make /{name}"))?;
    }
    own(job, scratch, UPPER)?;
    let upper = open_beneath(scratch, UPPER).step("open the overlay")?;
    let work = open_beneath(scratch, OVERLAY_WORK).step("open the overlay")?;
    let overlay = overlay(&lower, &upper, &work);
    overlay
        .and_then(|overlay| attach(overlay.as_fd(), lower.as_fd()))
        .step(format!("make {} writable", job.start.workdir))
}

fn overlay(lower: &OwnedFd, upper: &OwnedFd, work: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, layer) in [("lowerdir", lower), ("upperdir", upper), ("workdir", work)] {
        // By descriptor, so that no name has to be escaped and no link is followed.
        let path = format!("/proc/self/fd/{}", layer.as_raw_fd());
        rustix::mount::fsconfig_set_string(&context, key, path)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, SCRATCH)
}

/// Opens a directory of the root if the current user may list and enter it.
fn open_readable(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    rustix::fs::accessat(&dir, ".", rustix::fs::Access::EXEC_OK, AtFlags::EACCESS)?;
    Ok(dir)
}

/// The parts of the working directory, without those that mean nothing.
fn parts<'a>(job: &Job<'a>) -> Vec<&'a str> {
    job.start.workdir.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect()
}

fn own(job: &Job<'_>, scratch: BorrowedFd<'_>, path: &str) -> Result<(), SetupError> {
    let (uid, gid) = (Uid::from_raw(job.uid), Gid::from_raw(job.gid));
    chownat(scratch, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).step(format!("own /{path}"))
}
