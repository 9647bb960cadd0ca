//! How many nodes are free from now on, as far as one can know: what reservations are made in.
//!
//! A step function of time that only changes where something ends or a reservation begins or ends. Behind its last step the pool is as
//! empty as it ever gets.

/// The free nodes over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// From when, how many are free; the first step is now, times rise strictly.
    steps: Vec<(u64, u32)>,
}

impl Profile {
    /// From what is free now and what ends when (`ends` in order of time, with the nodes each frees). What should have ended by now and
    /// has not is taken to end next.
    pub fn new(now_ms: u64, free: u32, ends: impl Iterator<Item = (u64, u32)>) -> Profile {
        let mut steps = vec![(now_ms, free)];
        for (end_ms, nodes) in ends {
            let at = end_ms.max(now_ms + 1);
            let (last_at, last_free) = steps[steps.len() - 1];
            match last_at == at {
                true => steps.pop(),
                false => None,
            };
            steps.push((at, last_free + nodes));
        }
        Profile { steps }
    }

    /// The soonest time from which `nodes` are free for `long_ms`; `None` when there never are so many.
    pub fn soonest(&self, nodes: u32, long_ms: u64) -> Option<u64> {
        let mut since: Option<u64> = None;
        for (at, free) in &self.steps {
            match since {
                Some(start) if *at - start >= long_ms => return since,
                _ => since = if *free >= nodes { since.or(Some(*at)) } else { None },
            }
        }
        since
    }

    /// How long `nodes` stay free from now on; `u64::MAX` when for ever.
    pub fn window_ms(&self, nodes: u32) -> u64 {
        let now_ms = self.steps[0].0;
        let short = self.steps.iter().find(|(_, free)| *free < nodes);
        short.map_or(u64::MAX, |(at, _)| at - now_ms)
    }

    /// Takes `nodes` from `start_ms` for `long_ms`. What is not there is not taken: a step never falls below 0.
    pub fn take(&mut self, start_ms: u64, long_ms: u64, nodes: u32) {
        let end_ms = start_ms.saturating_add(long_ms);
        self.split(start_ms);
        self.split(end_ms);
        for (at, free) in &mut self.steps {
            if (start_ms..end_ms).contains(at) {
                *free = free.saturating_sub(nodes);
            }
        }
    }

    /// Makes a step begin at `at`.
    fn split(&mut self, at: u64) {
        let place = self.steps.partition_point(|(step, _)| *step < at);
        let there = self.steps.get(place).is_some_and(|(step, _)| *step == at);
        if place > 0 && !there {
            self.steps.insert(place, (at, self.steps[place - 1].1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile::new(10, 2, [(5, 1), (20, 3), (20, 1), (30, 4)].into_iter())
    }

    #[test]
    fn steps_follow_the_ends_and_what_is_late_ends_next() {
        assert_eq!(profile().steps, [(10, 2), (11, 3), (20, 7), (30, 11)]);
    }

    #[test]
    fn the_soonest_start_is_found_or_denied() {
        assert_eq!(profile().soonest(2, 100), Some(10));
        assert_eq!(profile().soonest(5, 1), Some(20));
        assert_eq!(profile().soonest(12, 1), None);
    }

    #[test]
    fn a_reservation_bounds_the_window_of_what_would_cross_it() {
        let mut profile = profile();
        profile.take(20, 50, 6);
        assert_eq!(profile.window_ms(1), u64::MAX);
        assert_eq!(profile.window_ms(2), 10);
        assert_eq!(profile.soonest(7, 5), Some(70));
        assert_eq!(profile.soonest(3, 10), Some(30));
    }

    #[test]
    fn a_hole_too_short_is_passed_over() {
        let mut profile = Profile::new(0, 4, std::iter::empty());
        profile.take(10, 10, 4);
        assert_eq!((profile.soonest(1, 10), profile.soonest(1, 11)), (Some(0), Some(20)));
    }
}
