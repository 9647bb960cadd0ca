//! What is taken of the nodes: by tasks that run there, and by offers to tasks of several nodes.

use super::Peer;
use crate::amount::Amount;
use crate::entry::{OfferEntry, RunEntry};
use crate::id::{NodeId, TaskId};
use std::collections::BTreeMap;

/// Sums of one node.
#[derive(Clone, Debug, Default)]
struct Taken {
    amount: Amount,
    /// How many tasks hold all of it.
    wholly: u32,
}

impl Taken {
    fn left_of(&self, total: &Amount) -> Amount {
        if self.wholly > 0 { total.minus(total) } else { total.minus(&self.amount) }
    }
}

/// What runs and what is offered.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    pub(super) running: BTreeMap<NodeId, BTreeMap<TaskId, RunEntry>>,
    pub(super) offers: BTreeMap<TaskId, BTreeMap<NodeId, OfferEntry>>,
    taken: BTreeMap<NodeId, Taken>,
}

fn held(resources: crate::resources::Resources, counts: &crate::counts::Counts) -> Amount {
    Amount { resources, counts: counts.clone() }
}

impl Usage {
    pub(super) fn run(&mut self, task: TaskId, node: NodeId, entry: RunEntry) {
        self.stop(task, node);
        let taken = self.taken.entry(node).or_default();
        taken.amount = taken.amount.plus(&held(entry.resources, &entry.counts));
        taken.wholly += u32::from(entry.exclusive);
        self.running.entry(node).or_default().insert(task, entry);
    }

    pub(super) fn stop(&mut self, task: TaskId, node: NodeId) {
        let Some(tasks) = self.running.get_mut(&node) else { return };
        if let Some(entry) = tasks.remove(&task) {
            if let Some(taken) = self.taken.get_mut(&node) {
                taken.amount = taken.amount.minus(&held(entry.resources, &entry.counts));
                taken.wholly -= u32::from(entry.exclusive);
            }
            if tasks.is_empty() {
                self.running.remove(&node);
            }
            self.tidy(node);
        }
    }

    pub(super) fn offer(&mut self, task: TaskId, node: NodeId, entry: OfferEntry) {
        self.withdraw(task, node);
        let taken = self.taken.entry(node).or_default();
        taken.amount = taken.amount.plus(&held(entry.resources, &entry.counts));
        self.offers.entry(task).or_default().insert(node, entry);
    }

    pub(super) fn withdraw(&mut self, task: TaskId, node: NodeId) {
        let Some(nodes) = self.offers.get_mut(&task) else { return };
        if let Some(entry) = nodes.remove(&node) {
            if let Some(taken) = self.taken.get_mut(&node) {
                taken.amount = taken.amount.minus(&held(entry.resources, &entry.counts));
            }
            if nodes.is_empty() {
                self.offers.remove(&task);
            }
            self.tidy(node);
        }
    }

    /// Forgets the sums of a node of which nothing is taken.
    fn tidy(&mut self, node: NodeId) {
        let offered = self.offers.values().any(|nodes| nodes.contains_key(&node));
        if !self.running.contains_key(&node) && !offered {
            self.taken.remove(&node);
        }
    }

    /// What is left of each of these nodes, which come in order.
    pub(super) fn left_of_all<'a>(
        &'a self,
        nodes: impl Iterator<Item = (NodeId, &'a Peer)> + 'a,
    ) -> impl Iterator<Item = (&'a Peer, Amount)> + 'a {
        let mut taken = self.taken.iter().peekable();
        nodes.map(move |(node, peer)| {
            while taken.next_if(|(of, _)| **of < node).is_some() {}
            let here = taken.next_if(|(of, _)| **of == node).map(|(_, taken)| taken);
            (peer, here.map_or_else(|| peer.amount.clone(), |taken| taken.left_of(&peer.amount)))
        })
    }

    /// What is left of a node that has `total`.
    pub(super) fn left_of(&self, node: NodeId, total: &Amount) -> Amount {
        match self.taken.get(&node) {
            None => total.clone(),
            Some(taken) => taken.left_of(total),
        }
    }
}
