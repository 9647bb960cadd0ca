//! The waiting jobs, in order, and the first of them that fits a room: what backfill asks, without looking at the whole queue.
//!
//! Jobs lie in shelves by width and by size of limit (four sizes an octave). The answer is the first of a few shelves' heads; only the
//! one shelf whose sizes straddle the window is searched. Under load few nodes are free, so few widths are looked at.
//! Invariant: each job lies on exactly one shelf, and in `order`.

use crate::job::{Job, JobId};
use std::collections::BTreeMap;

/// A job's place: the lowest is first. Static while the job waits, so that no clock is needed to sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// What comes first of all.
    pub band: u8,
    /// Inside of a band: a virtual time, or a priority with its sign turned.
    pub value: i64,
    /// Ties: the order of submission.
    pub id: JobId,
}

/// A waiting job, as planning sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The job.
    pub id: JobId,
    /// What it needs.
    pub nodes: u32,
    /// How long it may hold them at most.
    pub limit_ms: u64,
}

impl Waiting {
    /// What planning may see of a job.
    pub fn of(job: &Job) -> Waiting {
        Waiting { id: job.id, nodes: job.nodes, limit_ms: job.limit_ms }
    }
}

type Shelf = BTreeMap<Rank, u64>;

/// The queue.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    order: BTreeMap<Rank, Waiting>,
    shelves: BTreeMap<u32, BTreeMap<u32, Shelf>>,
}

/// Number of the shelf: two bits behind the leading one, so that no limit on a shelf is 1.25 times another.
fn size(limit_ms: u64) -> u32 {
    let long = limit_ms.max(4);
    let octave = long.ilog2();
    octave * 4 + ((long >> (octave - 2)) & 3) as u32
}

impl Queue {
    /// Puts a job in its place.
    pub fn insert(&mut self, rank: Rank, job: Waiting) {
        self.order.insert(rank, job);
        let shelf = self.shelves.entry(job.nodes).or_default().entry(size(job.limit_ms)).or_default();
        shelf.insert(rank, job.limit_ms);
    }

    /// Takes a job out, if it is there.
    pub fn remove(&mut self, rank: Rank) -> Option<Waiting> {
        let job = self.order.remove(&rank)?;
        let shelves = self.shelves.get_mut(&job.nodes)?;
        let shelf = shelves.get_mut(&size(job.limit_ms))?;
        shelf.remove(&rank);
        if shelf.is_empty() {
            shelves.remove(&size(job.limit_ms));
        }
        if shelves.is_empty() {
            self.shelves.remove(&job.nodes);
        }
        Some(job)
    }

    /// The first job.
    pub fn first(&self) -> Option<(Rank, Waiting)> {
        self.order.first_key_value().map(|(rank, job)| (*rank, *job))
    }

    /// All jobs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Rank, Waiting)> + '_ {
        self.order.iter().map(|(rank, job)| (*rank, *job))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The first job behind `after` that needs at most `free` nodes and no longer than `window_ms(its nodes)`.
    /// `window_ms` must not grow with the number of nodes.
    pub fn first_fitting(
        &self,
        after: Option<Rank>,
        free: u32,
        window_ms: impl Fn(u32) -> u64,
    ) -> Option<(Rank, Waiting)> {
        let mut best: Option<Rank> = None;
        for (nodes, shelves) in self.shelves.range(..=free) {
            let window_ms = window_ms(*nodes);
            if window_ms == 0 {
                break;
            }
            for (number, shelf) in shelves.range(..=size(window_ms)) {
                let whole = *number < size(window_ms) || window_ms == u64::MAX;
                let found = first_on_shelf(shelf, after, best, if whole { u64::MAX } else { window_ms });
                best = found.or(best);
            }
        }
        best.and_then(|rank| self.order.get(&rank).map(|job| (rank, *job)))
    }
}

/// The first on the shelf that is behind `after`, before `best` and not longer than `window_ms`.
fn first_on_shelf(shelf: &Shelf, after: Option<Rank>, best: Option<Rank>, window_ms: u64) -> Option<Rank> {
    use std::ops::Bound::{Excluded, Unbounded};
    let low = after.map_or(Unbounded, Excluded);
    if let (Some(after), Some(best)) = (after, best)
        && after >= best
    {
        return None;
    }
    let high = best.map_or(Unbounded, Excluded);
    shelf.range((low, high)).find(|(_, limit)| **limit <= window_ms).map(|(rank, _)| *rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_grow_with_estimates_and_no_shelf_is_wider_than_a_quarter() {
        let mut previous = 0;
        for estimate in 4..100_000_u64 {
            assert!(size(estimate) == previous || size(estimate) > previous);
            assert!(size(estimate) < size(estimate + estimate / 4 + 2));
            previous = size(estimate);
        }
        assert!(size(u64::MAX) > size(u64::MAX / 2));
    }

    proptest! {
        #[test]
        fn the_first_fitting_is_what_a_search_of_the_whole_queue_finds(
            jobs in prop::collection::vec((0_i64..50, 1_u32..12, 1_u64..5000), 0..60),
            removed in prop::collection::vec(0_usize..60, 0..20),
            free in 0_u32..14, wide in 0_u32..14, window in 0_u64..6000, after in prop::option::of(0_i64..50),
        ) {
            let mut queue = Queue::default();
            let rank = |id: usize, value| Rank { band: 0, value, id: id as u32 };
            for (id, (value, nodes, limit_ms)) in jobs.iter().copied().enumerate() {
                queue.insert(rank(id, value), Waiting { id: id as u32, nodes, limit_ms });
            }
            for id in removed {
                if let Some(job) = jobs.get(id) {
                    queue.remove(rank(id, job.0));
                }
            }
            let after = after.map(|value| rank(7, value));
            let window_ms = |nodes: u32| if nodes <= wide { u64::MAX } else { window };
            let plain = queue.iter().find(|(rank, job)| {
                after.is_none_or(|after| *rank > after) && job.nodes <= free && job.limit_ms <= window_ms(job.nodes)
            });
            prop_assert_eq!(queue.first_fitting(after, free, window_ms), plain);
        }
    }
}
