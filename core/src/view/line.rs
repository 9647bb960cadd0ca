//! The tasks of one shape, and the nodes that could hold them.

use super::{Order, Peer};
use crate::shape::{Part, Shape};
use std::collections::BTreeSet;

/// Which nodes could be a part of a task when they are empty: places in the view's list of nodes.
#[derive(Clone, Debug, Default)]
pub struct Able {
    /// In order.
    pub places: Vec<u32>,
    /// The same as bits.
    bits: Vec<u64>,
}

/// The tasks of one shape.
#[derive(Clone, Debug)]
pub struct Line {
    /// What they have in common.
    pub shape: Shape,
    /// Those that may be taken now, in queue order.
    pub orders: BTreeSet<Order>,
    /// For each part of the shape, who could be it.
    pub able: Vec<Able>,
    /// All queued tasks of the shape.
    pub(super) tasks: usize,
    /// For which list of nodes `able` was found.
    fleet: Option<u64>,
}

impl Able {
    fn find<'p>(shape: &Shape, part: &Part, peers: impl Iterator<Item = &'p Peer>) -> Able {
        let mut able = Able::default();
        for (place, peer) in (0_u32..).zip(peers) {
            if place % 64 == 0 {
                able.bits.push(0);
            }
            if peer.could_be(shape, part) {
                able.places.push(place);
                able.bits[place as usize / 64] |= 1 << (place % 64);
            }
        }
        able
    }

    /// Whether the node at this place could.
    pub fn contains(&self, place: u32) -> bool {
        self.bits.get(place as usize / 64).is_some_and(|bits| bits >> (place % 64) & 1 == 1)
    }
}

impl Line {
    pub(super) fn new(shape: Shape) -> Line {
        Line { shape, orders: BTreeSet::new(), able: Vec::new(), tasks: 0, fleet: None }
    }

    /// Finds out who could hold these tasks, unless that is known for this list of nodes.
    pub(super) fn refresh<'p>(&mut self, fleet: u64, peers: impl Iterator<Item = &'p Peer> + Clone) {
        if self.fleet != Some(fleet) {
            self.fleet = Some(fleet);
            let able = |part| Able::find(&self.shape, part, peers.clone());
            self.able = self.shape.parts.iter().map(able).collect();
        }
    }
}
