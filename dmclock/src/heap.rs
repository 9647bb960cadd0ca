//! A d-ary min-heap of clients that knows where each stands, so that a key can be changed or a client removed in logarithmic time.
//!
//! Keys lie in the heap itself, not behind the client: a sift reads one or two cache lines a level and no client. Where each client stands is kept in a
//! dense array beside it.

use std::mem;

/// Where a client stands that is in no place of this heap.
const ABSENT: u32 = u32::MAX;

/// `ARITY` children a node. Slots are small numbers that the caller gives to clients.
#[derive(Clone, Debug)]
pub(crate) struct Heap<K, const ARITY: usize> {
    entries: Vec<(K, u32)>,
    positions: Vec<u32>,
}

impl<K: Copy + Ord, const ARITY: usize> Heap<K, ARITY> {
    pub(crate) const fn new() -> Self {
        Heap { entries: Vec::new(), positions: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The lowest key and whose it is.
    #[inline]
    pub(crate) fn top(&self) -> Option<(K, u32)> {
        self.entries.first().copied()
    }

    #[inline]
    pub(crate) fn key(&self, slot: u32) -> Option<K> {
        self.position(slot).map(|at| self.entries[at].0)
    }

    /// Gives the client this key, whether it was in or not.
    pub(crate) fn set(&mut self, slot: u32, key: K) {
        match self.position(slot) {
            Some(at) if key < self.entries[at].0 => self.sift_up(at, (key, slot)),
            Some(at) => self.sift_down(at, (key, slot)),
            None => {
                let at = self.entries.len();
                self.entries.push((key, slot));
                self.know(slot);
                self.sift_up(at, (key, slot));
            }
        }
    }

    /// Gives the client this key if it is lower than the one it has, or if it is not in. A key that is too low is found when it comes to the top.
    #[inline]
    pub(crate) fn lower(&mut self, slot: u32, key: K) {
        match self.position(slot) {
            Some(at) if key >= self.entries[at].0 => {}
            _ => self.set(slot, key),
        }
    }

    /// Gives the client at the top a key that is not lower.
    #[inline]
    pub(crate) fn raise_top(&mut self, key: K) {
        if let Some((_, slot)) = self.top() {
            self.sift_down(0, (key, slot));
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
        let Some(last) = self.entries.pop() else { return false };
        if at < self.entries.len() {
            // What comes into the gap may belong above it as well as below: it came from another branch.
            if last.0 < self.entries[at].0 {
                self.sift_up(at, last);
            } else {
                self.sift_down(at, last);
            }
        }
        true
    }

    /// The client `from` is called `to` from now on; nobody may be called that.
    pub(crate) fn rename(&mut self, from: u32, to: u32) {
        if let Some(at) = self.position(from) {
            self.entries[at].1 = to;
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
    fn place(&mut self, at: usize, entry: (K, u32)) {
        self.entries[at] = entry;
        self.positions[entry.1 as usize] = at as u32;
    }

    fn sift_up(&mut self, mut hole: usize, entry: (K, u32)) {
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            if entry.0 >= self.entries[parent].0 {
                break;
            }
            self.place(hole, self.entries[parent]);
            hole = parent;
        }
        self.place(hole, entry);
    }

    /// Lets the entry sink from a hole. Mostly it sinks far: it was just served, and there are many more leaves than there are other places.
    fn sift_down(&mut self, mut hole: usize, entry: (K, u32)) {
        loop {
            let first = hole * ARITY + 1;
            let Some(below) = self.entries.get(first..) else { break };
            // All children but those of one node are complete, and their number known: no bounds to check, no branch to predict.
            let (n, least) = match below.first_chunk::<ARITY>() {
                Some(children) => least(children),
                None if below.is_empty() => break,
                None => least(below),
            };
            if entry.0 <= least.0 {
                break;
            }
            self.place(mem::replace(&mut hole, first + n), least);
        }
        self.place(hole, entry);
    }
}

/// The first of those with the lowest key.
#[inline]
fn least<K: Copy + Ord>(children: &[(K, u32)]) -> (usize, (K, u32)) {
    let mut least = (0, children[0]);
    for (n, child) in children.iter().enumerate().skip(1) {
        let is_less = child.0 < least.1.0;
        least = if is_less { (n, *child) } else { least };
    }
    least
}

#[cfg(test)]
mod tests;
