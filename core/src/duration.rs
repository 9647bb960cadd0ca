//! How long tasks of one name take, learned from those that went well: what `/duration/NAME` holds.
//!
//! The expectation is the median of the last [`WINDOW`] runs. A mean, also one of logarithms, is moved by each run that hung for hours before it
//! went well, and has to be told how fast to forget; a quantile that is followed step by step starts wherever its first run happened to lie and
//! needs tens of runs to come away. The median of nine is not moved at all by four strange runs, is right again five runs after the work itself has
//! changed, needs no constant but its window, and anybody can check it by looking at the record. What it costs is noise: where runs scatter by
//! sigma, it does by 0.4 sigma, and docs/scheduling.md found expectations that are wrong by sigma 0.8 still worth having.
//!
//! Only runs that ended with exit code 0 teach. A failed one says when it broke, not how long the work takes: a test that fails at its first line
//! would make the queue believe that its hour costs a second.
//!
//! Persisted (see `shoal_store::record`): only add fields, with a default.

use crate::clock::{TICK_S, Tick};
use crate::spec::Unknown;
use serde::{Deserialize, Serialize};

/// Runs that count.
pub const WINDOW: usize = 9;
/// Names that the store keeps, and every node in memory: some 200 bytes each, 2 kB with the longest name that a task may have.
pub const NAMES_MAX: usize = 10_000;
/// So many steps of the cluster's clock, an hour, each run of a name keeps it longer than its last update says...
const KEEP_TICKS_A_RUN: u64 = 3600 / TICK_S;
/// ...up to so many runs.
const KEEP_RUNS_MAX: u64 = 24;

/// Under `/duration/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DurationEntry {
    /// What the next run is expected to take, in seconds.
    pub expected_s: u32,
    /// Runs that it was ever told of.
    pub runs: u64,
    /// What the last of them took, in seconds; at most [`WINDOW`], the newest last.
    pub last_s: Vec<u32>,
    /// When it last learned, by the cluster's clock.
    #[serde(default, skip_serializing_if = "Tick::is_zero")]
    pub tick: Tick,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Runs of one name that one node has seen and not yet written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// How many.
    pub count: u64,
    /// The last of them, in seconds, the newest last; at most [`WINDOW`].
    pub last_s: Vec<u32>,
    /// When the last ended, by the cluster's clock.
    pub tick: Tick,
}

/// Whole seconds, and never 0: that is nothing known.
pub fn seconds_of(ms: u64) -> u32 {
    u32::try_from(ms.saturating_add(500) / 1_000).unwrap_or(u32::MAX).max(1)
}

impl Runs {
    /// One more.
    pub fn add(&mut self, seconds: u32, tick: Tick) {
        self.count = self.count.saturating_add(1);
        self.tick = self.tick.max(tick);
        push(&mut self.last_s, &[seconds]);
    }
}

impl DurationEntry {
    /// Learns from runs, in the order in which they are told: on top of whatever others have told in the meantime.
    pub fn learn(&mut self, runs: &Runs) {
        push(&mut self.last_s, &runs.last_s);
        self.runs = self.runs.saturating_add(runs.count);
        self.tick = self.tick.max(runs.tick);
        let mut sorted = self.last_s.clone();
        sorted.sort_unstable();
        // Of an even number the later of the two in the middle: to expect too much of a name that is hardly known costs less than too little.
        self.expected_s = sorted.get(sorted.len() / 2).copied().unwrap_or(self.expected_s);
    }

    /// Until when it is worth more than others, when one has to go: its last update, and an hour for each run, a day at most. So a flood of names
    /// that are used once does not push out those that are used daily.
    pub fn kept_until(&self) -> Tick {
        Tick(self.tick.0.saturating_add(self.runs.min(KEEP_RUNS_MAX) * KEEP_TICKS_A_RUN))
    }
}

fn push(last_s: &mut Vec<u32>, more: &[u32]) {
    last_s.extend(more);
    last_s.drain(..last_s.len().saturating_sub(WINDOW));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runs(seconds: impl IntoIterator<Item = u32>) -> Runs {
        let mut runs = Runs::default();
        seconds.into_iter().for_each(|s| runs.add(s, Tick(5)));
        runs
    }

    fn learned(seconds: impl IntoIterator<Item = u32>) -> DurationEntry {
        let mut entry = DurationEntry::default();
        entry.learn(&runs(seconds));
        entry
    }

    proptest! {
        #[test]
        fn it_converges_to_the_middle_of_what_runs_take(middle in 20_u32..100_000, noise in prop::collection::vec(-10_i64..=10, 30)) {
            let taken = noise.iter().map(|n| (i64::from(middle) + i64::from(middle) * n / 100) as u32);
            let expected = f64::from(learned(taken).expected_s);
            prop_assert!((expected / f64::from(middle) - 1.0).abs() <= 0.11, "{expected} of {middle}");
        }

        #[test]
        fn it_lies_among_the_last_runs_and_stays_small(taken in prop::collection::vec(any::<u32>(), 1..200)) {
            let entry = learned(taken.iter().copied());
            prop_assert!(entry.last_s.len() <= WINDOW);
            prop_assert!(entry.last_s.contains(&entry.expected_s));
            prop_assert_eq!(entry.runs, taken.len() as u64);
        }

        #[test]
        fn what_is_told_in_parts_is_what_is_told_at_once(taken in prop::collection::vec(1..1000_u32, 1..60), cut in any::<prop::sample::Index>()) {
            let (first, second) = taken.split_at(cut.index(taken.len()));
            let mut parts = learned(first.iter().copied());
            parts.learn(&runs(second.iter().copied()));
            prop_assert_eq!(parts.last_s.clone(), learned(taken.iter().copied()).last_s);
            prop_assert_eq!(parts.expected_s, learned(taken).expected_s);
        }
    }

    #[test]
    fn one_outlier_moves_nothing_and_nor_do_four() {
        let usual = [600; 5];
        assert_eq!(learned(usual.into_iter().chain([80_000])).expected_s, 600);
        assert_eq!(learned(usual.into_iter().chain([1, 80_000, 80_000, 80_000])).expected_s, 600);
        assert_eq!(
            learned([1].into_iter().chain([600; 2])).expected_s,
            600,
            "a strange first run is outvoted"
        );
    }

    #[test]
    fn five_runs_make_it_believe_that_the_work_has_changed() {
        assert_eq!(learned([600; 20].into_iter().chain([60; 5])).expected_s, 60);
    }

    #[test]
    fn nothing_is_never_learned_from_something() {
        assert_eq!((seconds_of(0), seconds_of(499), seconds_of(1_500)), (1, 1, 2));
        assert_eq!(seconds_of(u64::MAX), u32::MAX);
        let mut entry = DurationEntry { expected_s: 7, ..DurationEntry::default() };
        entry.learn(&Runs::default());
        assert_eq!(entry.expected_s, 7);
    }

    #[test]
    fn a_name_that_is_used_daily_outlives_one_of_this_minute_that_was_used_once() {
        let at =
            |tick, runs| DurationEntry { tick: Tick(tick), runs, ..DurationEntry::default() }.kept_until();
        let (day, hour) = (86_400 / TICK_S, 3600 / TICK_S);
        assert!(at(0, 30) > at(day - 2 * hour, 1));
        assert!(at(0, 1_000_000) < at(day + hour, 1));
        assert!(at(5, 2) > at(4, 2));
    }
}
