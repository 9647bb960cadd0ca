//! /dev: one small read-only file system with the usual nodes and links, made once by the runner in a mount namespace of its own and shown in every
//! container; beside it an empty directory, to be shown where there is nothing to see. No container can make a device, and what stands under a name was put there by us, whatever a root file system carries.

use super::error::{SetupError, Step};
use super::mounts::{self, attach, attach_as, new_filesystem, open_beneath, restrict, view_of};
use rustix::fs::{FileType, Mode, fstat, makedev, mkdirat, mknodat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags as Attr, MountPropagationFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Character devices: name, major, minor (Documentation/admin-guide/devices.txt).
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// Links: name and target.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Mount points.
const POINTS: [&str; 2] = ["pts", "shm"];
/// Directories of the template.
const DEVICES: &str = "dev";
pub const EMPTY: &str = "empty";
/// The group that owns terminals, `tty` everywhere.
const TTY_GROUP: u32 = 5;
/// Pseudo-terminals of one container; the machine has 4096 for all.
const TERMINALS_MAX: &str = "64";
/// Devices, and no programs.
const SEALED_DEVICES: Attr =
    Attr::MOUNT_ATTR_RDONLY.union(Attr::MOUNT_ATTR_NOSUID).union(Attr::MOUNT_ATTR_NOEXEC);

/// Gives the calling process a mount namespace of its own, which still sees what is mounted on the host later, and mounts the template on
/// `point` in it. For the runner, once.
pub fn prepare_template(point: &Path) -> Result<(), SetupError> {
    crate::sys::unshare(libc::CLONE_NEWNS).step("make a mount namespace")?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).step("keep mounts from the host")?;
    let options = [("mode", "0755"), ("size", "64k"), ("nr_inodes", "64")];
    let dev = new_filesystem("tmpfs", &options, Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NOEXEC)?;
    // Modes are meant as they are written here.
    let umask = rustix::process::umask(Mode::empty());
    let filled = fill(dev.as_fd());
    rustix::process::umask(umask);
    let own = filled?;
    crate::sys::set_mount_attributes(&dev, u64::from(SEALED_DEVICES.bits()), false)
        .step("make the devices read-only")?;
    let point = mounts::open_host(point).step(format!("open {}", point.display()))?;
    attach(dev.as_fd(), point.as_fd()).step("mount the devices")?;
    if own {
        Ok(())
    } else {
        show_hosts(open_beneath(dev.as_fd(), DEVICES).step("open the devices")?.as_fd())
    }
}

/// Without root no device can be made: the host's own are shown, each known by its numbers to be what it should be.
fn show_hosts(dev: BorrowedFd<'_>) -> Result<(), SetupError> {
    let host = mounts::open_host(Path::new("/dev")).step("open the host's /dev")?;
    for (name, major, minor) in NODES {
        let node = view_of(host.as_fd(), name, false).step(format!("open the host's /dev/{name}"))?;
        let stat = fstat(&node).step(format!("look at the host's /dev/{name}"))?;
        let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if !device || stat.st_rdev != makedev(major, minor) {
            let found = std::io::Error::other("it is another device, or none");
            return Err(found).step(format!("check the host's /dev/{name}"));
        }
        restrict(node.as_fd(), SEALED_DEVICES)
            .and_then(|()| attach_as(node.as_fd(), dev, name))
            .step(format!("show the host's /dev/{name}"))?;
    }
    Ok(())
}

/// Whether the devices could be made; otherwise there is an empty file in the place of each.
fn fill(template: BorrowedFd<'_>) -> Result<bool, SetupError> {
    for (name, mode) in [(DEVICES, 0o755), (EMPTY, 0o555)] {
        mkdirat(template, name, Mode::from_bits_truncate(mode)).step(format!("make {name}"))?;
    }
    let dev = open_beneath(template, DEVICES).step("open the devices")?;
    let mut own = true;
    for (name, major, minor) in NODES {
        let anybody = Mode::from_bits_truncate(0o666);
        let mut made = mknodat(&dev, name, FileType::CharacterDevice, anybody, makedev(major, minor));
        if made == Err(Errno::PERM) {
            own = false;
            made = mknodat(&dev, name, FileType::RegularFile, anybody, 0);
        }
        made.step(format!("make /dev/{name}"))?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &dev, name).step(format!("make /dev/{name}"))?;
    }
    for name in POINTS {
        mkdirat(&dev, name, Mode::from_bits_truncate(0o755)).step(format!("make /dev/{name}"))?;
    }
    Ok(own)
}

/// Shows the devices of the template on /dev of `root`, with `shm` of the private file system and the container's own pseudo-terminals. `host_id` says
/// what an id of the container is on the host. The mount.
pub fn mount(
    template: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    scratch: BorrowedFd<'_>,
    host_id: impl Fn(u32) -> u32,
) -> Result<OwnedFd, SetupError> {
    let dev = view_of(template, DEVICES, true).step("open the devices")?;
    attach_as(dev.as_fd(), root, "dev").step("mount /dev")?;
    let shm = view_of(scratch, "shm", false).step("open /dev/shm")?;
    restrict(shm.as_fd(), Attr::MOUNT_ATTR_NOEXEC)
        .and_then(|()| attach_as(shm.as_fd(), dev.as_fd(), "shm"))
        .step("mount /dev/shm")?;
    let group = host_id(TTY_GROUP).to_string();
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", &group), ("max", TERMINALS_MAX)];
    let pts = new_filesystem("devpts", &options, Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NOEXEC)?;
    attach_as(pts.as_fd(), dev.as_fd(), "pts").step("mount /dev/pts")?;
    Ok(dev)
}
