//! Attempts that were killed and do not die. A frozen one is let out of the cold; one whose process waits inside of the kernel, for a disk or a
//! server that does not answer, cannot be ended by anybody: it is reported, and stays alive as far as everybody is concerned, until it is dead.
//!
//! Such a process executes nothing of its own any more: SIGKILL is the first thing it meets on its way back from the kernel. What it asked
//! the kernel for before may still happen.

use super::Runner;
use super::attempt::Phase;
use crate::cgroup::Group;
use crate::deadline::boottime_ms;
use crate::protocol::Event;
use rustix::process::Pid;

/// After a SIGKILL, before the first look at what hinders it: longer than a healthy container takes to die.
const LOOK_AFTER_MS: u64 = 50;
/// Between later looks, at most.
const LOOKS_MS_MAX: u64 = 5_000;
/// So long after a SIGKILL an attempt counts as stuck. Unmounting and writing back may take a slow disk some seconds.
pub(super) const STUCK_AFTER_MS: u64 = 10_000;
/// Functions of the kernel that are named, innermost first.
const FUNCTIONS_MAX: usize = 4;

/// The runner's SIGKILL to an attempt.
pub struct Killed {
    /// Why it was sent.
    pub why: &'static str,
    /// When, on the boot-time clock.
    at_ms: u64,
    /// When to look whether it works.
    pub look_at_ms: u64,
    /// What was told of it once it was stuck.
    stuck: Option<String>,
}

impl Killed {
    /// Sent now.
    pub fn now(why: &'static str) -> Killed {
        let at_ms = boottime_ms();
        Killed { why, at_ms, look_at_ms: at_ms + LOOK_AFTER_MS, stuck: None }
    }
}

impl Runner {
    /// Looks at an attempt that was killed a while ago and still lives.
    pub(super) fn look_at_killed(&mut self, number: u64) {
        let Some(attempt) = self.attempts.get_mut(number) else { return };
        let Phase::Alive(alive) = &mut attempt.phase else { return };
        let Some(killed) = &mut alive.killed else { return };
        let group = self.cgroups.group(&attempt.id);
        group.thaw();
        let since_ms = boottime_ms().saturating_sub(killed.at_ms);
        let mut next_ms = since_ms * 2;
        if killed.stuck.is_none() && since_ms < STUCK_AFTER_MS {
            next_ms = next_ms.min(STUCK_AFTER_MS);
        }
        killed.look_at_ms = killed.at_ms + next_ms.min(since_ms + LOOKS_MS_MAX);
        if killed.stuck.is_none() && since_ms >= STUCK_AFTER_MS {
            let why = describe(&group);
            killed.stuck = Some(why.clone());
            let event = Event::Stuck { id: attempt.id.clone(), why };
            self.tell(&event);
        }
    }

    /// Tells of all that are stuck: who listens now may not have heard.
    pub(super) fn tell_stuck(&mut self) {
        let stuck = |attempt: &super::attempt::Attempt| match &attempt.phase {
            Phase::Alive(alive) => {
                let why = alive.killed.as_ref()?.stuck.clone()?;
                Some(Event::Stuck { id: attempt.id.clone(), why })
            }
            Phase::Removing { .. } | Phase::Ended(_) => None,
        };
        let events: Vec<Event> = self.attempts.iter_live().filter_map(stuck).collect();
        events.iter().for_each(|event| self.tell(event));
    }
}

/// Which process of the group does not die, and where in the kernel it is.
pub(super) fn describe(group: &Group) -> String {
    let members: Vec<Member> = group.members().into_iter().filter_map(Member::read).collect();
    // The others wait for those that sleep and cannot be woken.
    let Some(member) = members.iter().find(|m| m.state == 'D').or(members.first()) else {
        return "its control group is not empty, and shows no process".to_owned();
    };
    let Member { pid, name, state, place } = member;
    let doing = match state {
        'D' => "sleeps in the kernel and cannot be woken",
        'T' | 't' => "is stopped",
        'Z' => "has ended and is not reaped",
        _ => "is ending",
    };
    let place = if place.is_empty() { String::new() } else { format!(", in {place}") };
    format!("process {pid} ({name}) {doing} (state {state}{place})")
}

struct Member {
    pid: i32,
    name: String,
    state: char,
    place: String,
}

impl Member {
    fn read(pid: Pid) -> Option<Member> {
        let pid = pid.as_raw_nonzero().get();
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        let (before, after) = stat.rsplit_once(") ")?;
        let name = before.split_once('(')?.1;
        // The task has chosen its name.
        let name = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        Some(Member { pid, name, state: after.chars().next()?, place: place(pid) })
    }
}

/// The innermost functions of the kernel that the process is in, as far as this process may know.
fn place(pid: i32) -> String {
    let stack = std::fs::read_to_string(format!("/proc/{pid}/stack")).unwrap_or_default();
    let functions: Vec<&str> = stack.lines().filter_map(function).take(FUNCTIONS_MAX).collect();
    if !functions.is_empty() {
        return functions.join(" < ");
    }
    let waits_in = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    if waits_in == "0" { String::new() } else { waits_in }
}

/// `do_sys_poll` of `[<0>] do_sys_poll+0x4a/0x5d0`.
fn function(line: &str) -> Option<&str> {
    let (_, call) = line.split_once("] ")?;
    Some(call.split(['+', ' ']).next()?).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_stack_names_its_function() {
        assert_eq!(function("[<0>] __sb_start_write+0x4a/0x5d0"), Some("__sb_start_write"));
        assert_eq!(function("[<0>] 0xffffffffffffffff"), Some("0xffffffffffffffff"));
        assert_eq!(function(""), None);
    }

    #[test]
    fn a_living_process_is_described() {
        let member = Member::read(rustix::process::getpid()).unwrap();
        assert!(member.state.is_ascii_uppercase(), "{}", member.state);
    }
}
