//! The working directory of a task: /work is its own and empty. With the host's system as root it may also be a directory of the host, which
//! the task then sees as it is and writes to as it likes: an overlay keeps what it writes in the private file system, and the host's stays as it was.

use super::Job;
use super::error::{SetupError, Step};
use super::mounts::attach;
use super::overlay;
use super::root::WORK;
use crate::sys;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
    if job.tree.is_some() || !covered {
        return Ok(());
    }
    // The overlay's top belongs to the task, so it would open a directory that is closed to the task's user.
    let (uid, gid) = host_ids(job);
    let Ok(lower) = sys::as_user(uid, gid, || open_readable(root, &job.start.workdir))
        .step("become the task's user and come back")?
    else {
        return Ok(()); // entering it will fail, and say why
    };
    overlay::layer(lower.as_fd(), scratch, "workdir", uid, gid)
        .and_then(|overlay| attach(overlay.as_fd(), lower.as_fd()))
        .step(format!("make {} writable", job.start.workdir))
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

/// The task's user and group on the host.
fn host_ids(job: &Job<'_>) -> (u32, u32) {
    let user = job.start.user;
    (job.ids.host(user.uid), job.ids.host(user.gid))
}

fn own(job: &Job<'_>, scratch: BorrowedFd<'_>, path: &str) -> Result<(), SetupError> {
    let (uid, gid) = host_ids(job);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(scratch, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).step(format!("own /{path}"))
}
