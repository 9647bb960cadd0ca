//! The hedge: a peer that does not take its part of the plan in time is planned around, until it is heard of again.
//! "In time" follows this node's own steals: what they take, the peers' take too.

use crate::id::{NodeId, TaskId};
use crate::plan::Plan;
use crate::time::BootMs;
use crate::view::Fact;
use std::collections::{BTreeMap, BTreeSet};

/// The shortest patience: above the slowest transaction of a healthy cluster under load.
pub const MIN_MS: u64 = 300;
/// The longest: a frozen node must not hold tasks back for more of its lease than this.
pub const MAX_MS: u64 = 2_000;
/// Patience in multiples of a steal's usual duration.
pub const FACTOR: u64 = 8;

/// Who was expected to take what since when.
#[derive(Clone, Debug, Default)]
pub struct Hedge {
    expected: BTreeMap<TaskId, (NodeId, BootMs)>,
    late: BTreeSet<NodeId>,
    proposed: BTreeMap<TaskId, BootMs>,
    usual_ms: u64,
}

impl Hedge {
    /// How long a peer may take for its part.
    pub fn patience_ms(&self) -> u64 {
        (self.usual_ms * FACTOR).clamp(MIN_MS, MAX_MS)
    }

    /// Compares the plan with what was expected before; returns peers that are late now.
    pub(super) fn observe(&mut self, me: NodeId, plan: &Plan, now: BootMs) -> BTreeSet<NodeId> {
        let patience = self.patience_ms();
        let mut expected = BTreeMap::new();
        let mut late = BTreeSet::new();
        for p in plan.placements.iter().filter(|p| p.node != me) {
            let since = match self.expected.get(&p.task) {
                Some((node, since)) if *node == p.node => *since,
                _ => now,
            };
            if now.since(since) >= patience {
                late.insert(p.node);
            }
            expected.insert(p.task, (p.node, since));
        }
        expected.retain(|_, (node, _)| !late.contains(node));
        self.expected = expected;
        self.late.extend(&late);
        late
    }

    /// This node has no room, so it expects nothing of the others.
    pub(super) fn look_away(&mut self) {
        self.expected.clear();
    }

    /// A fact about a node that takes or ends tasks is a sign of life.
    pub(super) fn heard(&mut self, fact: &Fact) {
        match fact {
            Fact::Running { node, .. } | Fact::NotRunning { node, .. } | Fact::NodeDown(node) => {
                self.late.remove(node);
            }
            Fact::Queued { .. } | Fact::NotQueued(_) | Fact::NodeUp { .. } => {}
            Fact::Locked { .. } | Fact::Unlocked(_) | Fact::Clock { .. } => {}
        }
    }

    pub(super) fn proposed(&mut self, task: TaskId, now: BootMs) {
        self.proposed.insert(task, now);
    }

    pub(super) fn steal_decided(&mut self, task: TaskId, now: BootMs) {
        if let Some(since) = self.proposed.remove(&task) {
            self.usual_ms = (self.usual_ms * 7 + now.since(since)) / 8;
        }
    }

    /// Peers that the plan goes around.
    pub fn late_nodes(&self) -> BTreeSet<NodeId> {
        self.late.clone()
    }

    /// When somebody becomes late.
    pub(super) fn next_deadline(&self) -> Option<BootMs> {
        self.expected.values().map(|(_, since)| since.plus(self.patience_ms())).min()
    }
}
