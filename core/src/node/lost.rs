//! Requeueing what lost nodes had. Decided from state alone (running entries without a live node), so a missed event and the sweep are
//! the same path. The peer that a rendezvous hash names goes first; the others follow one after another when it did not.

use super::Node;
use crate::event::Action;
use crate::id::{NodeId, TaskId};
use crate::rendezvous::rank;
use crate::time::BootMs;
use crate::transition::Transition;
use std::collections::{BTreeMap, BTreeSet};

/// Proposals for lost tasks in flight at once: enough to fill batches, few enough that steals do not wait behind them.
const IN_FLIGHT_MAX: usize = 200;
/// The reply comes before the watch shows its effect: a decided task is left alone until the view moves it, or this long.
const SETTLE_MS: u64 = 1_000;

/// Nodes seen without a key, and tasks of theirs that are being requeued.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    act_at: BTreeMap<NodeId, BootMs>,
    in_flight: BTreeSet<TaskId>,
    decided: BTreeMap<TaskId, BootMs>,
}

impl Lost {
    pub(super) fn decided(&mut self, task: TaskId, now: BootMs) {
        self.in_flight.remove(&task);
        self.decided.insert(task, now.plus(SETTLE_MS));
    }
    /// The view has moved the task.
    pub(super) fn moved(&mut self, task: TaskId) {
        self.decided.remove(&task);
    }
    pub(super) fn next_deadline(&self, now: BootMs) -> Option<BootMs> {
        self.act_at.values().chain(self.decided.values()).copied().filter(|at| *at > now).min()
    }
}

impl Node {
    pub(super) fn requeue_lost(&mut self, me: NodeId, now: BootMs, actions: &mut Vec<Action>) {
        let lost: Vec<NodeId> = self.view.lost_nodes().collect();
        self.lost.act_at.retain(|node, _| lost.contains(node));
        self.lost.decided.retain(|_, until| *until > now);
        for node in lost {
            let act_at = match self.lost.act_at.get(&node) {
                Some(at) => *at,
                None => {
                    let rank = rank(node.0, me, self.view.nodes().keys().copied()) as u64;
                    let trusted = self.view.nodes().values().all(|peer| peer.entry.leases_trusted);
                    let distrust_ms = if trusted { 0 } else { self.config.requeue_wait_ms };
                    let wait = distrust_ms + rank * self.config.requeue_stagger_ms;
                    *self.lost.act_at.entry(node).or_insert(now.plus(wait))
                }
            };
            if act_at > now {
                continue;
            }
            let room = IN_FLIGHT_MAX.saturating_sub(self.lost.in_flight.len());
            let idle = |(task, _): &(TaskId, _)| {
                !self.lost.in_flight.contains(task) && !self.lost.decided.contains_key(task)
            };
            let tasks: Vec<(TaskId, u32)> =
                self.view.running_on(node).filter(idle).take(room).map(|(t, e)| (t, e.attempt)).collect();
            for (task, attempt) in tasks {
                self.lost.in_flight.insert(task);
                actions.push(Action::Propose { task, transition: Transition::Lose { node, attempt } });
            }
        }
    }
}
