//! Which pending moves go into the next transaction. While a batch is in flight, moves gather; when it returns, or when they fill a batch of
//! their own, what has gathered leaves together. So batches grow by themselves exactly when the store is the bound, and a move
//! that comes alone leaves at once.
//!
//! Invariants: two moves of one task are never in flight at once (their compares would race each other); a batch stays below the
//! store's limits.

use crate::id::TaskId;
use std::collections::{BTreeSet, VecDeque};

/// Moves in one transaction: well below etcd's 128 operations, where the batch's own count and that of a move's nested operations add up.
pub const MOVES_MAX: usize = 40;
/// Bytes of records in one transaction; etcd refuses requests of more than 1.5 MiB.
pub const BYTES_MAX: usize = 512 << 10;
/// Batches in flight, all but one of them full when they left: a transaction costs the store as much as some ten moves (docs/benchmarks.md), and
/// latency does not idle a store that has more than one full batch to do.
pub const IN_FLIGHT_MAX: usize = 3;
/// No move waits longer than this for the batches before it, unless [`IN_FLIGHT_MAX`] of them hang: then who drives this asks for
/// [`Batcher::next_batch_now`]. Several times what a transaction takes, so that only a store in trouble makes small batches.
pub const GATHER_MS: u64 = 50;

/// Gathers moves of type `T`.
#[derive(Debug)]
pub struct Batcher<T> {
    pending: VecDeque<(TaskId, usize, T)>,
    busy: BTreeSet<TaskId>,
    in_flight: usize,
}

impl<T> Default for Batcher<T> {
    fn default() -> Self {
        Batcher { pending: VecDeque::new(), busy: BTreeSet::new(), in_flight: 0 }
    }
}

impl<T> Batcher<T> {
    /// Adds a move of about `bytes` bytes.
    pub fn push(&mut self, task: TaskId, bytes: usize, item: T) {
        self.pending.push_back((task, bytes, item));
    }

    /// The next batch, oldest moves first; `None` while nothing may leave.
    pub fn next_batch(&mut self) -> Option<Vec<(TaskId, T)>> {
        let alone = self.in_flight == 0;
        if alone || self.pending.len() >= MOVES_MAX { self.next_batch_now() } else { None }
    }

    /// The same, though it be small and others be in flight: what it holds has waited long enough.
    pub fn next_batch_now(&mut self) -> Option<Vec<(TaskId, T)>> {
        if self.in_flight >= IN_FLIGHT_MAX {
            return None;
        }
        let (mut batch, mut bytes, mut kept) = (Vec::new(), 0, VecDeque::new());
        while let Some((task, size, item)) = self.pending.pop_front() {
            let full = batch.len() == MOVES_MAX || (!batch.is_empty() && bytes + size > BYTES_MAX);
            if full || self.busy.contains(&task) {
                kept.push_back((task, size, item));
                if full {
                    break;
                }
                continue;
            }
            self.busy.insert(task);
            bytes += size;
            batch.push((task, item));
        }
        kept.append(&mut self.pending);
        self.pending = kept;
        if batch.is_empty() {
            return None;
        }
        self.in_flight += 1;
        Some(batch)
    }

    /// A batch has returned; its tasks may move again.
    pub fn returned(&mut self, tasks: impl IntoIterator<Item = TaskId>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        for task in tasks {
            self.busy.remove(&task);
        }
    }

    /// Whether [`Batcher::next_batch_now`] may find something.
    pub fn can_hurry(&self) -> bool {
        self.in_flight < IN_FLIGHT_MAX && !self.pending.is_empty()
    }

    /// Moves that wait.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn task(n: u128) -> TaskId {
        TaskId(Uuid::from_u128(n))
    }

    #[test]
    fn batches_fill_up_while_others_are_in_flight() {
        let mut b = Batcher::default();
        b.push(task(0), 1, ());
        assert_eq!(b.next_batch().unwrap().len(), 1, "alone it leaves at once");
        let full = MOVES_MAX as u128;
        for n in 1..full {
            b.push(task(n), 1, ());
        }
        assert!(b.next_batch().is_none(), "not full, and one is in flight");
        for n in full..200 {
            b.push(task(n), 1, ());
        }
        for _ in 1..IN_FLIGHT_MAX {
            assert_eq!(b.next_batch().unwrap().len(), MOVES_MAX);
        }
        assert!(b.next_batch().is_none());
        b.returned([task(0)]);
        assert_eq!(b.next_batch().unwrap().len(), MOVES_MAX);
    }

    #[test]
    fn what_has_gathered_leaves_when_the_last_batch_returns_or_when_it_has_waited() {
        let mut b = Batcher::default();
        for n in 0..3 {
            b.push(task(n), 1, ());
            assert_eq!(b.next_batch().is_some(), n == 0);
        }
        assert_eq!(b.next_batch_now().unwrap().len(), 2);
        b.push(task(3), 1, ());
        b.returned([task(0)]);
        assert!(b.next_batch().is_none());
        b.returned([task(1), task(2)]);
        assert_eq!(b.next_batch().unwrap().len(), 1);
    }

    #[test]
    fn one_task_is_never_in_flight_twice_and_keeps_its_order() {
        let mut b = Batcher::default();
        b.push(task(1), 1, "first");
        b.push(task(1), 1, "second");
        b.push(task(2), 1, "other");
        let batch = b.next_batch().unwrap();
        assert_eq!(batch, [(task(1), "first"), (task(2), "other")]);
        assert!(b.next_batch().is_none());
        b.returned([task(1), task(2)]);
        assert_eq!(b.next_batch().unwrap(), [(task(1), "second")]);
    }

    #[test]
    fn a_large_move_leaves_alone() {
        let mut b = Batcher::default();
        b.push(task(1), BYTES_MAX + 1, ());
        b.push(task(2), 10, ());
        assert_eq!(b.next_batch().unwrap().len(), 1);
        assert_eq!(b.next_batch_now().unwrap().len(), 1);
    }
}
