//! Requests that are taken back, and clients that are forgotten.

use super::client::{Client, Clocks, Entry};
use super::{Rules, Scheduler};
use crate::request::Visit;
use std::collections::VecDeque;
use std::mem;

impl<R> Scheduler<R> {
    /// Takes out the requests of a client that `wanted` names, and hands them to `removed`, both in the order of `visit`.
    pub(crate) fn remove(
        &mut self,
        slot: u32,
        visit: Visit,
        mut wanted: impl FnMut(&R) -> bool,
        removed: &mut Vec<R>,
    ) {
        let client = &mut self.clients[slot as usize];
        let mut goes: Vec<bool> = vec![false; client.queue.len()];
        let mut ask = |(goes, entry): (&mut bool, &Entry<R>)| *goes = wanted(&entry.request);
        match visit {
            Visit::Forwards => goes.iter_mut().zip(&client.queue).for_each(&mut ask),
            Visit::Backwards => goes.iter_mut().zip(&client.queue).rev().for_each(&mut ask),
        }
        if !goes.contains(&true) {
            return;
        }
        let mut gone = client.split(&goes);
        let first_gone_ns = gone.first().filter(|_| goes[0]).map(|entry| entry.arrival_ns);
        self.waiting -= gone.len();
        if visit == Visit::Backwards {
            gone.reverse();
        }
        removed.extend(gone.into_iter().map(|entry| entry.request));
        let first_ns = self.clients[slot as usize].queue.front().map_or(i64::MIN, |first| first.arrival_ns);
        let (rules, clocks) = (self.rules, self.clocks_between_pulls(first_ns));
        self.clients[slot as usize].retag(&rules, clocks, first_gone_ns);
        self.publish(slot);
    }

    /// Forgets a client that has no requests. The last client takes over its slot.
    pub(crate) fn forget(&mut self, slot: u32) {
        for_each_heap(self, |heap| heap.remove(slot), |heap| heap.remove(slot));
        let last = self.clients.len() as u32 - 1;
        self.clients.swap_remove(slot as usize);
        self.heads.swap_remove(slot as usize);
        if slot != last {
            for_each_heap(self, |heap| heap.rename(last, slot), |heap| heap.rename(last, slot));
        }
    }
}

/// The heaps have keys of two types.
fn for_each_heap<R, A, B>(
    of: &mut Scheduler<R>,
    mut narrow: impl FnMut(&mut crate::heap::Heap<i64, { super::ARITY }>) -> A,
    mut wide: impl FnMut(&mut crate::heap::Heap<crate::tag::Tag, { super::ARITY }>) -> B,
) {
    narrow(&mut of.reservation);
    narrow(&mut of.limit);
    wide(&mut of.ready);
    wide(&mut of.over);
}

impl<R> Client<R> {
    /// Parts the queue; what goes keeps its order.
    fn split(&mut self, goes: &[bool]) -> Vec<Entry<R>> {
        let (mut gone, mut kept) = (Vec::new(), VecDeque::new());
        for (entry, goes) in mem::take(&mut self.queue).into_iter().zip(goes) {
            if *goes { gone.push(entry) } else { kept.push_back(entry) }
        }
        self.queue = kept;
        let mut at = goes.iter();
        self.tagged.tags.retain(|_| !at.next().copied().unwrap_or(false));
        gone
    }

    /// Tags of what is left; `first_gone_ns` is when the first request came, if that went. With a refund the tags are as if what went had never come; else
    /// who was the first has been paid for, and so have all that had tags.
    fn retag(&mut self, rules: &Rules, clocks: Clocks, first_gone_ns: Option<i64>) {
        if !rules.at_head {
            self.restore_head();
            return;
        }
        if let Some(arrival_ns) = first_gone_ns {
            if !rules.refund {
                self.base = self.base.then(self.head, arrival_ns);
            }
            self.tag_head(rules, clocks);
        }
        if rules.reject_ns.is_some() && rules.refund {
            self.tagged.last = self.chain(rules, clocks);
        }
    }

    /// What the tags of a request added now would follow.
    fn chain(&self, rules: &Rules, clocks: Clocks) -> super::client::Link {
        self.queue.iter().fold(self.base, |before, entry| {
            let tags = self.tags_after(before, entry.job(), rules, clocks);
            before.then(tags, entry.arrival_ns)
        })
    }
}
