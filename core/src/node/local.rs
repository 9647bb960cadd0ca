//! The attempts that this node holds, and how they are held against what the store says.

use super::Node;
use crate::event::Action;
use crate::id::{AttemptId, TaskId};
use crate::resources::Resources;
use crate::task::{Task, TaskState};
use std::collections::BTreeSet;

/// From SIGTERM to SIGKILL for an attempt whose record this server has not read since it started.
const ADOPTED_GRACE_MS: u64 = 10_000;

/// Where an attempt on this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its capacity is reserved and the steal is proposed.
    Stealing,
    /// The store says it runs here but this node does not know it: its record is being read.
    Claiming,
    /// The runner has been asked to start it.
    Starting,
    /// Its program runs.
    Running,
    /// Its process has ended; the end is being recorded.
    Ending,
}

/// An attempt on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its number.
    pub attempt: u32,
    /// What it holds of the node; of an adopted attempt nothing until the store has said it.
    pub resources: Resources,
    /// Where it is.
    pub phase: Phase,
    /// Whether its end was asked for.
    pub stop_sent: bool,
    /// The store revision since which the store knows it as running here.
    pub since: i64,
    /// From SIGTERM to SIGKILL.
    pub kill_grace_ms: u64,
}

impl Local {
    /// An attempt that a runner kept through a restart of the server.
    pub(super) fn adopted(attempt: u32, since: i64) -> Local {
        Local {
            attempt,
            resources: Resources::default(),
            phase: Phase::Running,
            stop_sent: false,
            since,
            kill_grace_ms: ADOPTED_GRACE_MS,
        }
    }

    /// Whether its process may be alive, or about to be: then it holds capacity.
    pub fn holds_capacity(&self) -> bool {
        match self.phase {
            Phase::Stealing | Phase::Claiming | Phase::Starting | Phase::Running => true,
            Phase::Ending => false,
        }
    }
}

impl Node {
    /// Holds every local attempt against the whole view.
    pub(super) fn reconcile(&mut self, actions: &mut Vec<Action>) {
        let Some((me, _)) = self.identity.filter(|_| self.synced) else { return };
        let here: BTreeSet<TaskId> = self.view.running_on(me).map(|(task, _)| task).collect();
        for task in &here {
            self.check_local(*task, actions);
        }
        let revision = self.view.revision;
        let gone: Vec<TaskId> = self.local.keys().copied().filter(|t| !here.contains(t)).collect();
        for task in gone {
            self.disowned(task, revision, actions);
        }
    }

    /// The store says that `task` runs here: claim what is unknown, stop what somebody canceled.
    pub(super) fn check_local(&mut self, task: TaskId, actions: &mut Vec<Action>) {
        let Some((me, _)) = self.identity else { return };
        let Some(entry) = self.view.run_entry(me, task).cloned() else { return };
        let Some(local) = self.local.get_mut(&task) else {
            let claiming =
                Local { phase: Phase::Claiming, ..Local::adopted(entry.attempt, self.view.revision) };
            self.local.insert(task, Local { resources: entry.resources, ..claiming });
            actions.push(Action::Claim(task));
            return;
        };
        if local.attempt != entry.attempt {
            return;
        }
        local.resources = entry.resources;
        let alive = matches!(local.phase, Phase::Starting | Phase::Running);
        if entry.cancel && alive && !local.stop_sent {
            local.stop_sent = true;
            let attempt = AttemptId { task, number: entry.attempt };
            actions.push(Action::Stop { attempt, grace_ms: local.kill_grace_ms });
        }
    }

    /// The store, as of `revision`, does not say that `task` runs here: what still lives of it must die.
    pub(super) fn disowned(&mut self, task: TaskId, revision: i64, actions: &mut Vec<Action>) {
        let Some(local) = self.local.get(&task).filter(|l| revision > l.since) else { return };
        match local.phase {
            Phase::Stealing | Phase::Claiming | Phase::Ending => {}
            Phase::Starting | Phase::Running => {
                let attempt = AttemptId { task, number: local.attempt };
                actions.push(Action::Stop { attempt, grace_ms: 0 });
            }
        }
    }

    /// The record of a task that the store said runs here has been read.
    pub(super) fn claimed(
        &mut self,
        task: TaskId,
        record: Option<Task>,
        revision: i64,
        actions: &mut Vec<Action>,
    ) {
        let claiming = self.local.get(&task).is_some_and(|l| l.phase == Phase::Claiming);
        if !claiming {
            return;
        }
        let mine = |t: &Task| matches!(&t.state, TaskState::Running { node, .. } if self.is_me(*node));
        match record.filter(mine) {
            Some(record) => self.begin(record, revision, actions),
            None => {
                self.local.remove(&task);
            }
        }
    }

    /// Starts a task that the store says is ours.
    pub(super) fn begin(&mut self, record: Task, revision: i64, actions: &mut Vec<Action>) {
        let canceled = matches!(&record.state, TaskState::Running { cancel: Some(_), .. });
        let local = Local {
            attempt: record.attempt,
            resources: record.spec.resources,
            phase: Phase::Starting,
            stop_sent: canceled,
            since: revision,
            kill_grace_ms: record.spec.kill_grace_ms,
        };
        self.local.insert(record.id, local);
        let attempt = record.attempt_id();
        actions.push(Action::Start(Box::new(record)));
        if canceled {
            actions.push(Action::Stop { attempt, grace_ms: 0 });
        }
    }
}
