//! User namespaces made ahead of their use: a process is cloned into a new one, its ids are mapped from outside, a descriptor is kept, and the
//! process ends. Only a process with the right over the parent's ids can write such a map, so the runner does it.

use crate::sys::{self, Fork};
use rustix::fs::{CWD, Mode, OFlags, Uid};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// How many user namespaces may be nested in this one.
const NESTED_MAX: &str = "/proc/sys/user/max_user_namespaces";

/// A range of ids of the host; the first is id 0 inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// On the host.
    pub first: u32,
    /// How many; 65536, but for a runner without root.
    pub count: u32,
}

impl Ids {
    /// The id of the stub, inside: the last, which no image uses (65535 is "none" to 16-bit programs).
    pub fn stub(self) -> u32 {
        self.count - 1
    }

    /// The id on the host. Where there are fewer ids than the one asked for, all of them are the first.
    pub fn host(self, inside: u32) -> u32 {
        self.first + self.inside(inside)
    }

    /// The id inside, or the first if this container does not have it.
    pub fn inside(self, id: u32) -> u32 {
        if id < self.count { id } else { 0 }
    }
}

/// What a user namespace maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdMaps {
    /// Users.
    pub users: IdMap,
    /// Groups.
    pub groups: IdMap,
}

impl IdMaps {
    /// The same for both.
    pub fn both(map: IdMap) -> IdMaps {
        IdMaps { users: map, groups: map }
    }
}

/// Ids `inside` the namespace (or on a disk), `count` of them, and what they are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdMap {
    /// The first, inside.
    pub inside: u32,
    /// What it is outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// A user namespace with these maps. With `closed`, no other can be nested in it.
///
/// What the kernel counts by user (inotify instances, pending signals, locked memory, ...) it counts for a task's user and for the maker of the
/// user namespace as well. So each namespace is made by an id of its own range: made by root, one container could take what all others, and
/// root's services, may have.
pub fn namespace(maps: IdMaps, closed: bool) -> io::Result<OwnedFd> {
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC)?;
    let (made, making) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the runner has one thread, and the child's branch ends in an exit.
    #[allow(unsafe_code)]
    let (pid, pidfd) = match unsafe { sys::fork_into(0) }? {
        Fork::Child => {
            drop((go, made));
            let result = become_owner(maps).and_then(|()| sys::unshare(libc::CLONE_NEWUSER));
            let code = result.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
            let told = rustix::io::write(&making, &code.to_ne_bytes()).is_ok();
            let held = result.is_ok()
                && told
                && rustix::io::read(&wait, &mut [0]).is_ok_and(|n| n == 1)
                && (!closed || close().is_ok());
            sys::exit_now(i32::from(!held))
        }
        Fork::Parent(pid, pidfd) => (pid, pidfd),
    };
    drop((wait, making));
    let namespace = read_made(&made).and_then(|()| fill(pid, maps));
    // A child that is not told to go on ends by the closed pipe.
    let told = namespace.is_ok() && rustix::io::write(&go, &[1]).is_ok();
    drop(go);
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
    let held = told && status.is_some_and(|status| status.exit_status() == Some(0));
    let namespace = namespace?;
    if held { Ok(namespace) } else { Err(io::Error::other(format!("cannot write {NESTED_MAX}"))) }
}

/// Becomes the last id of the range (which inside is the stub's) and keeps the capabilities, without which some systems let nobody make one.
fn become_owner(maps: IdMaps) -> io::Result<()> {
    let IdMap { outside, count, .. } = maps.users;
    let owner = Uid::from_raw(outside + count - 1);
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_res_uid(owner, owner, owner)?;
    let mut sets = rustix::thread::capabilities(None)?;
    sets.effective = sets.permitted;
    rustix::thread::set_capabilities(None, sets)?;
    // Another user is hidden from all but the machine's root, and a runner without root is not that. Only stubs are this user.
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?)
}

/// Waits until the child is in its namespace, or says why not.
fn read_made(made: &OwnedFd) -> io::Result<()> {
    let mut code = [0; size_of::<i32>()];
    match rustix::io::read(made, &mut code)? {
        n if n < code.len() => Err(io::ErrorKind::UnexpectedEof.into()),
        _ if code == [0; 4] => Ok(()),
        _ => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(code))),
    }
}

/// In the new namespace: lets nobody make another in it, since in that one he would have all capabilities.
fn close() -> rustix::io::Result<()> {
    let file = rustix::fs::openat(CWD, NESTED_MAX, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, b"0").map(drop)
}

fn fill(pid: Pid, maps: IdMaps) -> io::Result<OwnedFd> {
    let pid = pid.as_raw_nonzero();
    for (name, map) in [("gid_map", maps.groups), ("uid_map", maps.users)] {
        let IdMap { inside, outside, count } = map;
        std::fs::write(format!("/proc/{pid}/{name}"), format!("{inside} {outside} {count}\n"))?;
    }
    // A map that anybody inside may write, once: what a task wrote would stay for the next. Without root there is none to write.
    let _ = std::fs::write(format!("/proc/{pid}/projid_map"), format!("0 {0} 1\n", maps.users.outside));
    let path = format!("/proc/{pid}/ns/user");
    Ok(rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}
