//! A request goes.

use super::Scheduler;
use super::client::Entry;
use crate::request::Phase;
use crate::tag::{self, NEVER, Tag};

impl<R> Scheduler<R> {
    /// Takes the first request of a client that was chosen. `None` if it has none.
    pub(crate) fn serve(&mut self, slot: u32, phase: Phase, now_ns: i64) -> Option<Entry<R>> {
        let head = self.heads[slot as usize];
        let entry = self.clients[slot as usize].queue.pop_front()?;
        self.waiting -= 1;
        if self.rules.virtual_time && head.proportion != NEVER {
            self.served_max = self.served_max.max(head.proportion);
        }
        match phase {
            Phase::Reservation => self.counts.reservation += 1,
            Phase::Priority => self.counts.priority += 1,
        }
        // What is served by weight must not be counted against the reservation: its tags move back by what the request moved them.
        let back = match phase {
            Phase::Reservation => 0,
            Phase::Priority => {
                let client = &self.clients[slot as usize];
                let rho = if self.rules.at_head { client.head_rho } else { entry.params.rho };
                tag::span(client.spacings.reservation, rho, entry.cost)
            }
        };
        if self.rules.at_head {
            self.follow(slot, &entry, back, now_ns);
        } else {
            let client = &mut self.clients[slot as usize];
            client.tagged.tags.pop_front();
            client.tagged.reduced = tag::moved(client.tagged.reduced, back);
            client.tagged.last.tags.reservation = tag::moved(client.tagged.last.tags.reservation, -back);
            client.restore_head();
        }
        self.publish(slot);
        Some(entry)
    }

    /// The next request's tags follow those of the one that went.
    fn follow(&mut self, slot: u32, gone: &Entry<R>, back: Tag, now_ns: i64) {
        let (rules, clocks, tick) = (self.rules, self.clocks(), self.tick);
        let client = &mut self.clients[slot as usize];
        client.base = client.base.then(client.head, gone.arrival_ns);
        let base = &mut client.base.tags;
        if let Some(credit_ns) = rules.credit_ns {
            base.limit = base.limit.max(tag::of_nanos(now_ns.saturating_sub(credit_ns)));
            if back != 0 {
                base.reservation = tag::moved(base.reservation, -back);
            }
        }
        if !client.queue.is_empty() {
            client.last_tick = tick;
            client.tag_head(&rules, clocks);
        }
        if rules.credit_ns.is_none() && back != 0 {
            // The reference moves what was computed back, also behind the request's arrival.
            client.head.reservation = tag::moved(client.head.reservation, -back);
            client.base.tags.reservation = tag::moved(client.base.tags.reservation, -back);
        }
    }
}
