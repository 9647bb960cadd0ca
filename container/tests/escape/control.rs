//! The place where attempts must succeed: the same kinds of namespaces as a container's, but as root with all capabilities, on the host's file
//! system, with an ordinary process as PID 1 and a directory of the host left open. What is done there ends with it.

pub use super::attempt::Control as Kind;
use super::attempt::Control;
use super::{attacker, raw};
use rustix::mount::{MountFlags, MountPropagationFlags};

/// The descriptor of the host's root that a careless runtime leaves open.
pub const LEAKED: i32 = 9;
/// An ordinary user.
const NOBODY: u32 = 65534;

/// Runs the attempts of these names in it; for a process of its own.
pub fn run(kind: &str, names: &[String]) -> std::io::Result<()> {
    let mut namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWCGROUP;
    if kind != label(Control::HostNet) {
        namespaces |= libc::CLONE_NEWNET;
    }
    raw::call!(libc::SYS_unshare, namespaces)?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let first = raw::fork()?;
    if first == 0 {
        let code = i32::from(as_first_process(kind, names).is_err());
        raw::exit(code);
    }
    let status = raw::wait(first)?;
    if status == 0 { Ok(()) } else { Err(std::io::Error::other(format!("wait status {status:#x}"))) }
}

fn as_first_process(kind: &str, names: &[String]) -> std::io::Result<()> {
    rustix::mount::mount("proc", "/proc", "proc", MountFlags::empty(), None)?;
    let root = std::fs::File::open("/")?;
    raw::call!(libc::SYS_dup2, std::os::fd::AsRawFd::as_raw_fd(&root), LEAKED)?;
    let attacker = raw::fork()?;
    if attacker == 0 {
        if kind == label(Control::Nobody) {
            become_nobody()?;
        }
        attacker::run(names, apart);
        raw::exit(0);
    }
    raw::wait(attacker)?;
    Ok(())
}

fn become_nobody() -> std::io::Result<()> {
    raw::call!(libc::SYS_setgroups, 0, 0)?;
    raw::call!(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY)?;
    raw::call!(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY)?;
    Ok(())
}

/// What one attempt mounts or names, the next one does not see. (An ordinary user may not, and does not.)
fn apart() {
    let _ = raw::call!(libc::SYS_unshare, libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC);
}

/// The word for a kind of control on the command line.
pub fn label(control: Control) -> &'static str {
    match control {
        Control::Root => "root",
        Control::HostNet => "host-net",
        Control::Nobody => "nobody",
        Control::None(_) => "none",
    }
}
