//! A d-ary min-heap of clients that knows where each stands, so that a key can be changed or a client removed in logarithmic time.
//!
//! Keys lie in the heap itself, not behind the client, and apart from the slots: a sift reads one cache line a level and no client. Where each client stands is
//! kept in a dense array beside them.

use std::mem;

/// Where a client stands that is in no place of this heap.
const ABSENT: u32 = u32::MAX;

/// `ARITY` children a node. Slots are small numbers that the caller gives to clients.
#[derive(Clone, Debug)]
pub(crate) struct Heap<K, const ARITY: usize> {
    keys: Vec<K>,
    /// Whose the keys are, one for one.
    slots: Vec<u32>,
    positions: Vec<u32>,
}

impl<K: Copy + Ord, const ARITY: usize> Heap<K, ARITY> {
    pub(crate) const fn new() -> Self {
        Heap { keys: Vec::new(), slots: Vec::new(), positions: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The lowest key and whose it is.
    #[inline]
    pub(crate) fn top(&self) -> Option<(K, u32)> {
        Some((*self.keys.first()?, *self.slots.first()?))
    }

    #[inline]
    pub(crate) fn key(&self, slot: u32) -> Option<K> {
        self.position(slot).map(|at| self.keys[at])
    }

    /// Gives the client this key, whether it was in or not.
    pub(crate) fn set(&mut self, slot: u32, key: K) {
        match self.position(slot) {
            Some(at) if key < self.keys[at] => self.sift_up(at, key, slot),
            Some(at) => self.sift_down(at, key, slot),
            None => {
                let at = self.keys.len();
                self.keys.push(key);
                self.slots.push(slot);
                self.know(slot);
                self.sift_up(at, key, slot);
            }
        }
    }

    /// Gives the client this key if it is lower than the one it has, or if it is not in. A key that is too low is found when it comes to the top.
    #[inline]
    pub(crate) fn lower(&mut self, slot: u32, key: K) {
        match self.position(slot) {
            Some(at) if key >= self.keys[at] => {}
            _ => self.set(slot, key),
        }
    }

    /// Gives the client at the top a key that is not lower.
    #[inline]
    pub(crate) fn raise_top(&mut self, key: K) {
        if let Some(slot) = self.slots.first() {
            self.sift_down(0, key, *slot);
        }
    }

    pub(crate) fn pop(&mut self) {
        if let Some((_, slot)) = self.top() {
            self.remove(slot);
        }
    }

    /// Whether it was in.
    pub(crate) fn remove(&mut self, slot: u32) -> bool {
        let Some(at) = self.position(slot) else { return false };
        self.positions[slot as usize] = ABSENT;
        let (Some(key), Some(last)) = (self.keys.pop(), self.slots.pop()) else { return false };
        if at < self.keys.len() {
            // What comes into the gap may belong above it as well as below: it came from another branch.
            if key < self.keys[at] {
                self.sift_up(at, key, last);
            } else {
                self.sift_down(at, key, last);
            }
        }
        true
    }

    /// The client `from` is called `to` from now on; nobody may be called that.
    pub(crate) fn rename(&mut self, from: u32, to: u32) {
        if let Some(at) = self.position(from) {
            self.slots[at] = to;
            self.positions[from as usize] = ABSENT;
            self.know(to);
            self.positions[to as usize] = at as u32;
        }
    }

    fn know(&mut self, slot: u32) {
        if self.positions.len() <= slot as usize {
            self.positions.resize(slot as usize + 1, ABSENT);
        }
    }

    #[inline]
    fn position(&self, slot: u32) -> Option<usize> {
        let at = *self.positions.get(slot as usize)?;
        (at != ABSENT).then_some(at as usize)
    }

    #[inline]
    fn place(&mut self, at: usize, key: K, slot: u32) {
        self.keys[at] = key;
        self.slots[at] = slot;
        self.positions[slot as usize] = at as u32;
    }

    fn sift_up(&mut self, mut hole: usize, key: K, slot: u32) {
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            if key >= self.keys[parent] {
                break;
            }
            self.place(hole, self.keys[parent], self.slots[parent]);
            hole = parent;
        }
        self.place(hole, key, slot);
    }

    /// Lets a key sink from a hole. Mostly it sinks far: it was just served, and there are many more leaves than there are other places.
    fn sift_down(&mut self, mut hole: usize, key: K, slot: u32) {
        loop {
            let first = hole * ARITY + 1;
            let Some(below) = self.keys.get(first..) else { break };
            // All children but those of one node are complete, and their number known: no bounds to check, no branch to predict.
            let (n, child) = match below.first_chunk::<ARITY>() {
                Some(children) => least(children),
                None if below.is_empty() => break,
                None => least(below),
            };
            if key <= child {
                break;
            }
            let from = first + n;
            self.place(mem::replace(&mut hole, from), child, self.slots[from]);
        }
        self.place(hole, key, slot);
    }
}

/// The lowest key, and which it is.
#[inline]
fn least<K: Copy + Ord>(keys: &[K]) -> (usize, K) {
    let mut least = (0, keys[0]);
    for (n, key) in keys.iter().enumerate().skip(1) {
        least = if *key < least.1 { (n, *key) } else { least };
    }
    least
}

#[cfg(test)]
mod tests;
