//! What tasks must have in common to be interchangeable for planning: where they fit, on how many nodes, and how long they may stay.

use crate::amount::Amount;
use crate::entry::QueueEntry;
use crate::features::Features;
use crate::limit::LimitClass;
use crate::view::Peer;

/// Some of the nodes of a task, alike in what they must offer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// How many.
    pub nodes: u32,
    /// What each must offer beside room and the root.
    pub needs: Features,
}

/// The shape of a task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// What it takes of each of its nodes.
    pub amount: Amount,
    /// It takes all of them.
    pub exclusive: bool,
    /// The root it needs.
    pub root: String,
    /// Its nodes; at least one part of at least one.
    pub parts: Vec<Part>,
    /// How long it may run.
    pub limit: LimitClass,
}

impl Shape {
    /// Of a queued task.
    pub fn of(entry: &QueueEntry) -> Shape {
        let part = |nodes, more: &Features| Part { nodes, needs: entry.needs.and(more) };
        let parts = match entry.parts.is_empty() {
            true => vec![part(1, &Features::default())],
            false => entry.parts.iter().map(|p| part(p.nodes, &p.needs)).collect(),
        };
        Shape {
            amount: Amount { resources: entry.resources, counts: entry.counts.clone() },
            exclusive: entry.exclusive,
            root: entry.root.clone(),
            parts,
            limit: LimitClass::of_seconds(entry.limit_s),
        }
    }

    /// How many nodes it takes.
    pub fn nodes(&self) -> u32 {
        self.parts.iter().map(|part| part.nodes).sum()
    }

    /// Whether it takes several nodes at once.
    pub fn is_gang(&self) -> bool {
        self.nodes() > 1
    }

    /// What it takes of this node.
    pub fn amount_on<'a>(&'a self, peer: &'a Peer) -> &'a Amount {
        if self.exclusive { &peer.amount } else { &self.amount }
    }
}
