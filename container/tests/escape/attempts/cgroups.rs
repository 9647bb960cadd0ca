//! Control groups: other limits, other groups, and the release agent, a program that the kernel starts on the host.

use crate::escape::attempt::{Attempt, Control, Outcome};
use crate::escape::raw::call;
use std::path::Path;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("cgroups::see_a_hierarchy", see, Control::Root),
    Attempt::new("cgroups::mount_a_hierarchy_of_v1", mount_v1, Control::Root),
    Attempt::new("cgroups::mount_v2", mount_v2, Control::Root),
    Attempt::new("cgroups::raise_a_limit_or_leave", write, Control::Root),
    Attempt::new(
        "cgroups::see_the_path_on_the_host",
        path,
        Control::None("looks at the container's own view"),
    ),
];

/// Mount points of control groups that are visible.
fn visible() -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let groups = fields.filter(|fields| fields.get(2).is_some_and(|kind| kind.starts_with("cgroup")));
    groups
        .map(|fields| fields[1].to_owned())
        .filter(|path| Path::new(path).join("cgroup.procs").exists())
        .collect()
}

fn see() -> Outcome {
    let seen = visible();
    Outcome::expect(seen.is_empty(), format!("visible hierarchies: {seen:?}"))
}

fn mount(kind: &std::ffi::CStr, data: &std::ffi::CStr) -> std::io::Result<usize> {
    call!(libc::SYS_mount, c"shoal-escape".as_ptr(), c"/tmp".as_ptr(), kind.as_ptr(), 0, data.as_ptr())
}

/// With one in hand, a release agent of the task's choice would run on the host (CVE-2022-0492).
fn mount_v1() -> Outcome {
    let data = [
        c"memory",
        c"pids",
        c"cpu",
        c"devices",
        c"freezer",
        c"rdma",
        c"none,name=systemd",
        c"none,name=shoal-escape",
    ];
    let outcomes = data.map(|data| Outcome::of(&format!("mount cgroup {data:?}"), mount(c"cgroup", data)));
    match Outcome::all(outcomes) {
        // A machine with v2 alone refuses some for root as well; which it does not matter as long as the control shows one.
        Outcome::Held(text) if !has_v1() => Outcome::Held(format!("this kernel uses no v1: {text}")),
        other => other,
    }
}

/// Whether this kernel has a hierarchy of v1 that is in use.
fn has_v1() -> bool {
    let table = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    table.lines().skip(1).any(|line| line.split('\t').nth(1).is_some_and(|hierarchy| hierarchy != "0"))
}

fn mount_v2() -> Outcome {
    Outcome::of("mount cgroup2", mount(c"cgroup2", c""))
}

/// Files of the groups that are visible, opened for writing but not written to: by path, and where the host has them.
fn write() -> Outcome {
    let names = [
        "cgroup.procs",
        "tasks",
        "release_agent",
        "notify_on_release",
        "memory.limit_in_bytes",
        "memory.max",
        "pids.max",
        "cpu.max",
        "cgroup.subtree_control",
        "devices.allow",
    ];
    let known = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"]
        .map(str::to_owned);
    Outcome::all(
        visible()
            .into_iter()
            .chain(known)
            .flat_map(|dir| {
                names.map(|name| {
                    let path = format!("{dir}/{name}");
                    Outcome::of(
                        &format!("open {path} for writing"),
                        std::fs::OpenOptions::new().write(true).open(&path),
                    )
                })
            })
            .collect::<Vec<_>>(),
    )
}

fn path() -> Outcome {
    let table = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let shown: Vec<&str> = table.lines().filter(|line| line.contains("shoal")).collect();
    Outcome::expect(
        shown.is_empty() && !table.is_empty(),
        format!("groups shown by their path on the host: {shown:?}"),
    )
}
