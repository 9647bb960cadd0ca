//! The walls around the unpacker, the inner part: the runner has put it into namespaces of its own, as root of a user namespace that owns nothing
//! of the host; here it makes the tree its whole world, and gives up all that it does not need, before it reads the first byte.

use super::error::UnpackError;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change,
    mount_remount, move_mount, open_tree, unmount,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use shoal_container::image::Caps;
use shoal_container::seccomp::Filter;
use std::io;
use std::os::fd::OwnedFd;

/// More than the largest image takes on a slow machine; the runner has a limit on the clock beside it.
const CPU_SECONDS: u64 = 1200;
/// The window of a decompressor, the names of a million files, and room.
const MEMORY_BYTES: u64 = 1 << 30;
/// Standard streams, one directory for each level of depth, and room.
const OPEN_FILES: u64 = 512;
/// All that is needed to give files to their owners and to write where those may not.
const KEPT: CapabilitySet =
    CapabilitySet::CHOWN.union(CapabilitySet::DAC_OVERRIDE).union(CapabilitySet::FOWNER);

fn step<T>(action: &'static str, result: Result<T, impl Into<io::Error>>) -> Result<T, UnpackError> {
    result.map_err(|source| UnpackError::Jail { action, source: source.into() })
}

/// Makes the present directory the root, and returns it open.
pub fn enter(caps: &Caps) -> Result<OwnedFd, UnpackError> {
    if std::process::id() != 1 {
        // By hand this would rearrange the mounts of whoever called.
        let source = io::Error::other("it is started by shoal-runner alone");
        return Err(UnpackError::Jail { action: "run", source });
    }
    pivot()?;
    limit(caps)?;
    // What is made has the mode that it is made with.
    rustix::process::umask(Mode::empty());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tree = step("open the tree", rustix::fs::open("/", flags, Mode::empty()))?;
    give_up()?;
    Ok(tree)
}

fn pivot() -> Result<(), UnpackError> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    step("make all mounts private", mount_change("/", private))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = step("take the tree", open_tree(CWD, ".", flags))?;
    let to = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    step("mount the tree", move_mount(&tree, "", CWD, ".", to))?;
    step("enter the tree", rustix::process::fchdir(&tree))?;
    step("change the root", rustix::process::pivot_root(".", "."))?;
    // The old root is stacked on the new one; "." is the old.
    step("let go of the host's root", unmount(".", UnmountFlags::DETACH))?;
    step("enter the root", rustix::process::chdir("/"))?;
    let sealed = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    step("seal the tree", mount_remount("/", sealed, ""))
}

fn limit(caps: &Caps) -> Result<(), UnpackError> {
    let limits = [
        (Resource::Cpu, CPU_SECONDS),
        (Resource::As, MEMORY_BYTES),
        (Resource::Fsize, caps.stream_bytes_max()),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Core, 0),
        (Resource::Nproc, 0),
    ];
    for (resource, most) in limits {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        step("limit itself", rustix::process::setrlimit(resource, limit))?;
    }
    Ok(())
}

fn give_up() -> Result<(), UnpackError> {
    step("clear the ambient capabilities", rustix::thread::clear_ambient_capability_set())?;
    let sets = CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    step("give up capabilities", rustix::thread::set_capabilities(None, sets))?;
    step("set no_new_privs", rustix::thread::set_no_new_privs(true))?;
    step("hide itself", rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
    step("filter its system calls", Filter::compile().load())
}
