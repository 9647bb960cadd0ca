//! /proc and /sys: parts that show or change the whole machine (the classes of CVE-2025-31133, CVE-2025-52881 and CVE-2025-62161).

use super::told;
use crate::escape::attempt::{Attempt, Control, Outcome};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("proc::name_a_core_handler", core_pattern, Control::Root),
    Attempt::new("proc::name_a_module_loader", modprobe, Control::Root),
    Attempt::new("proc::name_an_uevent_helper", uevent_helper, Control::Root),
    Attempt::new("proc::press_a_system_request_key", sysrq, Control::Root),
    Attempt::new("proc::write_any_sysctl", any_sysctl, Control::Root),
    Attempt::new("proc::write_anything_of_the_machine", anything, Control::Root),
    Attempt::new("proc::read_what_is_masked", read_masked, Control::Root),
    Attempt::new("proc::masks_are_the_null_device_or_empty", masks, Control::Root),
    Attempt::new("proc::is_the_kernels_own", genuine, Control::None("looks at what the container was given")),
    Attempt::new("proc::write_sysfs", sysfs, Control::Root),
    Attempt::new("proc::be_killed_after_the_hosts_services", oom_score, Control::Root),
    Attempt::new("proc::take_back_being_killed_first", oom_first, Control::Root),
    Attempt::new("proc::map_users", map_users, Control::None("a process' maps can be written only once")),
    Attempt::new(
        "proc::change_the_security_label",
        label,
        Control::None("needs a security module that labels"),
    ),
    Attempt::new(
        "proc::reach_a_process_of_the_host",
        host_process,
        Control::None("the host's process numbers mean nothing in another namespace"),
    ),
];

/// Opening for writing is enough to know; the control writes what is there already.
fn write_same(path: &str) -> io::Result<()> {
    let same = std::fs::read(path).unwrap_or_default();
    OpenOptions::new().write(true).open(path)?.write_all(&same)
}

fn writes(paths: &[&str]) -> Outcome {
    Outcome::all(paths.iter().map(|path| Outcome::of(&format!("write {path}"), write_same(path))))
}

fn core_pattern() -> Outcome {
    writes(&[
        "/proc/sys/kernel/core_pattern",
        "/proc/self/root/proc/sys/kernel/core_pattern",
        "/proc/thread-self/root/proc/sys/kernel/core_pattern",
    ])
}

fn modprobe() -> Outcome {
    writes(&[
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hotplug",
        "/proc/sys/kernel/poweroff_cmd",
        "/proc/sys/fs/binfmt_misc/register",
    ])
}

fn uevent_helper() -> Outcome {
    writes(&["/sys/kernel/uevent_helper", "/sys/kernel/profiling", "/sys/module/printk/parameters/time"])
}

/// Only opened: the control must not press anything.
fn sysrq() -> Outcome {
    Outcome::all([
        Outcome::of(
            "open /proc/sysrq-trigger for writing",
            OpenOptions::new().write(true).open("/proc/sysrq-trigger"),
        ),
        Outcome::of("write /proc/sys/kernel/sysrq", write_same("/proc/sys/kernel/sysrq")),
    ])
}

/// All files below, without following links.
fn walk(dir: &Path, skip: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        // What covers a file is not what the directory says of it: the null device may be written to.
        let Ok(kind) = std::fs::symlink_metadata(&path).map(|metadata| metadata.file_type()) else {
            continue;
        };
        if skip(&path) {
            continue;
        }
        if kind.is_dir() {
            walk(&path, skip, found)
        } else if kind.is_file() {
            found.push(path)
        }
    }
}

fn opened_for_writing(files: &[PathBuf]) -> Outcome {
    let open: Vec<_> =
        files.iter().filter(|path| OpenOptions::new().write(true).open(path).is_ok()).collect();
    Outcome::expect(
        open.is_empty() && !files.is_empty(),
        format!("{} files, open for writing: {:?}", files.len(), open.iter().take(8).collect::<Vec<_>>()),
    )
}

fn any_sysctl() -> Outcome {
    let mut files = Vec::new();
    walk(Path::new("/proc/sys"), &|_| false, &mut files);
    opened_for_writing(&files)
}

/// Everything but the processes' own directories.
fn anything() -> Outcome {
    let mut files = Vec::new();
    let process = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        path.parent() == Some(Path::new("/proc"))
            && (name.bytes().all(|b| b.is_ascii_digit()) || name == "sys")
    };
    walk(Path::new("/proc"), &process, &mut files);
    opened_for_writing(&files)
}

const MASKED: [&str; 6] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/latency_stats",
];

/// Without waiting for what may never come (the kernel's log).
fn opened(path: &str) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn read_masked() -> Outcome {
    let paths = MASKED.iter().chain(&[
        "/proc/kpagecount",
        "/proc/kpageflags",
        "/proc/kpagecgroup",
        "/proc/vmallocinfo",
        "/proc/slabinfo",
    ]);
    Outcome::all(paths.map(|path| {
        let mut byte = [0; 1];
        match opened(path).and_then(|mut file| file.read(&mut byte)) {
            Ok(0) => Outcome::Held(format!("{path} is empty")),
            other => Outcome::of(&format!("read {path}"), other),
        }
    }))
}

/// A mask that is anything but the null device, or an empty directory, hides nothing or shows something else (CVE-2025-31133, CVE-2025-62161).
fn masks() -> Outcome {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let null = rustix::fs::makedev(1, 3);
    Outcome::all(MASKED.iter().chain(&["/proc/acpi", "/proc/scsi", "/proc/asound"]).filter_map(|path| {
        let Ok(metadata) = std::fs::symlink_metadata(path) else { return None };
        let right = if metadata.is_dir() {
            std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
        } else {
            metadata.file_type().is_char_device() && metadata.rdev() == null
        };
        Some(Outcome::expect(
            right,
            format!("{path} is {}", if right { "covered" } else { "as the kernel shows it" }),
        ))
    }))
}

/// The container's own /proc, not one that the root brought, with /proc/sys as a mount that cannot be written to.
fn genuine() -> Outcome {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    const ROOT_INODE: u64 = 1;
    let kind = rustix::fs::statfs("/proc").map(|stat| stat.f_type as u64);
    let inode = rustix::fs::stat("/proc").map(|stat| stat.st_ino);
    let sys = rustix::fs::statvfs("/proc/sys")
        .map(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    let right = kind == Ok(PROC_SUPER_MAGIC) && inode == Ok(ROOT_INODE) && sys == Ok(true);
    Outcome::expect(right, format!("type {kind:x?}, inode {inode:?}, /proc/sys read-only {sys:?}"))
}

fn sysfs() -> Outcome {
    let mut files = Vec::new();
    // The devices alone are tens of thousands.
    let skip = |path: &Path| path.starts_with("/sys/devices") || path.starts_with("/sys/fs/cgroup");
    walk(Path::new("/sys"), &skip, &mut files);
    if files.is_empty() {
        return Outcome::Held("/sys shows nothing".into());
    }
    opened_for_writing(&files)
}

fn adjust(value: &str) -> Outcome {
    Outcome::of(&format!("oom_score_adj to {value}"), std::fs::write("/proc/self/oom_score_adj", value))
}

fn oom_score() -> Outcome {
    Outcome::all(["-1000", "-1"].map(adjust))
}

/// The kernel keeps a task from it where whoever raised the value had CAP_SYS_RESOURCE.
fn oom_first() -> Outcome {
    if told::get(told::CAPABLE).is_empty() {
        return Outcome::Skipped("the runner has no CAP_SYS_RESOURCE".into());
    }
    adjust("0")
}

fn map_users() -> Outcome {
    let files = [("uid_map", "0 0 4294967295"), ("gid_map", "0 0 4294967295"), ("setgroups", "allow")];
    Outcome::all(files.iter().flat_map(|(name, text)| {
        ["self", "1"].map(|who| {
            let path = format!("/proc/{who}/{name}");
            Outcome::of(&format!("write {path}"), std::fs::write(&path, text))
        })
    }))
}

fn label() -> Outcome {
    let files = ["exec", "current", "fscreate", "keycreate", "sockcreate", "apparmor/exec"];
    Outcome::all(files.map(|name| {
        let path = format!("/proc/self/attr/{name}");
        Outcome::of(&format!("write {path}"), std::fs::write(&path, "unconfined"))
    }))
}

fn host_process() -> Outcome {
    let pid = told::get(told::HOST_PID);
    Outcome::of(
        &format!("the host's process {pid}"),
        std::fs::read(format!("/proc/{pid}/cmdline")).and_then(|line| {
            // A process of our own may have the number by chance.
            if line.starts_with(b"sleep") { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
        }),
    )
}
