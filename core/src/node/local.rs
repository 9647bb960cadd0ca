//! The attempts that this node holds, and how they are held against what the store says.

use super::Node;
use crate::amount::Amount;
use crate::clock::Tick;
use crate::entry::RunEntry;
use crate::event::{Action, Found};
use crate::id::{AttemptId, NodeId, TaskId};
use crate::limit::LimitClass;
use crate::task::Task;
use std::collections::BTreeSet;

/// Where an attempt on this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its capacity is reserved and the steal is proposed.
    Stealing,
    /// Its capacity is kept for a task of several nodes, and this node says so or is about to.
    Offering,
    /// So it is, and this node has proposed the start for all of them.
    Gathered,
    /// So it was, and the offer is being taken back.
    Withdrawing,
    /// The store says it runs here but this node does not know it: its record is being read.
    Claiming,
    /// The runner has been asked to start it.
    Starting,
    /// Its program runs.
    Running,
    /// Its process has ended; the end is being recorded.
    Ending,
}

impl Phase {
    /// Whether room is kept for a task that may yet start elsewhere.
    pub fn is_offer(self) -> bool {
        match self {
            Phase::Offering | Phase::Gathered | Phase::Withdrawing => true,
            Phase::Stealing | Phase::Claiming | Phase::Starting | Phase::Running | Phase::Ending => false,
        }
    }
}

/// From SIGTERM to SIGKILL, as the attempt's record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// So many milliseconds.
    KnownMs(u64),
    /// The record has not been read since this server started; it is when somebody wants the attempt's end.
    Unread,
    /// It is being read.
    Asked,
}

/// An attempt on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its number.
    pub attempt: u32,
    /// What it holds of the node; of an adopted attempt nothing until the store has said it.
    pub amount: Amount,
    /// By when it has surely ended, by the cluster's clock; `None` without a limit, or where that is not known.
    pub end: Option<Tick>,
    /// Where it is.
    pub phase: Phase,
    /// Whether its end was asked for.
    pub stop_sent: bool,
    /// The store revision since which the store knows it as running here.
    pub since: i64,
    /// From SIGTERM to SIGKILL.
    pub grace: Grace,
}

impl Local {
    /// An attempt that a runner kept through a restart of the server.
    pub(super) fn adopted(attempt: u32, since: i64) -> Local {
        Local {
            attempt,
            amount: Amount::default(),
            end: None,
            phase: Phase::Running,
            stop_sent: false,
            since,
            grace: Grace::Unread,
        }
    }

    /// Whether its process may be alive, or about to be: then it holds capacity.
    pub fn holds_capacity(&self) -> bool {
        match self.phase {
            Phase::Stealing | Phase::Claiming | Phase::Starting | Phase::Running => true,
            Phase::Offering | Phase::Gathered | Phase::Withdrawing => true,
            Phase::Ending => false,
        }
    }
}

impl Node {
    /// Holds every local attempt against the whole view.
    pub(super) fn reconcile(&mut self, actions: &mut Vec<Action>) {
        let Some((me, _)) = self.identity.filter(|_| self.synced.is_some()) else { return };
        let here: BTreeSet<TaskId> = self.view.running_on(me).map(|(task, _)| task).collect();
        for task in &here {
            self.check_local(*task, actions);
        }
        let revision = self.view.revision;
        let gone: Vec<TaskId> = self.local.keys().copied().filter(|t| !here.contains(t)).collect();
        for task in gone {
            self.disowned(task, revision, actions);
        }
        self.reconcile_offers(me, actions);
    }

    /// The store says that `task` runs here: claim what is unknown, stop what somebody canceled.
    pub(super) fn check_local(&mut self, task: TaskId, actions: &mut Vec<Action>) {
        let Some((me, _)) = self.identity else { return };
        let Some(entry) = self.view.run_entry(me, task).cloned() else { return };
        let amount = self.held(me, &entry);
        let known = self.local.get_mut(&task);
        let offered = |l: &&mut Local| matches!(l.phase, Phase::Offering | Phase::Withdrawing);
        let Some(local) = known.filter(|l| !offered(l) || l.attempt > entry.attempt) else {
            // Nothing is known of it, or another node has started it for all: what was kept for it is its own now.
            self.gather.forget(task);
            let claiming =
                Local { phase: Phase::Claiming, ..Local::adopted(entry.attempt, self.view.revision) };
            let end = entry.end();
            self.local.insert(task, Local { amount, end, grace: Grace::Asked, ..claiming });
            actions.push(Action::Claim(task));
            return;
        };
        if local.attempt != entry.attempt {
            if local.attempt < entry.attempt {
                self.kill(task, actions);
            }
            return;
        }
        (local.amount, local.end) = (amount, entry.end());
        let alive = matches!(local.phase, Phase::Starting | Phase::Running);
        if entry.cancel && alive && !local.stop_sent {
            let attempt = AttemptId { task, number: entry.attempt };
            match local.grace {
                Grace::KnownMs(grace_ms) => {
                    local.stop_sent = true;
                    actions.push(Action::Stop { attempt, grace_ms });
                }
                Grace::Unread => {
                    local.grace = Grace::Asked;
                    actions.push(Action::Claim(task));
                }
                Grace::Asked => {}
            }
        }
    }

    /// What a task holds of this node.
    fn held(&self, me: NodeId, entry: &RunEntry) -> Amount {
        match self.view.nodes().get(&me) {
            Some(peer) if entry.exclusive => peer.amount.clone(),
            Some(_) | None => Amount { resources: entry.resources, counts: entry.counts.clone() },
        }
    }

    /// Whether the store, as of `revision`, does not say that `task` runs here: then what still lives of it must die.
    pub(super) fn disowned(&mut self, task: TaskId, revision: i64, actions: &mut Vec<Action>) {
        let owned = self.identity.is_some_and(|(me, _)| self.view.run_entry(me, task).is_some());
        if !owned && self.local.get(&task).is_some_and(|l| revision > l.since) {
            self.kill(task, actions);
        }
    }

    fn kill(&mut self, task: TaskId, actions: &mut Vec<Action>) {
        let Some(local) = self.local.get(&task) else { return };
        match local.phase {
            Phase::Stealing | Phase::Claiming | Phase::Ending => {}
            Phase::Offering | Phase::Gathered | Phase::Withdrawing => {}
            Phase::Starting | Phase::Running => {
                let attempt = AttemptId { task, number: local.attempt };
                actions.push(Action::Stop { attempt, grace_ms: 0 });
            }
        }
    }

    /// The runner has this attempt from before. Of two of one task the later counts.
    pub(super) fn adopt(&mut self, attempt: AttemptId, found: Found, actions: &mut Vec<Action>) {
        if self.identity.is_none() {
            self.unheard.push((attempt, found));
            return;
        }
        let AttemptId { task, number } = attempt;
        let known = self.local.get(&task).map(|l| (l.attempt, l.phase));
        match known {
            Some((known, Phase::Claiming)) if known == number => {
                self.local.entry(task).and_modify(|l| l.phase = Phase::Running);
            }
            Some((known, _)) if known >= number => {}
            Some(_) | None => self.take_over(attempt, actions),
        }
        match found {
            Found::Alive if known.is_some_and(|(known, _)| known > number) => {
                actions.push(Action::Stop { attempt, grace_ms: 0 });
            }
            Found::Alive => {
                self.check_local(task, actions);
                if self.synced.is_some() {
                    self.disowned(task, self.view.revision, actions);
                }
            }
            Found::Ended(outcome) => self.ended(attempt, outcome, actions),
        }
    }

    /// From now on this attempt is the one that counts of its task.
    pub(super) fn take_over(&mut self, attempt: AttemptId, actions: &mut Vec<Action>) {
        self.kill(attempt.task, actions);
        // Any list is newer than the steal of what an earlier server started.
        self.local.insert(attempt.task, Local::adopted(attempt.number, 0));
    }

    /// Attempt `number` is settled; a later one that the store says runs here was hidden behind it.
    pub(super) fn claim_later_attempt(&mut self, task: TaskId, number: u32, actions: &mut Vec<Action>) {
        let entry = self.identity.and_then(|(me, _)| self.view.run_entry(me, task));
        if entry.is_some_and(|entry| entry.attempt > number) {
            self.check_local(task, actions);
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
        let Some(local) = self.local.get_mut(&task) else { return };
        if local.phase != Phase::Claiming {
            // Adopted, before or while it was read: then the grace was all that was missing.
            if let Some(record) = record.filter(|r| r.attempt == local.attempt && local.grace == Grace::Asked)
            {
                local.grace = Grace::KnownMs(record.spec.kill_grace_ms);
                self.check_local(task, actions);
            }
            return;
        }
        let mine = |t: &Task| self.identity.is_some_and(|(me, _)| t.runs_on(me));
        match record.filter(mine) {
            Some(record) => {
                self.begin(record, revision, actions);
                self.check_local(task, actions);
            }
            None => {
                self.local.remove(&task);
            }
        }
    }

    /// Starts a task that the store says is ours.
    pub(super) fn begin(&mut self, record: Task, revision: i64, actions: &mut Vec<Action>) {
        let canceled = record.is_stopping();
        let spec = &record.spec;
        let all = self.identity.and_then(|(me, _)| self.view.nodes().get(&me)).filter(|_| spec.exclusive);
        let amount = all.map_or_else(
            || Amount { resources: spec.resources, counts: spec.counts.clone() },
            |peer| peer.amount.clone(),
        );
        let local = Local {
            attempt: record.attempt,
            amount,
            end: LimitClass::of_seconds(record.spec.limit_s()).end_from(self.view.clock().0),
            phase: Phase::Starting,
            stop_sent: canceled,
            since: revision,
            grace: Grace::KnownMs(record.spec.kill_grace_ms),
        };
        self.local.insert(record.id, local);
        let attempt = record.attempt_id();
        actions.push(Action::Start(Box::new(record)));
        if canceled {
            actions.push(Action::Stop { attempt, grace_ms: 0 });
        }
    }
}
