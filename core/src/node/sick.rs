//! A node that cannot launch (a full disk, control groups that are gone) would take task after task and fail each of them, faster than any
//! healthy node finishes one. So after a failed launch it takes nothing for a while, longer each time, until a launch succeeds: its
//! peers plan around it as around any that does not take its part.
//!
//! And a node on which a process cannot be killed takes nothing until it is dead, and says so: what hangs there, a disk or a server, is likely
//! to hang the next task too.

use crate::event::Action;
use crate::id::AttemptId;
use crate::time::BootMs;
use std::collections::BTreeMap;

/// After the first failed launch in a row; doubled with each that follows. Longer than the back-off of a second attempt, so that a
/// healthy peer is there first.
pub const PAUSE_MIN_MS: u64 = 2_000;
/// At most.
pub const PAUSE_MAX_MS: u64 = 60_000;

/// Failed launches in a row, and what follows from them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sick {
    in_a_row: u32,
    until: Option<BootMs>,
    /// Attempts that were killed and live, and why.
    stuck: BTreeMap<AttemptId, String>,
}

impl Sick {
    pub(super) fn launch_failed(&mut self, now: BootMs) {
        // Launches that were under way when the first of them failed say nothing new.
        if !self.is_sick(now) {
            let pause = PAUSE_MIN_MS << self.in_a_row.min(5);
            self.until = Some(now.plus(pause.min(PAUSE_MAX_MS)));
            self.in_a_row = self.in_a_row.saturating_add(1);
        }
    }

    pub(super) fn launched(&mut self) {
        (self.in_a_row, self.until) = (0, None);
    }

    pub(super) fn is_stuck(&mut self, attempt: AttemptId, why: String, actions: &mut Vec<Action>) {
        let before = self.unfit();
        self.stuck.insert(attempt, why);
        self.show_if_other(before, actions);
    }

    /// It has ended after all.
    pub(super) fn died(&mut self, attempt: AttemptId, actions: &mut Vec<Action>) {
        let before = self.unfit();
        self.stuck.remove(&attempt);
        self.show_if_other(before, actions);
    }

    fn show_if_other(&self, before: String, actions: &mut Vec<Action>) {
        let now = self.unfit();
        if now != before {
            actions.push(Action::Unfit(now));
        }
    }

    /// Why no task can be taken until somebody has seen to it; empty when there is nothing of the kind.
    fn unfit(&self) -> String {
        let Some((attempt, why)) = self.stuck.first_key_value() else { return String::new() };
        let first = format!("attempt {attempt} was killed and does not die: {why}");
        match self.stuck.len() - 1 {
            0 => first,
            others => format!("{first}; and {others} more"),
        }
    }

    pub(super) fn is_sick(&self, now: BootMs) -> bool {
        !self.stuck.is_empty() || self.until.is_some_and(|until| now < until)
    }

    /// When to look again.
    pub(super) fn next_deadline(&self) -> Option<BootMs> {
        self.until
    }
}
