//! Devices: made, found in a hostile root, or left under /dev.

use super::told;
use crate::escape::attempt::{Attempt, Control, Outcome};
use crate::escape::raw::call;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::path::Path;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("devices::make_nodes", make, Control::Root),
    Attempt::new("devices::open_nodes_that_the_root_carries", carried, Control::Root),
    Attempt::new("devices::open_devices_of_the_host", of_the_host, Control::Root),
    Attempt::new("devices::nothing_but_the_harmless_in_dev", inventory, Control::Root),
    Attempt::new("devices::change_dev", change, Control::Root),
    Attempt::new(
        "devices::type_into_a_terminal",
        terminal,
        Control::None("would type into a terminal of the host"),
    ),
    Attempt::new(
        "devices::see_terminals_of_the_host",
        terminals,
        Control::None("looks at the container's own instance"),
    ),
];

fn make() -> Outcome {
    let memory = rustix::fs::makedev(1, 1);
    let disk = rustix::fs::makedev(254, 0);
    Outcome::all(["/tmp", "/work", "/dev/shm", "/dev", "/"].iter().flat_map(|dir| {
        [(libc::S_IFCHR, memory, "memory"), (libc::S_IFBLK, disk, "disk")].map(|(kind, device, name)| {
            let path = std::ffi::CString::new(format!("{}/shoal-escape-{name}", dir.trim_end_matches('/')))
                .unwrap_or_default();
            let made = call!(libc::SYS_mknodat, libc::AT_FDCWD, path.as_ptr(), kind | 0o600, device);
            let _ = call!(libc::SYS_unlinkat, libc::AT_FDCWD, path.as_ptr(), 0);
            Outcome::of(&format!("mknod {path:?}"), made)
        })
    }))
}

fn carried() -> Outcome {
    let evil = told::get(told::EVIL);
    Outcome::all(["null-device", "kmsg-device", "disk-device"].map(|name| {
        let path = format!("{evil}/{name}");
        if std::fs::symlink_metadata(&path).is_err() {
            return Outcome::Broken(format!("{path} is not there"));
        }
        Outcome::of(&format!("open {path}"), OpenOptions::new().read(true).open(&path))
    }))
}

fn of_the_host() -> Outcome {
    let names = [
        "mem",
        "port",
        "kmsg",
        "kvm",
        "fuse",
        "loop-control",
        "loop0",
        "vda",
        "sda",
        "nvme0n1",
        "vhost-vsock",
        "net/tun",
        "uinput",
        "autofs",
        "cpu_dma_latency",
        "userfaultfd",
        "console",
        "tty0",
        "tty1",
        "ttyS0",
        "hpet",
        "rtc0",
        "mapper/control",
    ];
    Outcome::all(names.map(|name| {
        Outcome::of(
            &format!("open /dev/{name}"),
            OpenOptions::new().read(true).write(true).open(format!("/dev/{name}")),
        )
    }))
}

const HARMLESS: [(u32, u32); 8] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, u32::MAX)];

fn inventory() -> Outcome {
    let mut found = Vec::new();
    look(Path::new("/dev"), &mut found);
    let wrong: Vec<_> = found
        .iter()
        .filter(|(_, block, device)| {
            let (major, minor) = (rustix::fs::major(*device), rustix::fs::minor(*device));
            *block || !HARMLESS.iter().any(|(a, b)| *a == major && (*b == minor || *b == u32::MAX))
        })
        .map(|(path, ..)| path.as_str())
        .collect();
    Outcome::expect(
        wrong.is_empty() && !found.is_empty(),
        format!("{} devices, not harmless: {:?}", found.len(), wrong.iter().take(8).collect::<Vec<_>>()),
    )
}

fn look(dir: &Path, found: &mut Vec<(String, bool, u64)>) {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(metadata) = std::fs::symlink_metadata(entry.path()) else { continue };
        let kind = metadata.file_type();
        if kind.is_dir() {
            look(&entry.path(), found);
        } else if kind.is_block_device() || kind.is_char_device() {
            found.push((entry.path().display().to_string(), kind.is_block_device(), metadata.rdev()));
        }
    }
}

/// The null device is where masks and standard input come from: it must stay what it is.
fn change() -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    Outcome::all([
        Outcome::of(
            "make a file in /dev",
            std::fs::write("/dev/shoal-escape", "").and_then(|()| std::fs::remove_file("/dev/shoal-escape")),
        ),
        Outcome::of(
            "change the mode of /dev/null",
            std::fs::set_permissions("/dev/null", std::fs::Permissions::from_mode(0o666)),
        ),
        Outcome::of(
            "change the mode of /dev",
            std::fs::set_permissions("/dev", std::fs::Permissions::from_mode(0o755)),
        ),
        Outcome::of(
            "rename /dev/zero",
            std::fs::rename("/dev/zero", "/dev/zero2")
                .and_then(|()| std::fs::rename("/dev/zero2", "/dev/zero")),
        ),
    ])
}

fn terminal() -> Outcome {
    let standard = (0..3).map(|fd| {
        Outcome::of(&format!("TIOCSTI on {fd}"), call!(libc::SYS_ioctl, fd, libc::TIOCSTI, c"x".as_ptr()))
    });
    let controlling = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let typed =
        controlling.and_then(|tty| call!(libc::SYS_ioctl, tty.as_raw_fd(), libc::TIOCSTI, c"x".as_ptr()));
    Outcome::all(standard.chain([Outcome::of("TIOCSTI on /dev/tty", typed)]).collect::<Vec<_>>())
}

fn terminals() -> Outcome {
    let entries = std::fs::read_dir("/dev/pts").into_iter().flatten().flatten();
    let seen: Vec<_> = entries.map(|entry| entry.file_name()).filter(|name| name != "ptmx").collect();
    Outcome::expect(seen.is_empty(), format!("terminals in /dev/pts: {seen:?}"))
}
