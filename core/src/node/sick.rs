//! A node that cannot launch (a full disk, control groups that are gone) would take task after task and fail each of them, faster than any
//! healthy node finishes one. So after a failed launch it takes nothing for a while, longer each time, until a launch succeeds: its
//! peers plan around it as around any that does not take its part.

use crate::time::BootMs;

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
        *self = Sick::default();
    }

    pub(super) fn is_sick(&self, now: BootMs) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When to look again.
    pub(super) fn next_deadline(&self) -> Option<BootMs> {
        self.until
    }
}
