//! How long a task may hold its node, as far as planning looks: in classes, so that tasks of slightly different limits are alike to it.
//!
//! A class is a quarter of an octave: its upper end is at most 1.25 times of any limit in it (and a tick of the clock). Backfill reckons with the upper end, so
//! it is careful, never wrong.

use crate::clock::{TICK_S, Tick};

/// A class of time limits; longer ones are greater, no limit is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitClass(u8);

impl LimitClass {
    /// What runs as long as it likes.
    pub const NONE: LimitClass = LimitClass(u8::MAX);

    /// Of a task that is dead at the latest so many seconds after its start; 0 is no limit.
    pub fn of_seconds(limit_s: u32) -> LimitClass {
        match limit_s {
            0 => LimitClass::NONE,
            short @ 1..4 => LimitClass(short as u8),
            long => {
                let octave = long.ilog2();
                LimitClass((octave * 4 + ((long >> (octave - 2)) & 3)) as u8)
            }
        }
    }

    /// Seconds that no limit of the class exceeds; `None` without a limit.
    pub fn upper_s(self) -> Option<u64> {
        match self.0 {
            u8::MAX => None,
            short @ 0..8 => Some(u64::from(short.min(4))),
            class => {
                let (octave, quarter) = (u64::from(class / 4), u64::from(class % 4));
                Some(((4 + quarter + 1) << (octave - 2)) - 1)
            }
        }
    }

    /// When what starts at `now` has surely ended.
    pub fn end_from(self, now: Tick) -> Option<Tick> {
        self.upper_s().map(|seconds| end(now, seconds))
    }
}

/// The time of the cluster by which what starts at `start` and takes at most so many seconds has surely ended.
pub fn end(start: Tick, seconds: u64) -> Tick {
    // The step in which it starts may be nearly over, and its end is heard a little later.
    Tick(start.0.saturating_add(seconds.div_ceil(TICK_S)).saturating_add(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_exceeds_the_upper_end_of_its_class_and_none_is_much_shorter() {
        let classes: Vec<LimitClass> = (1..20_000).map(LimitClass::of_seconds).collect();
        assert!(classes.is_sorted());
        for seconds in (1..20_000).chain((1..32).map(|n| (1_u32 << n) - 1)).chain([u32::MAX]) {
            let class = LimitClass::of_seconds(seconds);
            let upper = class.upper_s().unwrap();
            assert!(upper >= u64::from(seconds), "{seconds} s is above {upper} s");
            assert!(upper * 4 <= u64::from(seconds) * 5 + 12, "{upper} s is far above {seconds} s");
        }
        assert!(LimitClass::of_seconds(u32::MAX) < LimitClass::NONE);
    }

    #[test]
    fn what_has_no_limit_has_no_end() {
        assert_eq!(LimitClass::of_seconds(0), LimitClass::NONE);
        assert_eq!(LimitClass::NONE.end_from(Tick(5)), None);
        assert_eq!(LimitClass::of_seconds(30).end_from(Tick(5)), Some(Tick(5 + 4 + 2)));
    }
}
