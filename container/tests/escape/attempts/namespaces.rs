//! Other namespaces: new ones, in which a task would be root, and those of the stub or the host.

use super::told;
use crate::escape::attempt::{Attempt, Control, Outcome};
use crate::escape::raw::call;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("namespaces::new_user_namespace", new_user, Control::Root),
    Attempt::new("namespaces::new_user_and_mount_namespace", new_user_and_mount, Control::Root),
    Attempt::new("namespaces::new_namespaces_of_every_kind", new_each, Control::Root),
    Attempt::new("namespaces::clone_into_a_user_namespace", clone_user, Control::Root),
    Attempt::new("namespaces::clone3_into_a_user_namespace", clone3_user, Control::Root),
    Attempt::new("namespaces::enter_those_of_the_stub", enter_stub, Control::Root),
    Attempt::new("namespaces::enter_by_a_pidfd", enter_pidfd, Control::Root),
    Attempt::new(
        "namespaces::enter_the_parent_user_namespace",
        enter_parent,
        Control::None("the control's user namespace is the first, which has no parent"),
    ),
    Attempt::new("namespaces::change_the_host_name", host_name, Control::Root),
    Attempt::new("namespaces::are_not_the_hosts", own, Control::HostNet),
];

const KINDS: [(&str, i32); 8] = [
    ("user", libc::CLONE_NEWUSER),
    ("mnt", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("uts", libc::CLONE_NEWUTS),
    ("ipc", libc::CLONE_NEWIPC),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", 0x80),
];

fn unshare(flags: i32) -> io::Result<usize> {
    call!(libc::SYS_unshare, flags)
}

fn new_user() -> Outcome {
    Outcome::of("unshare user", unshare(libc::CLONE_NEWUSER))
}

fn new_user_and_mount() -> Outcome {
    Outcome::of("unshare user and mnt", unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS))
}

fn new_each() -> Outcome {
    Outcome::all(
        KINDS.iter().skip(1).map(|(name, flag)| Outcome::of(&format!("unshare {name}"), unshare(*flag))),
    )
}

/// Forks into new namespaces by the given call; the child ends at once.
fn forked(what: &str, result: io::Result<usize>) -> Outcome {
    if let Ok(0) = result {
        crate::escape::raw::exit(0);
    }
    Outcome::of(what, result)
}

fn clone_user() -> Outcome {
    forked("clone user", call!(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0))
}

fn clone3_user() -> Outcome {
    let arguments: [u64; 8] =
        [(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
    forked("clone3 user and mnt", call!(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)))
}

fn enter_stub() -> Outcome {
    Outcome::all(KINDS.iter().flat_map(|(name, flag)| {
        ["1", "self"].map(|who| {
            let path = format!("/proc/{who}/ns/{name}");
            let entered = File::open(&path).and_then(|file| call!(libc::SYS_setns, file.as_raw_fd(), *flag));
            Outcome::of(&format!("setns {path}"), entered)
        })
    }))
}

fn enter_pidfd() -> Outcome {
    let Ok(stub) = call!(libc::SYS_pidfd_open, 1, 0) else {
        return Outcome::Held("pidfd_open of 1 is refused".into());
    };
    Outcome::all(
        KINDS.iter().map(|(name, flag)| {
            Outcome::of(&format!("setns {name} of 1"), call!(libc::SYS_setns, stub, *flag))
        }),
    )
}

/// A descriptor of the parent can be asked for; entering it must fail.
fn enter_parent() -> Outcome {
    const NS_GET_USERNS: usize = 0xb701;
    const NS_GET_PARENT: usize = 0xb702;
    let asked = [
        ("mnt", NS_GET_USERNS),
        ("net", NS_GET_USERNS),
        ("pid", NS_GET_USERNS),
        ("user", NS_GET_PARENT),
        ("pid", NS_GET_PARENT),
    ];
    Outcome::all(asked.map(|(name, request)| {
        let entered = File::open(format!("/proc/self/ns/{name}")).and_then(|file| {
            let parent = call!(libc::SYS_ioctl, file.as_raw_fd(), request)?;
            call!(libc::SYS_setns, parent, 0)
        });
        Outcome::of(&format!("enter the owner or parent of {name}"), entered)
    }))
}

fn host_name() -> Outcome {
    let name = c"shoal-escape";
    Outcome::all([
        Outcome::of("sethostname", call!(libc::SYS_sethostname, name.as_ptr(), 12)),
        Outcome::of("setdomainname", call!(libc::SYS_setdomainname, name.as_ptr(), 12)),
    ])
}

/// The harness says which the host's are.
fn own() -> Outcome {
    let host = told::get(told::NAMESPACES);
    let shared: Vec<&str> = KINDS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| *name != "time")
        .filter(|name| {
            let link = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
            host.split(' ').any(|theirs| *theirs == *link.to_string_lossy())
        })
        .collect();
    Outcome::expect(shared.is_empty() && !host.is_empty(), format!("shared with the host: {shared:?}"))
}
