//! What is free where.

use crate::amount::Amount;
use crate::clock::Tick;
use crate::entry::NodeState;
use crate::id::{NodeId, TaskId};
use crate::lock::Lockable;
use crate::reserve::kept_for_people;
use crate::view::View;
use std::collections::BTreeMap;

/// What is free on each node that takes tasks.
#[derive(Clone, Debug, Default)]
pub struct Free {
    /// By the node's place in [`View::fleet`].
    pub(super) rooms: Vec<Option<Amount>>,
    /// The node that plans, and what it knows of itself sooner than the store.
    pub(super) own: Option<(NodeId, Own)>,
}

/// What a node knows of itself.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// What it keeps for which tasks of several nodes.
    pub keeps: BTreeMap<TaskId, Amount>,
    /// All that is taken of it, that is kept included, and by when that has surely ended.
    pub held: Vec<(Amount, Option<Tick>)>,
}

impl Free {
    /// As the store says. Nodes that are locked, kept for people or take nothing have no room; none has while the queue is paused.
    pub fn of(view: &View) -> Free {
        let paused = view.lock(&Lockable::Queue).is_some();
        let kept = kept_for_people(view);
        let rooms = view.nodes().keys().zip(view.rooms()).map(|(node, (peer, amount))| {
            let is_ready = peer.entry.state == NodeState::Ready && view.lock_on(peer).is_none();
            (!paused && is_ready && !kept.contains(node)).then_some(amount)
        });
        Free { rooms: rooms.collect(), own: None }
    }

    /// What is free on this node, if it takes tasks.
    pub fn on(&self, view: &View, node: NodeId) -> Option<&Amount> {
        self.rooms.get(view.fleet().binary_search(&node).ok()?)?.as_ref()
    }

    /// This node knows itself better than the store does: what is free, and who has the rest.
    pub fn correct(&mut self, view: &View, node: NodeId, amount: Amount, own: Own) {
        self.own = Some((node, own));
        let place = view.fleet().binary_search(&node).ok();
        if let Some(room) = place.and_then(|place| self.rooms.get_mut(place)?.as_mut()) {
            *room = amount;
        }
    }
}
