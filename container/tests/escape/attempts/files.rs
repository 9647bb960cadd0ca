//! Files: the read-only root, what is outside of it, and handles that reach around paths.

use super::told;
use crate::escape::attempt::{Attempt, Control, Outcome};
use crate::escape::raw::call;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::unix::fs::{PermissionsExt, symlink};

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("files::read_a_file_of_the_host", canary, Control::Root),
    Attempt::new("files::read_it_through_links", canary_by_link, Control::Root),
    Attempt::new("files::climb_above_the_root", climb, Control::None("looks at the container's own root")),
    Attempt::new("files::open_by_handle", by_handle, Control::Root),
    Attempt::new("files::write_to_the_root", write, Control::Root),
    Attempt::new("files::change_a_file_of_the_root", change, Control::Root),
    Attempt::new("files::reopen_a_read_only_file_for_writing", reopen, Control::Root),
    Attempt::new("files::write_by_a_shared_mapping", mapping, Control::Root),
    Attempt::new("files::overwrite_the_own_program", own_program, Control::Root),
    Attempt::new(
        "files::link_the_root_into_a_writable_directory",
        hard_link,
        Control::None("links across mounts are refused to everyone"),
    ),
    Attempt::new("files::watch_a_whole_file_system", watch, Control::Root),
];

fn evil(name: &str) -> String {
    format!("{}/{name}", told::get(told::EVIL))
}

fn canary() -> Outcome {
    let path = format!("{}/secret", told::get(told::CANARY));
    let ways = [
        path.clone(),
        format!("/proc/self/root{path}"),
        format!("/proc/self/cwd/{}{path}", "../".repeat(20)),
        format!("/tmp/../../..{path}"),
    ];
    Outcome::all(ways.map(|way| Outcome::of(&format!("read {way}"), std::fs::read(&way))))
}

fn canary_by_link() -> Outcome {
    let target = format!("{}/secret", told::get(told::CANARY));
    let link = format!("/tmp/shoal-escape-link-{}", std::process::id());
    if let Err(error) = symlink(&target, &link) {
        return Outcome::Broken(format!("cannot make a link: {error}"));
    }
    let read = std::fs::read(&link);
    let _ = std::fs::remove_file(&link);
    Outcome::all([
        Outcome::of("a link of the task's own", read),
        Outcome::of("a link that the root carries", std::fs::read(evil("link-to-canary"))),
        Outcome::of("a relative link that the root carries", std::fs::read(evil("relative-link-to-canary"))),
    ])
}

fn climb() -> Outcome {
    let top: Vec<_> = std::fs::read_dir("/".to_owned() + &"../".repeat(40))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    let root: Vec<_> =
        std::fs::read_dir("/").into_iter().flatten().flatten().map(|e| e.file_name()).collect();
    Outcome::expect(
        top == root && !root.is_empty(),
        format!("{} entries above, {} in the root", top.len(), root.len()),
    )
}

/// The root of a file system has a known inode number, so a handle for it can be made up without ever having seen it; it opens past all mounts.
fn by_handle() -> Outcome {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        data: [u32; 32],
    }
    let mut handle = Handle { bytes: 128, kind: 0, data: [0; 32] };
    let mut mount = 0i32;
    let asked =
        call!(libc::SYS_name_to_handle_at, libc::AT_FDCWD, c"/".as_ptr(), &raw mut handle, &raw mut mount, 0);
    if asked.is_err() {
        // Inode 2 of generation 0: the root of an ext4.
        handle = Handle { bytes: 8, kind: 1, data: [0; 32] };
        handle.data[0] = 2;
    }
    let directory =
        match call!(libc::SYS_openat, libc::AT_FDCWD, c"/".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY, 0) {
            Ok(directory) => directory,
            Err(error) => return Outcome::Broken(format!("cannot open /: {error}")),
        };
    Outcome::of(
        "open_by_handle_at of a root",
        call!(libc::SYS_open_by_handle_at, directory, &raw const handle, libc::O_RDONLY),
    )
}

fn write() -> Outcome {
    let name = "shoal-escape-file";
    let dirs = [
        "/".to_owned(),
        "/etc".to_owned(),
        "/usr".to_owned(),
        "/bin".to_owned(),
        "/lib".to_owned(),
        told::get(told::EVIL),
        evil("open-to-all"),
    ];
    Outcome::all(dirs.iter().filter(|dir| std::path::Path::new(dir).is_dir()).map(|dir| {
        let path = format!("{dir}/{name}");
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        let _ = std::fs::remove_file(&path);
        Outcome::of(&format!("make {path}"), made)
    }))
}

/// A file that everyone may write to, if the mount lets them.
fn change() -> Outcome {
    let path = evil("writable-by-all");
    let c_path = CString::new(path.clone()).unwrap_or_default();
    Outcome::all([
        Outcome::of("write", OpenOptions::new().write(true).open(&path)),
        Outcome::of("truncate", call!(libc::SYS_truncate, c_path.as_ptr(), 0)),
        Outcome::of("chmod", std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))),
        Outcome::of("times", call!(libc::SYS_utimensat, libc::AT_FDCWD, c_path.as_ptr(), 0, 0)),
        Outcome::of(
            "attribute",
            call!(libc::SYS_setxattr, c_path.as_ptr(), c"user.x".as_ptr(), c"x".as_ptr(), 1, 0),
        ),
        Outcome::of(
            "rename",
            std::fs::rename(&path, evil("renamed")).and_then(|()| std::fs::rename(evil("renamed"), &path)),
        ),
        Outcome::of(
            "link",
            std::fs::hard_link(&path, evil("linked")).and_then(|()| std::fs::remove_file(evil("linked"))),
        ),
    ])
}

fn reopen() -> Outcome {
    use std::os::fd::AsRawFd;
    let path = evil("writable-by-all");
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) => return Outcome::Broken(format!("cannot read {path}: {error}")),
    };
    Outcome::all(["self", "thread-self"].map(|who| {
        let again = format!("/proc/{who}/fd/{}", file.as_raw_fd());
        Outcome::of(&format!("open {again} for writing"), OpenOptions::new().write(true).open(&again))
    }))
}

fn mapping() -> Outcome {
    use std::os::fd::AsRawFd;
    let path = evil("writable-by-all");
    let file = OpenOptions::new().read(true).write(true).open(&path).or_else(|_| std::fs::File::open(&path));
    let Ok(file) = file else { return Outcome::Broken(format!("cannot read {path}")) };
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let mapped = call!(libc::SYS_mmap, 0, 4096, protection, libc::MAP_SHARED, file.as_raw_fd(), 0);
    Outcome::of("map a file of the root shared and writable", mapped)
}

/// ETXTBSY means that it runs, and comes before the look at the mount.
fn own_program() -> Outcome {
    let mount = rustix::fs::statvfs("/proc/self/exe").map(|stat| stat.f_flag);
    let read_only = mount.is_ok_and(|flags| flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    match OpenOptions::new().write(true).open("/proc/self/exe") {
        Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
            Outcome::expect(read_only, format!("/proc/self/exe runs; its mount is read-only: {read_only}"))
        }
        other => Outcome::of("open /proc/self/exe for writing", other),
    }
}

fn hard_link() -> Outcome {
    Outcome::all(["/tmp", "/work"].map(|dir| {
        let link = format!("{dir}/shoal-escape-hard");
        Outcome::of(
            &format!("link a set-id program into {dir}"),
            std::fs::hard_link(evil("setuid-root"), &link),
        )
    }))
}

fn watch() -> Outcome {
    const FAN_MARK_ADD_FILESYSTEM: usize = 0x101;
    const FAN_OPEN: usize = 0x20;
    let group = match call!(libc::SYS_fanotify_init, 0, libc::O_RDONLY) {
        Ok(group) => group,
        Err(error) => return Outcome::of::<()>("fanotify_init", Err(error)),
    };
    Outcome::of(
        "mark a file system",
        call!(
            libc::SYS_fanotify_mark,
            group,
            FAN_MARK_ADD_FILESYSTEM,
            FAN_OPEN,
            libc::AT_FDCWD,
            c"/".as_ptr()
        ),
    )
}
