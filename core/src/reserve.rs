//! Nodes that are kept free for people ([`crate::plan::Reservation`] is another thing: it keeps nodes for a task). So many take no new tasks, whatever waits;
//! who wants a machine locks one of them and has it at once.
//!
//! Which ones, every node finds alike from what the store says: a hash of the names orders them, and the first that are ready and not locked are kept, as many as
//! were asked for less those that people have by then. So a node that is locked or comes back changes at most one other's part.

use crate::entry::NodeState;
use crate::features;
use crate::id::NodeId;
use crate::rendezvous;
use crate::spec::Unknown;
use crate::time::WallMs;
use crate::view::{Peer, View};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Under `/policy/reserve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveEntry {
    /// How many.
    pub nodes: u32,
    /// Only of those with this label; of all without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Who said so.
    pub by: String,
    /// Since when, for people.
    pub at: WallMs,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl ReserveEntry {
    fn is_about(&self, peer: &Peer) -> bool {
        self.label.as_ref().is_none_or(|label| peer.entry.offers.has.contains(&features::label(label)))
    }
}

/// `2 nodes with type=smithi by ann`.
impl fmt::Display for ReserveEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.nodes, if self.nodes == 1 { "node" } else { "nodes" })?;
        if let Some(label) = &self.label {
            write!(f, " with {label}")?;
        }
        write!(f, " by {}", self.by)
    }
}

/// The nodes that take no tasks because they are kept for people.
///
/// A lock with an end is a person's who works there, so it counts as one of those that were asked for. One without an end (a drained node) does not: something
/// is wrong with that node, and nobody has it.
pub fn kept_for_people(view: &View) -> BTreeSet<NodeId> {
    let Some(reserve) = view.reserve() else { return BTreeSet::new() };
    let (mut held, mut free) = (0, Vec::new());
    for (node, peer) in view.nodes().iter().filter(|(_, peer)| reserve.is_about(peer)) {
        match view.lock_on(peer) {
            Some(lock) => held += usize::from(lock.until.is_some()),
            None if peer.entry.state == NodeState::Ready => {
                free.push((rendezvous::of_name(&peer.entry.name), *node));
            }
            None => {}
        }
    }
    free.sort_unstable();
    free.into_iter().take((reserve.nodes as usize).saturating_sub(held)).map(|(_, node)| node).collect()
}
