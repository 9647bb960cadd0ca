//! The hedge: a peer that does not take its part of the plan in time is planned around, until it is heard of again, or for a while: where every node is
//! needed (a task of several nodes), nobody would be heard of while each goes around another. "In time" follows this node's own steals: what they take,
//! the peers' take too.

use crate::id::{NodeId, TaskId};
use crate::plan::Plan;
use crate::time::BootMs;
use crate::view::{Fact, View};
use std::collections::{BTreeMap, BTreeSet};

/// The shortest patience: above the slowest transaction of a healthy cluster under load.
pub const MIN_MS: u64 = 300;
/// The longest: a frozen node must not hold tasks back for more of its lease than this.
pub const MAX_MS: u64 = 2_000;
/// Patience in multiples of a steal's usual duration.
pub const FACTOR: u64 = 8;

/// For an offer of a part of a task of several nodes, so many times the patience: others go around somebody for a while before they offer theirs.
const GANG_FACTOR: u64 = 4;
/// How long a late peer is gone around that is not heard of, at first; twice as long each time that it is late again.
const AROUND_MIN_MS: u64 = 1_000;
/// At most.
const AROUND_MAX_MS: u64 = 4_000;

/// Who was expected to take what since when.
#[derive(Clone, Debug, Default)]
pub struct Hedge {
    /// In order of the first two: whoever was to take which task, since when, and with how much patience.
    expected: Vec<(TaskId, NodeId, BootMs, u64)>,
    /// Who is gone around until when, and how long that is in all.
    late: BTreeMap<NodeId, (BootMs, u64)>,
    proposed: BTreeMap<TaskId, BootMs>,
    usual_ms: u64,
}

impl Hedge {
    /// How long a peer may take for its part.
    pub fn patience_ms(&self) -> u64 {
        (self.usual_ms * FACTOR).clamp(MIN_MS, MAX_MS)
    }

    /// Compares the plan with what was expected before; returns peers that are late now. Of a task of several nodes each is expected to offer its part.
    pub(super) fn observe(&mut self, me: NodeId, plan: &Plan, view: &View, now: BootMs) -> BTreeSet<NodeId> {
        let patience = self.patience_ms();
        let mut expected = Vec::with_capacity(plan.placements.len());
        let mut late = BTreeSet::new();
        let singles = plan.placements.iter().map(|p| (p.task, p.node, patience));
        let parts = plan.gangs.iter().flat_map(|gang| {
            let offers = view.offers(gang.task);
            let missing = move |node: &&NodeId| !offers.is_some_and(|offers| offers.contains_key(*node));
            gang.nodes.iter().filter(missing).map(move |node| (gang.task, *node, patience * GANG_FACTOR))
        });
        for (task, node, patience) in singles.chain(parts).filter(|(_, node, _)| *node != me) {
            let before = self.expected.binary_search_by_key(&(task, node), |(task, node, ..)| (*task, *node));
            let since = before.map_or(now, |at| self.expected[at].2);
            if now.since(since) >= patience {
                late.insert(node);
            }
            expected.push((task, node, since, patience));
        }
        expected.retain(|(_, node, ..)| !late.contains(node));
        expected.sort_unstable();
        self.expected = expected;
        for node in &late {
            let around = self.late.get(node).map_or(AROUND_MIN_MS, |(_, last)| (last * 2).min(AROUND_MAX_MS));
            self.late.insert(*node, (now.plus(around), around));
        }
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
            Fact::Offered { node, .. } => {
                self.late.remove(node);
            }
            // It may have ended with the start that another node made.
            Fact::NotOffered { .. } => {}
            Fact::Queued { .. } | Fact::NotQueued(_) | Fact::NodeUp { .. } => {}
            Fact::Locked { .. } | Fact::Unlocked(_) | Fact::Reserve(_) | Fact::Clock { .. } => {}
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
    pub fn late_nodes(&self, now: BootMs) -> BTreeSet<NodeId> {
        self.late.iter().filter(|(_, (until, _))| *until > now).map(|(node, _)| *node).collect()
    }

    /// When somebody becomes late, or is no longer gone around.
    pub(super) fn next_deadline(&self, now: BootMs) -> Option<BootMs> {
        let late = self.expected.iter().map(|(_, _, since, patience)| since.plus(*patience)).min();
        let trusted = self.late.values().map(|(until, _)| *until).filter(|until| *until > now).min();
        late.into_iter().chain(trusted).min()
    }
}
