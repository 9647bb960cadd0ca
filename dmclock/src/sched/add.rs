//! A request comes.

use super::client::{Client, Entry};
use super::{Head, Scheduler};
use crate::params::Spacings;
use crate::request::{Reason, Refused};
use crate::tag::{self, Tags};

impl<R> Scheduler<R> {
    /// A client that was never seen, or forgotten. Its slot is the number of clients so far.
    pub(crate) fn join(&mut self, spacings: Spacings) {
        self.clients.push(Client::new(spacings, self.tick));
        self.heads.push(Head::EMPTY);
    }

    /// Adds behind the client's other requests.
    ///
    /// # Errors
    /// Only if limits reject.
    pub(crate) fn add(&mut self, slot: u32, entry: Entry<R>) -> Result<(), Refused<R>> {
        self.tick += 1;
        self.wake(slot, entry.arrival_ns);
        let added =
            if self.rules.at_head { self.add_untagged(slot, entry) } else { self.add_tagged(slot, entry) };
        if added.is_ok() {
            self.waiting += 1;
        }
        added
    }

    fn add_untagged(&mut self, slot: u32, entry: Entry<R>) -> Result<(), Refused<R>> {
        let is_first = self.clients[slot as usize].queue.is_empty();
        if is_first && self.rules.virtual_time {
            self.advance_virtual_time(entry.arrival_ns);
        }
        let clocks = if is_first { self.clocks_between_pulls(entry.arrival_ns) } else { self.clocks() };
        let (rules, tick) = (self.rules, self.tick);
        let client = &mut self.clients[slot as usize];
        if rules.reject_ns.is_some() {
            let before = if is_first { client.base } else { client.tagged.last };
            let tags = client.tags_after(before, entry.job(), &rules, clocks);
            let is_refused = self.is_beyond_limit(tags, entry.arrival_ns);
            let client = &mut self.clients[slot as usize];
            if !is_refused || !rules.refund {
                client.tagged.last = before.then(tags, entry.arrival_ns);
            }
            if is_refused {
                if is_first && !rules.refund {
                    client.base = client.tagged.last;
                }
                return Err(refused(entry, tags));
            }
        }
        let client = &mut self.clients[slot as usize];
        client.latest = entry.params;
        client.queue.push_back(entry);
        if is_first {
            client.last_tick = tick;
            client.tag_head(&rules, clocks);
            self.publish(slot);
        }
        Ok(())
    }

    fn add_tagged(&mut self, slot: u32, entry: Entry<R>) -> Result<(), Refused<R>> {
        let (rules, clocks) = (self.rules, self.clocks());
        let client = &mut self.clients[slot as usize];
        let tags = client.tags_after(client.tagged.last, entry.job(), &rules, clocks);
        // Also if it is refused then: this is what the reference does, and `refund` does not.
        client.tagged.last = client.tagged.last.then(tags, entry.arrival_ns);
        client.last_tick = self.tick;
        if self.is_beyond_limit(tags, entry.arrival_ns) {
            return Err(refused(entry, tags));
        }
        let client = &mut self.clients[slot as usize];
        client.latest = entry.params;
        let reservation = tag::moved(tags.reservation, client.tagged.reduced);
        client.tagged.tags.push_back(Tags { reservation, ..tags });
        client.queue.push_back(entry);
        if client.queue.len() == 1 {
            client.head = tags;
            self.publish(slot);
        }
        Ok(())
    }

    fn is_beyond_limit(&self, tags: Tags, arrival_ns: i64) -> bool {
        let until = |threshold| tag::of_nanos(arrival_ns) + tag::of_nanos(threshold);
        self.rules.reject_ns.is_some_and(|threshold| tags.limit > until(threshold))
    }
}

fn refused<R>(entry: Entry<R>, tags: Tags) -> Refused<R> {
    let at = tag::time(tag::nanos_up(tags.limit));
    Refused { request: entry.request, reason: Reason::AtLimit { at } }
}
