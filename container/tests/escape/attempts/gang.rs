//! The directory that members of a task of several nodes share: its server looks into it, so it must be no way to anything but itself.

use crate::escape::attempt::{Attempt, Control, Outcome};
use crate::escape::raw::call;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

const NO_SUCH: Control = Control::None("only members of a task of several nodes have such a directory");
const DIRECTORY: &str = "/run/shoal/gang";
/// What it may hold.
const BYTES_MAX: usize = 1 << 20;
const INODES_MAX: usize = 256;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("gang::execute_what_lies_there", execute, NO_SUCH),
    Attempt::new("gang::make_devices_there", devices, NO_SUCH),
    Attempt::new("gang::put_another_directory_in_its_place", replace, NO_SUCH),
    Attempt::new("gang::take_it_off_or_mount_over_it", mounts, NO_SUCH),
    Attempt::new("gang::change_its_owner_or_mode", own, NO_SUCH),
    Attempt::new("gang::link_something_of_the_root_into_it", link, NO_SUCH),
    Attempt::new("gang::fill_more_than_it_has", fill, NO_SUCH),
];

fn path(name: &str) -> String {
    format!("{DIRECTORY}/{name}-{}", std::process::id())
}

fn execute() -> Outcome {
    let program = path("program");
    let copied = fs::write(&program, "#!/bin/sh\n")
        .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)));
    if let Err(error) = copied {
        return Outcome::Broken(format!("cannot make a program: {error}"));
    }
    let ran = Outcome::of("execute", Command::new(&program).status());
    let loaded = fs::File::open(&program).and_then(|file| {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        call!(libc::SYS_mmap, 0, 4096, libc::PROT_EXEC, libc::MAP_PRIVATE, fd, 0)
    });
    let _ = fs::remove_file(&program);
    Outcome::all([ran, Outcome::of("map for execution", loaded)])
}

fn devices() -> Outcome {
    let name = std::ffi::CString::new(path("device")).unwrap();
    let make = |kind: u32, device: usize| {
        call!(libc::SYS_mknodat, libc::AT_FDCWD, name.as_ptr(), kind | 0o666, device)
    };
    Outcome::all([
        Outcome::of("a character device", make(libc::S_IFCHR, 0x0103)),
        Outcome::of("a block device", make(libc::S_IFBLK, 0x0700)),
    ])
}

fn replace() -> Outcome {
    Outcome::all([
        Outcome::of("rename it", fs::rename(DIRECTORY, "/run/shoal/other")),
        Outcome::of("move it away", fs::rename(DIRECTORY, "/tmp/gang")),
        Outcome::of("remove it", fs::remove_dir(DIRECTORY)),
        Outcome::of(
            "put one in its place",
            fs::create_dir("/tmp/mine").and_then(|()| fs::rename("/tmp/mine", DIRECTORY)),
        ),
    ])
}

fn mounts() -> Outcome {
    let at = std::ffi::CString::new(DIRECTORY).unwrap();
    let mount = |flags: libc::c_ulong| {
        call!(libc::SYS_mount, c"/tmp".as_ptr(), at.as_ptr(), c"tmpfs".as_ptr(), flags, 0)
    };
    Outcome::all([
        Outcome::of("unmount", call!(libc::SYS_umount2, at.as_ptr(), libc::MNT_DETACH)),
        Outcome::of("remount", mount(libc::MS_REMOUNT)),
        Outcome::of("loosen", mount(libc::MS_REMOUNT | libc::MS_BIND)),
        Outcome::of("cover", mount(libc::MS_BIND)),
        Outcome::of("clone", call!(libc::SYS_open_tree, libc::AT_FDCWD, at.as_ptr(), 1)),
    ])
}

fn own() -> Outcome {
    let name = std::ffi::CString::new(DIRECTORY).unwrap();
    let before = fs::metadata(DIRECTORY).map(|metadata| metadata.mode());
    let changed = Outcome::all([
        Outcome::of("chmod", fs::set_permissions(DIRECTORY, fs::Permissions::from_mode(0o777))),
        Outcome::of("chown", call!(libc::SYS_fchownat, libc::AT_FDCWD, name.as_ptr(), 0, 0, 0)),
    ]);
    let after = fs::metadata(DIRECTORY).map(|metadata| metadata.mode());
    match (before, after) {
        (Ok(before), Ok(after)) if before == after => changed,
        other => Outcome::Escaped(format!("its mode is another: {other:?}")),
    }
}

fn link() -> Outcome {
    let ways = ["/etc/passwd", "/bin/sh", "/proc/1/status", "/proc/self/exe"];
    Outcome::all(ways.map(|way| Outcome::of(way, fs::hard_link(way, path("link")))))
}

/// Bytes, then names, each a file and each a link.
fn fill() -> Outcome {
    let file = path("full");
    let full = fs::write(&file, vec![0; BYTES_MAX + 4096]);
    let _ = fs::remove_file(&file);
    let made = |make: &dyn Fn(&str) -> io::Result<()>| {
        let names: Vec<String> = (0..=INODES_MAX).map(|n| path(&format!("f{n}"))).collect();
        let made = names.iter().try_for_each(|name| make(name));
        names.iter().for_each(|name| drop(fs::remove_file(name)));
        made
    };
    let files = made(&|name| OpenOptions::new().write(true).create_new(true).open(name).map(drop));
    let first = path("first");
    let links = fs::write(&first, "x").and_then(|()| made(&|name| fs::hard_link(&first, name)));
    let _ = fs::remove_file(&first);
    Outcome::all([Outcome::of("bytes", full), Outcome::of("files", files), Outcome::of("links", links)])
}
