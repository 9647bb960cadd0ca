//! Whose turn it is.

use super::{Head, Scheduler};
use crate::request::Phase;
use crate::time::Time;

/// Who is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Serve {
        slot: u32,
        phase: Phase,
    },
    /// Nobody before then.
    Future(Time),
    /// Nobody at all.
    None,
}

impl<R> Scheduler<R> {
    /// First whose reservation is due, the most overdue first, whatever its limit. Then by weight among those within their limits. Then, if limits may be
    /// broken, by weight among the others.
    pub(crate) fn choose(&mut self, now_ns: i64) -> Choice {
        self.pulled_ns = now_ns;
        if let Some(slot) = self.due_reservation(now_ns.saturating_sub(self.lag_ns)) {
            self.hold_reservation_clock(slot, now_ns);
            return Choice::Serve { slot, phase: Phase::Reservation };
        }
        self.release(now_ns);
        if let Some(slot) = self.first_ready(now_ns) {
            let proportion = self.heads[slot as usize].proportion;
            self.virtual_now = self.virtual_now.max(proportion);
            return Choice::Serve { slot, phase: Phase::Priority };
        }
        if self.rules.allow
            && let Some((slot, phase)) = self.beyond_limits()
        {
            self.counts.limit_break += 1;
            return Choice::Serve { slot, phase };
        }
        self.next_event()
    }

    /// Nobody is within its limits: those beyond them compete, or else those that have reservations alone.
    fn beyond_limits(&mut self) -> Option<(u32, Phase)> {
        if let Some(slot) = self.first_over() {
            self.virtual_now = self.virtual_now.max(self.heads[slot as usize].proportion);
            return Some((slot, Phase::Priority));
        }
        self.first_reservation().map(|slot| (slot, Phase::Reservation))
    }

    #[inline]
    fn hold_reservation_clock(&mut self, most_overdue: u32, now_ns: i64) {
        if let Some(credit_ns) = self.rules.credit_ns {
            let oldest_ns = now_ns.saturating_sub(self.lag_ns).saturating_sub(credit_ns);
            let late_ns = oldest_ns.saturating_sub(self.heads[most_overdue as usize].reservation);
            self.lag_ns = self.lag_ns.saturating_add(late_ns.max(0));
        }
    }

    /// The client whose reservation is the most overdue, by the reservation clock.
    #[inline]
    pub(super) fn due_reservation(&mut self, clock_ns: i64) -> Option<u32> {
        loop {
            // No key is above its tag: if the lowest key is not due, no tag is.
            let (key, slot) = self.reservation.top().filter(|(key, _)| *key <= clock_ns)?;
            match self.heads[slot as usize].reservation {
                Head::NONE => self.reservation.pop(),
                tag if tag > key => self.reservation.raise_top(tag),
                _ => return Some(slot),
            }
        }
    }

    fn first_reservation(&mut self) -> Option<u32> {
        self.due_reservation(i64::MAX)
    }

    fn first_over(&mut self) -> Option<u32> {
        loop {
            let (key, slot) = self.over.top()?;
            let head = self.heads[slot as usize];
            if head.proportion == crate::tag::NEVER {
                self.over.pop();
                self.limit.remove(slot);
            } else if head.proportion > key {
                self.over.raise_top(head.proportion);
            } else {
                return Some(slot);
            }
        }
    }

    /// When a reservation comes due or a limit ends. Whoever has neither waits for no time.
    fn next_event(&mut self) -> Choice {
        let first = self.first_reservation();
        let due_ns = |slot: u32| self.heads[slot as usize].reservation.saturating_add(self.lag_ns);
        let reservation = first.map(due_ns);
        let limit = self.first_limit().map(|slot| self.heads[slot as usize].limit);
        let next = reservation.into_iter().chain(limit).min();
        next.map_or(Choice::None, |at| Choice::Future(crate::tag::time(at)))
    }

    fn first_limit(&mut self) -> Option<u32> {
        loop {
            let (key, slot) = self.limit.top()?;
            let head = self.heads[slot as usize];
            if head.proportion == crate::tag::NEVER {
                self.limit.pop();
                self.over.remove(slot);
            } else if head.limit > key {
                self.limit.raise_top(head.limit);
            } else {
                return Some(slot);
            }
        }
    }
}
