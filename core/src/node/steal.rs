//! Taking this node's own part of the plan: capacity first, then the proposal.

use super::Node;
use super::local::{Grace, Local, Phase};
use crate::entry::NodeState;
use crate::event::{Action, Decision};
use crate::id::{NodeId, TaskId};
use crate::lock::Lockable;
use crate::plan::{Exclusions, plan};
use crate::resources::Resources;
use crate::time::BootMs;
use crate::transition::Transition;
use std::collections::BTreeMap;

/// After a lost steal the view is behind; the task is left alone until the view moves it, or this long.
const REFUSED_MS: u64 = 1_000;

impl Node {
    /// What is free on each node that takes tasks (none does while the queue is paused): of this one as it knows itself, of the others as the store says.
    pub(super) fn free(&self, me: NodeId) -> BTreeMap<NodeId, Resources> {
        if self.view.lock(&Lockable::Queue).is_some() {
            return BTreeMap::new();
        }
        let ready =
            self.view.nodes().iter().filter(|(_, peer)| {
                peer.entry.state == NodeState::Ready && self.view.lock_on(peer).is_none()
            });
        let mut free: BTreeMap<NodeId, Resources> =
            ready.map(|(node, _)| (*node, self.view.free_on(*node))).collect();
        if let Some(mine) = free.get_mut(&me) {
            let total = self.view.nodes().get(&me).map(|p| p.entry.resources).unwrap_or_default();
            let held = self.local.values().filter(|l| l.holds_capacity());
            *mine = held.fold(total, |room, l| room.minus(&l.resources));
        }
        free
    }

    pub(super) fn exclusions(&self) -> Exclusions {
        let taken = self.local.keys().chain(self.refused.keys()).copied();
        Exclusions { tasks: taken.collect(), nodes: self.hedge.late_nodes() }
    }

    pub(super) fn steal(&mut self, me: NodeId, now: BootMs, actions: &mut Vec<Action>) {
        let free = self.free(me);
        let room = free.get(&me).copied().unwrap_or_default();
        if !self.view.ripe().keys().any(|shape| room.fits(&shape.resources)) {
            self.hedge.look_away();
            return;
        }
        let mut exclude = self.exclusions();
        loop {
            let plan = plan(&self.view, &free, &exclude, now);
            let late = self.hedge.observe(me, &plan, now);
            if late.is_empty() {
                for placement in plan.placements.iter().filter(|p| p.node == me) {
                    self.propose_steal(placement.task, me, now, actions);
                }
                return;
            }
            exclude.nodes.extend(late);
        }
    }

    fn propose_steal(&mut self, task: TaskId, me: NodeId, now: BootMs, actions: &mut Vec<Action>) {
        let Some(queued) = self.view.queued(task) else { return };
        let local = Local {
            attempt: queued.entry.attempt,
            resources: queued.entry.resources,
            phase: Phase::Stealing,
            stop_sent: false,
            since: i64::MAX,
            grace: Grace::Unread,
        };
        self.local.insert(task, local);
        self.hedge.proposed(task, now);
        let transition = Transition::Steal { node: me, node_name: self.config.name.clone() };
        actions.push(Action::Propose { task, transition });
    }

    pub(super) fn steal_decided(
        &mut self,
        now: BootMs,
        task: TaskId,
        decision: Decision,
        actions: &mut Vec<Action>,
    ) {
        self.hedge.steal_decided(task, now);
        if !self.local.get(&task).is_some_and(|l| l.phase == Phase::Stealing) {
            return;
        }
        match decision {
            Decision::Committed { task: record, revision } => {
                self.counters.steals_won += 1;
                self.begin(*record, revision, actions);
                self.check_local(task, actions);
            }
            Decision::Refused => {
                self.counters.steals_lost += 1;
                self.local.remove(&task);
                if self.view.queued(task).is_some() {
                    self.refused.insert(task, now.plus(REFUSED_MS));
                }
                // Refused, and yet ours: the steal was applied, its reply lost, and then somebody changed the record (a cancel).
                self.check_local(task, actions);
            }
        }
    }
}
