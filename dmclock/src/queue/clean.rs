//! Clients that have been without requests for long are idle, and then forgotten.

use super::Queue;
use crate::params::ParamsSource;
use crate::time::Time;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// Clients that one pass forgets at most, so that no call takes long.
const ERASE_MAX: usize = 2_000;
/// When the next pass comes where that was not enough.
const ERASE_AGAIN: Duration = Duration::from_secs(5);

/// Which request was the last one at each of the looks so far: a client whose last request is not younger than that one was already silent then. So
/// requests need no time of their own.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    marks: VecDeque<(Time, u64)>,
    /// `Time::ZERO` before the first look.
    next: Time,
    /// Whose last request is not younger is to be forgotten.
    erase_tick: u64,
}

impl<C: Clone + Eq + Hash, R, P: ParamsSource<C>, S: BuildHasher> Queue<C, R, P, S> {
    /// Looks at the ages of the clients, if it is time: see [`crate::Config::check_every`]. Adding and pulling do so by themselves; call it where a queue may be left
    /// alone for long, and memory matters.
    #[inline]
    pub fn clean_if_due(&mut self, now: Time) {
        if now < self.cleaner.next {
            return;
        }
        self.first_or_clean(now);
    }

    #[cold]
    fn first_or_clean(&mut self, now: Time) {
        if self.cleaner.next == Time::ZERO {
            self.cleaner.next = now + self.config.check_every;
        } else {
            self.clean(now);
        }
    }

    /// Looks at the ages of the clients. Nobody who has requests is idle, or forgotten.
    pub fn clean(&mut self, now: Time) {
        let cleaner = &mut self.cleaner;
        cleaner.marks.push_back((now, self.sched.tick()));
        let (erase_before, idle_before) = (self.config.erase_age, self.config.idle_age);
        while let Some((_, tick)) =
            cleaner.marks.front().copied().filter(|(at, _)| now.since(*at) >= erase_before)
        {
            cleaner.erase_tick = tick;
            cleaner.marks.pop_front();
        }
        let old = cleaner.marks.iter().take_while(|(at, _)| now.since(*at) >= idle_before);
        let idle_tick = old.last().map_or(0, |(_, tick)| *tick).max(cleaner.erase_tick);
        let is_done = self.sweep(idle_tick);
        self.cleaner.next = now + if is_done { self.config.check_every } else { ERASE_AGAIN };
    }

    /// Whether nobody is left to forget.
    fn sweep(&mut self, idle_tick: u64) -> bool {
        let (mut slot, mut erased) = (0, 0);
        while (slot as usize) < self.ids.len() {
            let client = self.sched.client(slot);
            let (is_silent, last_tick) = (client.waiting() == 0, client.last_tick);
            if is_silent && last_tick <= self.cleaner.erase_tick && self.cleaner.erase_tick > 0 {
                if erased == ERASE_MAX {
                    return false;
                }
                erased += 1;
                self.forget(slot);
                continue;
            }
            if is_silent && last_tick <= idle_tick && idle_tick > 0 {
                self.sched.client_mut(slot).idle = true;
            }
            slot += 1;
        }
        true
    }

    /// The last client takes over the slot.
    fn forget(&mut self, slot: u32) {
        self.sched.forget(slot);
        let id = self.ids.swap_remove(slot as usize);
        self.index.remove(&id);
        if let Some(moved) = self.ids.get(slot as usize) {
            self.index.insert(moved.clone(), slot);
        }
    }
}
