//! The runner's timers: computed from the state at each turn of the loop rather than kept beside it.

use super::Runner;
use super::attempt::{Alive, Phase};
use crate::deadline::{boottime_ms, boottime_ns};

/// Sleep no longer: the kernel's poll takes no more than 31 bits of milliseconds, and deadlines come from outside.
const SLEEP_MS_MAX: u64 = 3_600_000;

impl Runner {
    /// How long the loop may sleep; `None` is for ever.
    pub(super) fn timeout_ms(&self) -> Option<u64> {
        if self.request_waits() {
            return Some(0);
        }
        let attempts = self.attempts.iter_live().filter_map(|attempt| match &attempt.phase {
            Phase::Alive(alive) => {
                if let Some(killed) = &alive.killed {
                    return Some(killed.look_at_ms);
                }
                // Rounded up: a deadline that is not over yet must not wake us over and over.
                let deadline = alive.page.as_ref().map(|page| page.read().div_ceil(1_000_000));
                deadline.into_iter().chain(alive.kill_at_ms).min()
            }
            Phase::Removing { at_ms, .. } => Some(*at_ms),
            Phase::Ended(_) => None,
        });
        let idle = self.idle_since_ms.map(|since| since + self.options.idle_ms);
        attempts
            .chain(idle)
            .chain(self.leftovers.retry_at_ms())
            .min()
            .map(|at| at.saturating_sub(boottime_ms()).min(SLEEP_MS_MAX))
    }

    pub(super) fn keep_timers(&mut self) {
        let (now_ms, now_ns) = (boottime_ms(), boottime_ns());
        if self.leftovers.retry_at_ms().is_some_and(|at| at <= now_ms) {
            self.leftovers.retry();
        }
        for number in self.attempts.live() {
            let Some(attempt) = self.attempts.get_mut(number) else { continue };
            match &attempt.phase {
                Phase::Alive(Alive { killed: Some(killed), .. }) if killed.look_at_ms > now_ms => {}
                Phase::Alive(Alive { killed: Some(_), .. }) => self.look_at_killed(number),
                Phase::Alive(alive) if alive.page.as_ref().is_some_and(|page| page.read() <= now_ns) => {
                    // The stub does this itself; this is for a stub that a disk has stopped.
                    self.kill(number, "the node's deadline passed");
                }
                Phase::Alive(alive) if alive.kill_at_ms.is_some_and(|at| at <= now_ms) => {
                    self.kill(number, "it did not end when it was stopped");
                }
                Phase::Removing { at_ms, .. } if *at_ms <= now_ms => self.remove_group(number),
                _ => {}
            }
        }
    }
}
