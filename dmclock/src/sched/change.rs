//! What changes tags without serving: new parameters, and costs that turn out to be others.

use super::Scheduler;
use crate::params::Spacings;
use crate::request::Phase;
use crate::tag::{self, Tag};

impl<R> Scheduler<R> {
    /// New parameters. Tags that were given out stay, as in the reference; with corrections the first request gets new ones, so that a change is felt at
    /// once and not after the next service, which the old parameters may have put far off.
    pub(crate) fn set_spacings(&mut self, slot: u32, spacings: Spacings) {
        let client = &mut self.clients[slot as usize];
        if client.spacings == spacings {
            return;
        }
        client.spacings = spacings;
        if self.rules.corrected
            && let Some(first) = client.queue.front()
        {
            let first_ns = first.arrival_ns;
            let (rules, clocks) = (self.rules, self.clocks_between_pulls(first_ns));
            self.clients[slot as usize].tag_head(&rules, clocks);
            self.publish(slot);
        }
    }

    /// A served request cost `actual` instead of `charged`: the tags of the client move by the difference.
    pub(crate) fn settle(&mut self, slot: u32, phase: Phase, charged: u32, actual: u32) {
        let clocks = self.clocks();
        let client = &mut self.clients[slot as usize];
        let units = Tag::from(actual) - Tag::from(charged);
        // What was served by weight never moved the reservation tags.
        let reservation = match phase {
            Phase::Reservation => client.spacings.reservation * units,
            Phase::Priority => 0,
        };
        let (limit, proportion) = (client.spacings.limit * units, client.spacings.weight * units);
        let kept = client.tagged.tags.iter_mut();
        for tags in kept.chain([&mut client.head, &mut client.base.tags, &mut client.tagged.last.tags]) {
            tags.reservation = tag::moved(tags.reservation, reservation);
            tags.limit = tag::moved(tags.limit, limit);
            tags.proportion = tag::moved(tags.proportion, proportion);
        }
        // No refund reaches further back than the credit, or the reservation clock would be held back for one client.
        if client.head.reservation != tag::NEVER {
            client.head.reservation = client.head.reservation.max(tag::of_nanos(clocks.oldest_ns));
        }
        self.publish(slot);
    }
}
