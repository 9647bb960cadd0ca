//! Taking this node's own part of the plan: capacity first, then the proposal.

use super::Node;
use super::local::{Grace, Local, Phase};
use crate::amount::Amount;
use crate::event::{Action, Decision};
use crate::id::{NodeId, TaskId};
use crate::plan::{Exclusions, Free, Own, plan};
use crate::time::BootMs;
use crate::transition::Transition;
use crate::view::Peer;

/// After a lost steal the view is behind; the task is left alone until the view moves it, or this long.
const REFUSED_MS: u64 = 1_000;

impl Node {
    /// What is free on each node that takes tasks: of this one as it knows itself, of the others as the store says.
    pub(super) fn free(&self, me: NodeId) -> Free {
        let mut free = Free::of(&self.view);
        if let Some(peer) = self.view.nodes().get(&me) {
            let holders = self.local.values().filter(|l| l.holds_capacity());
            let held: Vec<_> = holders.map(|l| (l.amount.clone(), l.end)).collect();
            let room = self.room(peer);
            let keeps =
                self.local.iter().filter(|(_, l)| matches!(l.phase, Phase::Offering | Phase::Gathered));
            let keeps = keeps.map(|(task, l)| (*task, l.amount.clone())).collect();
            free.correct(&self.view, me, room, Own { keeps, held });
        }
        free
    }

    pub(super) fn exclusions(&self, now: BootMs) -> Exclusions {
        let taken = self.local.iter().filter(|(_, l)| !l.phase.is_offer()).map(|(task, _)| task);
        let tasks = taken.chain(self.refused.keys()).copied().collect();
        Exclusions { tasks, nodes: self.hedge.late_nodes(now) }
    }

    pub(super) fn steal(&mut self, me: NodeId, now: BootMs, actions: &mut Vec<Action>) {
        if !self.has_a_part(me) {
            self.hedge.look_away();
            return;
        }
        let free = self.free(me);
        let mut exclude = self.exclusions(now);
        let plan = loop {
            let plan = plan(&self.view, &free, &exclude);
            let late = self.hedge.observe(me, &plan, &self.view, now);
            if late.is_empty() {
                break plan;
            }
            exclude.nodes.extend(late);
        };
        for placement in plan.placements.iter().filter(|p| p.node == me) {
            self.propose_steal(placement.task, me, now, actions);
        }
        self.gather(me, &plan, now, actions);
    }

    /// Whether the plan can want anything of this node: most of the time under load it is full, and need not plan.
    fn has_a_part(&self, me: NodeId) -> bool {
        let Some(peer) = self.view.nodes().get(&me) else { return false };
        let room = self.room(peer);
        self.view.lines().any(|line| room.fits(&line.shape.amount))
            || self.local.values().any(|l| l.phase.is_offer())
    }

    /// What this node has left, by its own word.
    fn room(&self, peer: &Peer) -> Amount {
        let holders = self.local.values().filter(|l| l.holds_capacity());
        holders.fold(peer.amount.clone(), |room, local| room.minus(&local.amount))
    }

    fn propose_steal(&mut self, task: TaskId, me: NodeId, now: BootMs, actions: &mut Vec<Action>) {
        let Some((queued, peer)) = self.view.queued(task).zip(self.view.nodes().get(&me)) else { return };
        let shape = self.view.shape(queued);
        let (amount, end) = (shape.amount_on(peer).clone(), shape.limit.end_from(self.view.clock().0));
        let local = Local {
            attempt: queued.attempt,
            amount,
            end,
            phase: Phase::Stealing,
            stop_sent: false,
            since: i64::MAX,
            grace: Grace::Unread,
        };
        self.local.insert(task, local);
        self.hedge.proposed(task, now);
        let (node_name, tick) = (self.config.name.clone(), self.view.clock().0);
        let transition = Transition::Steal { node: me, node_name, tick, members: Vec::new() };
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
            // Its room is not free: the watch is about to say so.
            Decision::Refused { runs_here: true } => {
                if let Some(local) = self.local.get_mut(&task) {
                    (local.phase, local.grace) = (Phase::Claiming, Grace::Asked);
                    actions.push(Action::Claim(task));
                }
            }
            Decision::Refused { runs_here: false } => {
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
