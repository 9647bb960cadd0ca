//! New mounts, other attributes of those that are there, and what lies below them.

use super::told;
use crate::escape::attempt::{Attempt, Control, Outcome};
use crate::escape::raw::call;
use std::ffi::CStr;
use std::io;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("mounts::mount_a_tmpfs", tmpfs, Control::Root),
    Attempt::new("mounts::mount_kernel_file_systems", kernel_file_systems, Control::Root),
    Attempt::new("mounts::mount_a_disk", disk, Control::None("would need a disk of its own")),
    Attempt::new("mounts::make_the_root_writable", remount_root, Control::Root),
    Attempt::new("mounts::make_proc_sys_writable", remount_proc_sys, Control::Root),
    Attempt::new("mounts::clear_attributes_by_mount_setattr", setattr, Control::Root),
    Attempt::new("mounts::uncover_what_is_masked", uncover, Control::Root),
    Attempt::new("mounts::bind_over_proc", bind_over_proc, Control::Root),
    Attempt::new("mounts::new_mount_api", new_api, Control::Root),
    Attempt::new("mounts::clone_and_move_a_tree", clone_tree, Control::Root),
    Attempt::new("mounts::change_the_root", pivot, Control::Root),
    Attempt::new("mounts::propagate_to_the_host", propagate, Control::Root),
    Attempt::new("mounts::attributes_of_all_mounts", attributes, Control::Root),
];

/// Named so that the harness would find it on the host.
const SOURCE: &CStr = c"shoal-escape";

fn mount(kind: &CStr, target: &CStr, flags: u64, data: &CStr) -> io::Result<usize> {
    call!(libc::SYS_mount, SOURCE.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr())
}

fn tmpfs() -> Outcome {
    Outcome::all(
        [c"/tmp", c"/work", c"/proc", c"/"]
            .map(|at| Outcome::of("mount a tmpfs", mount(c"tmpfs", at, 0, c""))),
    )
}

fn kernel_file_systems() -> Outcome {
    let kinds = [
        c"proc",
        c"sysfs",
        c"devtmpfs",
        c"cgroup2",
        c"debugfs",
        c"tracefs",
        c"bpf",
        c"securityfs",
        c"mqueue",
        c"devpts",
    ];
    Outcome::all(kinds.map(|kind| Outcome::of(&format!("mount {kind:?}"), mount(kind, c"/tmp", 0, c""))))
}

fn disk() -> Outcome {
    let disks = [c"/dev/vda", c"/dev/sda", c"/dev/nvme0n1", c"/dev/loop0"];
    Outcome::all(disks.map(|disk| {
        let mounted = call!(libc::SYS_mount, disk.as_ptr(), c"/tmp".as_ptr(), c"ext4".as_ptr(), 0, 0);
        Outcome::of(&format!("mount {disk:?}"), mounted)
    }))
}

fn remount(target: &CStr) -> io::Result<usize> {
    call!(libc::SYS_mount, 0, target.as_ptr(), 0, libc::MS_REMOUNT | libc::MS_BIND, 0)
}

fn remount_root() -> Outcome {
    Outcome::of("remount / writable", remount(c"/"))
}

fn remount_proc_sys() -> Outcome {
    // Where it is no mount of its own (the control), /proc is.
    Outcome::all(
        [c"/proc/sys", c"/proc", c"/dev"]
            .map(|at| Outcome::of(&format!("remount {at:?} writable"), remount(at))),
    )
}

fn setattr() -> Outcome {
    let clear =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let attributes = libc::mount_attr { attr_set: 0, attr_clr: clear, propagation: 0, userns_fd: 0 };
    Outcome::all([c"/", c"/tmp", c"/work", c"/proc", c"/dev"].map(|at| {
        let size = size_of::<libc::mount_attr>();
        let cleared =
            call!(libc::SYS_mount_setattr, libc::AT_FDCWD, at.as_ptr(), 0, &raw const attributes, size);
        Outcome::of(&format!("clear the attributes of {at:?}"), cleared)
    }))
}

fn uncover() -> Outcome {
    let masks = [
        c"/proc/kcore",
        c"/proc/keys",
        c"/proc/timer_list",
        c"/proc/sys",
        c"/proc/sysrq-trigger",
        c"/proc",
        c"/tmp",
        c"/dev",
        c"/",
    ];
    Outcome::all(masks.map(|at| {
        let gone = call!(libc::SYS_umount2, at.as_ptr(), libc::MNT_DETACH);
        Outcome::of(&format!("umount {at:?}"), gone)
    }))
}

fn bind_over_proc() -> Outcome {
    let bound = call!(libc::SYS_mount, c"/tmp".as_ptr(), c"/proc".as_ptr(), 0, libc::MS_BIND, 0);
    Outcome::of("bind /tmp over /proc", bound)
}

fn new_api() -> Outcome {
    let context = call!(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0);
    let picked = call!(libc::SYS_fspick, libc::AT_FDCWD, c"/tmp".as_ptr(), 0);
    Outcome::all([Outcome::of("fsopen tmpfs", context), Outcome::of("fspick /tmp", picked)])
}

fn clone_tree() -> Outcome {
    const OPEN_TREE_CLONE: usize = 1;
    const MOVE_MOUNT_F_EMPTY_PATH: usize = 4;
    let tree = match call!(libc::SYS_open_tree, libc::AT_FDCWD, c"/".as_ptr(), OPEN_TREE_CLONE) {
        Ok(tree) => tree,
        Err(error) => return Outcome::of::<()>("clone the tree of /", Err(error)),
    };
    let moved = call!(
        libc::SYS_move_mount,
        tree,
        c"".as_ptr(),
        libc::AT_FDCWD,
        c"/tmp".as_ptr(),
        MOVE_MOUNT_F_EMPTY_PATH
    );
    Outcome::all([Outcome::Escaped("clone the tree of /".into()), Outcome::of("mount it on /tmp", moved)])
}

fn pivot() -> Outcome {
    // Where it can be made a mount, /tmp may become the root.
    let bound = call!(libc::SYS_mount, c"/tmp".as_ptr(), c"/tmp".as_ptr(), 0, libc::MS_BIND, 0);
    let entered = std::env::set_current_dir("/tmp");
    let changed = call!(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr());
    Outcome::of(&format!("pivot_root (bound {}, entered {})", bound.is_ok(), entered.is_ok()), changed)
}

fn propagate() -> Outcome {
    let shared = call!(libc::SYS_mount, 0, c"/".as_ptr(), 0, libc::MS_SHARED | libc::MS_REC, 0);
    Outcome::of("make / shared", shared)
}

/// Nothing from outside has powers here, and nothing of the system can be written to.
fn attributes() -> Outcome {
    let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else {
        return Outcome::Broken("no /proc/self/mountinfo".into());
    };
    let wrong: Vec<String> = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let (at, options) = (*fields.get(4)?, fields.get(5)?.split(',').collect::<Vec<_>>());
            let shared =
                fields.iter().any(|field| field.starts_with("shared:") || field.starts_with("master:"));
            let powers = !options.contains(&"nosuid")
                || !(options.contains(&"nodev") || at == "/dev" || at.starts_with("/dev/") || masked(at));
            let writable = options.contains(&"rw") && !private(at);
            (shared || powers || writable).then(|| format!("{at} {}", options.join(",")))
        })
        .collect();
    Outcome::expect(wrong.is_empty(), format!("{} mounts, wrong: {wrong:?}", table.lines().count()))
}

/// Covered by the null device.
fn masked(at: &str) -> bool {
    at.starts_with("/proc/")
}

/// The container's own: the writable directories, what it shares with the other members of its task, the instance of /proc (whose writable parts are mounts of their own) and the terminals.
fn private(at: &str) -> bool {
    let layer = at == "/" && !told::get(told::PRIVATE_LAYER).is_empty();
    layer || ["/tmp", "/work", "/run/shoal/gang", "/dev/shm", "/dev/pts", "/proc"].contains(&at)
}
