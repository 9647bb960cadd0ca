//! The ids of the namespace: those of /etc/subuid and /etc/subgid through the setuid programs that check them, or the user's own.

use crate::sys::{self, Fork};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, getegid, geteuid, getgroups, waitid};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

/// What this namespace has beside the user itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// So many ids, from 1 on.
    Range(u32),
    /// None.
    Own,
}

/// Ids that /etc/subuid and /etc/subgid name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    users: Range,
    groups: Range,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
}

/// What the files give this user.
pub fn grant() -> Option<Grant> {
    let uid = geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = name_of(&uid, &users);
    let find = |file| largest(&std::fs::read_to_string(file).ok()?, &uid, name.as_deref());
    Some(Grant { users: find("/etc/subuid")?, groups: find("/etc/subgid")? })
}

fn name_of(uid: &str, users: &str) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

/// The largest range of a user: lines of `NAME:FIRST:COUNT` or `UID:FIRST:COUNT`.
fn largest(text: &str, uid: &str, name: Option<&str>) -> Option<Range> {
    let ranges = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let who = fields.next()?;
        let range = Range { first: fields.next()?.parse().ok()?, count: fields.next()?.trim().parse().ok()? };
        (who == uid || Some(who) == name).then_some(range)
    });
    ranges.filter(|range| range.count > 0).max_by_key(|range| range.count)
}

/// A process outside of the namespace that will call the helpers.
pub struct Helpers {
    pidfd: OwnedFd,
    go: OwnedFd,
    count: u32,
}

impl Helpers {
    /// Forks it; it waits.
    pub fn start(grant: Grant) -> io::Result<Helpers> {
        let count = grant.users.count.min(grant.groups.count);
        let (wait, go) = pipe_with(PipeFlags::CLOEXEC)?;
        let runner = std::process::id();
        // SAFETY: the runner has one thread, and the child's branch ends in an exit.
        #[allow(unsafe_code)]
        match unsafe { sys::fork_into(0) }? {
            Fork::Parent(_, pidfd) => Ok(Helpers { pidfd, go, count }),
            Fork::Child => {
                drop(go);
                let told = rustix::io::read(&wait, &mut [0]).is_ok_and(|n| n == 1);
                // Groups first: should that fail, nothing is mapped yet, and the user's own ids still can be.
                let mapped = told
                    && map("newgidmap", runner, getegid().as_raw(), grant.groups.first, count)
                    && map("newuidmap", runner, geteuid().as_raw(), grant.users.first, count);
                sys::exit_now(i32::from(!mapped))
            }
        }
    }

    /// To be called in the new namespace: has it mapped. The number of ids beside 0.
    pub fn map(self) -> io::Result<u32> {
        rustix::io::write(&self.go, &[1])?;
        let status = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)?;
        match status.and_then(|status| status.exit_status()) {
            Some(0) => Ok(self.count),
            _ => Err(io::Error::other("newuidmap or newgidmap did not map the ids")),
        }
    }
}

/// Calls one of them: id 0 is the caller's own, and from 1 on come those of the range.
fn map(program: &str, target: u32, own: u32, first: u32, count: u32) -> bool {
    let ids = [target, 0, own, 1, 1, first, count].map(|number| number.to_string());
    Command::new(program).args(ids).stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The user who runs this; to be asked before the namespace is made, in which it is nobody at first.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    uid: u32,
    gid: u32,
}

impl Own {
    /// Asks.
    pub fn ask() -> Own {
        Own { uid: geteuid().as_raw(), gid: getegid().as_raw() }
    }

    /// To be called in the new namespace: maps these ids alone. Needs no help, but groups can then never be set, lest somebody leave one that
    /// takes a right away.
    pub fn map(self) -> io::Result<()> {
        let write = |name: &str, text: String| std::fs::write(format!("/proc/self/{name}"), text);
        write("setgroups", "deny".to_owned())?;
        write("gid_map", format!("0 {} 1\n", self.gid))?;
        write("uid_map", format!("0 {} 1\n", self.uid))
    }
}

/// What the namespace that this process has joined has.
pub fn present() -> io::Result<Granted> {
    let count = |name: &str| Ok::<_, io::Error>(beside_own(&std::fs::read_to_string(name)?));
    let count = count("/proc/self/uid_map")?.min(count("/proc/self/gid_map")?);
    Ok(if count > 0 { Granted::Range(count) } else { Granted::Own })
}

/// Ids from 1 on.
fn beside_own(map: &str) -> u32 {
    let rows = map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        let (inside, count) = (fields.next()?.ok()?, fields.nth(1)?.ok()?);
        (inside == 1).then_some(count)
    });
    rows.sum()
}

/// Whether the user has groups beside its own.
pub fn has_supplementary_groups() -> bool {
    getgroups().is_ok_and(|groups| groups.iter().any(|group| *group != getegid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_found_by_name_and_by_id_and_the_largest_is_taken() {
        let users = "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_of("1000", users).as_deref(), Some("ann"));
        assert_eq!(name_of("100", users), None);
        let text = "bob:100000:65536\nann:165536:1000\n1000:300000:65536\nann:x:9\nann:1\n\n";
        assert_eq!(largest(text, "1000", Some("ann")), Some(Range { first: 300_000, count: 65536 }));
        assert_eq!(largest(text, "7", None), None);
        assert_eq!(largest("ann:5:0\n", "1000", Some("ann")), None);
    }

    #[test]
    fn a_map_says_what_is_beside_the_own_id() {
        assert_eq!(beside_own("         0       1000          1\n         1     100000      65536\n"), 65536);
        assert_eq!(beside_own("         0       1000          1\n"), 0);
    }
}
