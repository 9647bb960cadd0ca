//! Who competes by weight now, and from where a client that joins them starts.

use super::{Head, Scheduler};
use crate::tag::{self, NEVER};

impl<R> Scheduler<R> {
    /// The client with the lowest proportion tag among those that have requests and are within their limits.
    #[inline]
    pub(super) fn first_ready(&mut self, now_ns: i64) -> Option<u32> {
        loop {
            let (key, slot) = self.ready.top()?;
            let head = self.heads[slot as usize];
            if head.proportion == NEVER {
                self.ready.pop();
                self.end_of_competition();
            } else if head.limit > now_ns {
                self.ready.pop();
                self.hold(slot, head);
                self.end_of_competition();
            } else if head.proportion > key {
                self.ready.raise_top(head.proportion);
            } else {
                return Some(slot);
            }
        }
    }

    fn hold(&mut self, slot: u32, head: Head) {
        self.limit.set(slot, head.limit);
        if self.rules.allow {
            self.over.set(slot, head.proportion);
        }
    }

    /// When nobody competes any more, nobody is owed anything: as in start-time fair queueing, virtual time then catches up with the one who is furthest
    /// (Goyal, Vin and Cheng, "Start-time fair queueing", 1996, rule 3). Otherwise who ran alone would have to wait for who comes next.
    fn end_of_competition(&mut self) {
        if self.ready.is_empty() {
            self.virtual_now = self.virtual_now.max(self.served_max);
        }
    }

    /// Brings virtual time up to the lowest proportion tag of those that compete.
    pub(super) fn advance_virtual_time(&mut self, now_ns: i64) {
        if let Some(slot) = self.first_ready(now_ns) {
            self.virtual_now = self.virtual_now.max(self.heads[slot as usize].proportion);
        }
    }

    /// Lets all compete again whose limits allow it.
    pub(super) fn release(&mut self, now_ns: i64) {
        let mut is_virtual_time_old = self.rules.virtual_time;
        while let Some((_, slot)) = self.limit.top().filter(|(key, _)| *key <= now_ns) {
            let head = self.heads[slot as usize];
            if head.proportion != NEVER && head.limit > now_ns {
                self.limit.raise_top(head.limit);
                continue;
            }
            self.limit.pop();
            self.over.remove(slot);
            if head.proportion == NEVER {
                continue;
            }
            if std::mem::take(&mut is_virtual_time_old) {
                self.advance_virtual_time(now_ns);
            }
            self.compete(slot, head);
        }
    }

    /// Its limit kept it from what its weight would have given it: that is gone, or it would take it from the others now.
    fn compete(&mut self, slot: u32, head: Head) {
        let mut proportion = head.proportion;
        if self.rules.virtual_time && proportion < self.virtual_now {
            proportion = self.virtual_now;
            self.clients[slot as usize].head.proportion = proportion;
            self.heads[slot as usize].proportion = proportion;
        }
        self.ready.set(slot, proportion);
    }

    /// The reference's way, of the paper: proportion tags run apart from the clock, so a client that was idle is moved to the lowest of those that are not.
    #[inline]
    pub(super) fn wake(&mut self, slot: u32, now_ns: i64) {
        if std::mem::replace(&mut self.clients[slot as usize].idle, false) && !self.rules.virtual_time {
            self.join_lowest(slot, now_ns);
        }
    }

    #[cold]
    fn join_lowest(&mut self, slot: u32, now_ns: i64) {
        let others =
            self.clients.iter().enumerate().filter(|(n, client)| *n != slot as usize && !client.idle);
        let lowest = others.filter_map(|(_, client)| client.proportion(&self.rules)).min();
        if let Some(lowest) = lowest {
            self.clients[slot as usize].ahead = tag::moved(lowest, -tag::of_nanos(now_ns));
        }
    }
}
