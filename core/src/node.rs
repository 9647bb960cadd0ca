//! The state machine of a node: `step(now, event) -> actions`. It decides; the server (or the simulator) does.
//!
//! Invariants: capacity is reserved before a steal is proposed, so a node never holds more than it has; an attempt is reported
//! finished only after its process has ended; after a fence nothing is proposed under the old identity.

mod advance;
mod drain;
mod gather;
mod hedge;
mod local;
mod lost;
mod sick;
mod steal;

use crate::event::{Action, Decision, Event, Found};
use crate::id::{AttemptId, NodeId, TaskId};
use crate::plan::Plan;
use crate::time::BootMs;
use crate::transition::{Outcome, Transition};
use crate::view::{Fact, View};
pub use hedge::Hedge;
pub use local::{Grace, Local, Phase};
use std::collections::{BTreeMap, BTreeSet};

/// What does not change while the node runs.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The name that people use.
    pub name: String,
    /// How long after seeing a node's key gone its tasks are requeued while some live node does not trust the store's leases: as long as a
    /// container may live past its last verified renewal. Where all trust them, at once.
    pub requeue_wait_ms: u64,
    /// How much later each next peer in rank requeues when those before it did not.
    pub requeue_stagger_ms: u64,
}

/// The machine.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    identity: Option<(NodeId, i64)>,
    /// The revision of the last list, once there was one.
    synced: Option<i64>,
    draining: bool,
    view: View,
    local: BTreeMap<TaskId, Local>,
    /// What the runner said while there was no identity to record it under.
    unheard: Vec<(AttemptId, Found)>,
    refused: BTreeMap<TaskId, BootMs>,
    hedge: Hedge,
    lost: lost::Lost,
    sick: sick::Sick,
    advance: advance::Advance,
    gather: gather::Gather,
    lock_seen: drain::LockSeen,
    counters: Counters,
}

/// What the node has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Steals that were won.
    pub steals_won: u64,
    /// Steals that somebody else won.
    pub steals_lost: u64,
    /// Tasks of lost nodes that this node requeued or ended.
    pub requeued: u64,
}

impl Node {
    /// A node that has not registered yet.
    pub fn new(config: NodeConfig) -> Node {
        Node {
            config,
            identity: None,
            synced: None,
            draining: false,
            view: View::default(),
            local: BTreeMap::new(),
            unheard: Vec::new(),
            refused: BTreeMap::new(),
            hedge: Hedge::default(),
            lost: lost::Lost::default(),
            sick: sick::Sick::default(),
            advance: advance::Advance::default(),
            gather: gather::Gather::default(),
            lock_seen: drain::LockSeen::default(),
            counters: Counters::default(),
        }
    }

    /// Takes one event in, plans, and appends what is to be done.
    pub fn step(&mut self, now: BootMs, event: Event, actions: &mut Vec<Action>) {
        self.hear(now, event, actions);
        self.decide(now, actions);
    }

    /// Takes one event in without planning yet: for several that came together, with one [`Node::decide`] after them.
    pub fn hear(&mut self, now: BootMs, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Registered { node, created } => {
                self.identity = Some((node, created));
                self.check_own_key(actions);
                for (attempt, found) in std::mem::take(&mut self.unheard) {
                    self.adopt(attempt, found, actions);
                }
                self.reconcile(actions);
            }
            Event::Synced(snapshot) => {
                self.view.reset(&snapshot, now);
                self.synced = Some(snapshot.revision);
                self.check_own_key(actions);
                self.reconcile(actions);
            }
            Event::Changed { facts, revision } => self.changed(now, &facts, revision, actions),
            Event::Adopted { attempt, found } => {
                if matches!(found, Found::Ended(_)) {
                    self.sick.died(attempt, actions);
                }
                self.adopt(attempt, found, actions);
            }
            Event::Decided { task, transition, decision } => {
                self.decided(now, task, &transition, decision, actions);
            }
            Event::Claimed { task, record, revision } => {
                self.claimed(task, record.map(|r| *r), revision, actions);
            }
            Event::Offered { task, node, revision } if self.is_me(node) => self.offered(task, revision),
            Event::OfferGone { task, node } if self.is_me(node) => self.offer_gone(task, actions),
            Event::Offered { .. } | Event::OfferGone { .. } => {}
            Event::Started(attempt) => self.started(attempt),
            Event::Ended { attempt, outcome } => {
                // One that was stopped before it began, or that a lost identity had, says nothing about this node; and an image that cannot be had
                // nothing either: one user's image would pause every node in turn.
                let local = self.local.get(&attempt.task);
                let counts = local.is_some_and(|l| l.attempt == attempt.number && !l.stop_sent);
                if counts && matches!(outcome, Outcome::LaunchFailed(_)) {
                    self.sick.launch_failed(now);
                }
                self.sick.died(attempt, actions);
                self.ended(attempt, outcome, actions);
            }
            Event::Stuck { attempt, why } => self.sick.is_stuck(attempt, why, actions),
            Event::LeaseLost => self.fence(actions),
            Event::Drain(on) => self.draining = on,
            Event::Tick => {}
        }
    }

    /// Plans, takes this node's part, and requeues what lost nodes had.
    pub fn decide(&mut self, now: BootMs, actions: &mut Vec<Action>) {
        let Some((me, _)) = self.identity.filter(|_| self.synced.is_some()) else { return };
        self.view.ripen(now);
        self.refused.retain(|_, until| *until > now);
        if self.draining || self.sick.is_sick(now) {
            self.withdraw_all_but(me, &BTreeSet::new(), now, actions);
        } else {
            self.steal(me, now, actions);
        }
        self.say_lock_seen(me, actions);
        self.requeue_lost(me, now, actions);
        let wakes = [
            self.advance_clock(me, now, actions),
            self.view.next_ripe(),
            self.refused.values().min().copied(),
            self.hedge.next_deadline(now),
            self.gather.next_deadline(),
            self.lost.next_deadline(now),
            self.sick.next_deadline(),
        ];
        actions.extend(wakes.into_iter().flatten().filter(|at| *at > now).min().map(Action::WakeAt));
    }

    fn changed(&mut self, now: BootMs, facts: &[Fact], revision: i64, actions: &mut Vec<Action>) {
        let mut mine = BTreeSet::new();
        let (mut own_key_gone, mut taken_back) = (false, Vec::new());
        for fact in facts {
            match fact {
                Fact::Queued { task, .. } | Fact::NotQueued(task) => {
                    self.refused.remove(task);
                }
                Fact::Running { task, node, .. } if self.is_me(*node) => {
                    mine.insert(*task);
                }
                Fact::NotRunning { task, node } if self.is_me(*node) => {
                    let ended = self.view.run_entry(*node, *task).map(|entry| entry.attempt);
                    if self.local.get(task).is_none_or(|l| ended.is_none_or(|ended| l.attempt <= ended)) {
                        mine.insert(*task);
                    }
                }
                Fact::Running { task, .. } | Fact::NotRunning { task, .. } => self.lost.moved(*task),
                Fact::NodeDown(node) => own_key_gone |= self.is_me(*node),
                Fact::Offered { task, node, entry, created } if self.is_me(*node) => {
                    self.keep(*task, entry, *created);
                }
                Fact::NotOffered { task, node } if self.is_me(*node) => taken_back.push(*task),
                Fact::Offered { .. } | Fact::NotOffered { .. } => {}
                Fact::NodeUp { .. } | Fact::Locked { .. } | Fact::Unlocked(_) => {}
                Fact::Reserve(_) | Fact::Clock { .. } => {}
            }
            self.view.apply(fact, now);
            self.hedge.heard(fact);
        }
        self.view.revision = self.view.revision.max(revision);
        if own_key_gone {
            self.fence(actions);
        }
        for task in mine {
            self.check_local(task, actions);
            self.disowned(task, revision, actions);
        }
        // What has started here in the same moment is not an offer any more.
        for task in taken_back {
            self.offer_gone(task, actions);
        }
    }

    /// A list without the own key means that the lease has ended, whatever the last renewal said. (Single changes do not say so: those of the
    /// node keys and of the status keys may come in any order relative to each other.)
    fn check_own_key(&mut self, actions: &mut Vec<Action>) {
        if let Some((me, created)) = self.identity
            && self.synced.is_some_and(|listed| listed >= created)
            && !self.view.nodes().contains_key(&me)
        {
            self.fence(actions);
        }
    }

    fn fence(&mut self, actions: &mut Vec<Action>) {
        if let Some((me, _)) = self.identity.take() {
            self.local.clear();
            self.hedge = Hedge::default();
            self.gather = gather::Gather::default();
            self.lost = lost::Lost::default();
            actions.push(Action::Fence(me));
        }
    }

    fn decided(
        &mut self,
        now: BootMs,
        task: TaskId,
        transition: &Transition,
        decision: Decision,
        actions: &mut Vec<Action>,
    ) {
        match transition {
            Transition::Steal { members, .. } if !members.is_empty() => {
                if let Some((me, _)) = self.identity.filter(|(me, _)| members.iter().any(|m| m.node == *me)) {
                    self.gang_decided(me, now, task, decision, actions);
                }
            }
            Transition::Steal { node, .. } if self.is_me(*node) => {
                self.steal_decided(now, task, decision, actions)
            }
            // Of an identity before this one, too: nothing more will be recorded of that attempt.
            Transition::Finish { attempt, .. } => {
                let ended = |l: &Local| l.attempt == *attempt && matches!(l.phase, Phase::Ending);
                if self.local.get(&task).is_some_and(ended) {
                    self.local.remove(&task);
                    self.claim_later_attempt(task, *attempt, actions);
                }
                actions.push(Action::Release(AttemptId { task, number: *attempt }));
            }
            Transition::Lose { .. } => {
                self.lost.decided(task, now);
                self.counters.requeued += u64::from(matches!(decision, Decision::Committed { .. }));
            }
            Transition::Steal { .. } | Transition::Cancel(_) | Transition::Adjust(_) => {}
        }
    }

    fn started(&mut self, attempt: AttemptId) {
        self.sick.launched();
        if let Some(local) = self.local.get_mut(&attempt.task)
            && local.attempt == attempt.number
            && matches!(local.phase, Phase::Starting)
        {
            local.phase = Phase::Running;
        }
    }

    fn ended(&mut self, attempt: AttemptId, outcome: Outcome, actions: &mut Vec<Action>) {
        let Some((me, _)) = self.identity else {
            self.unheard.push((attempt, Found::Ended(outcome)));
            return;
        };
        // Of an attempt that is not known here (yet) nothing is let go before the store has refused it: it may be a result.
        let known = self.local.get(&attempt.task).map(|l| l.attempt);
        if known.is_none_or(|known| known < attempt.number) {
            self.take_over(attempt, actions);
        }
        let Some(local) = self.local.get_mut(&attempt.task).filter(|l| l.attempt == attempt.number) else {
            actions.push(Action::Release(attempt));
            return;
        };
        if matches!(local.phase, Phase::Ending) {
            return;
        }
        local.phase = Phase::Ending;
        let transition = Transition::Finish { node: me, attempt: attempt.number, outcome };
        actions.push(Action::Propose { task: attempt.task, transition });
    }

    fn is_me(&self, node: NodeId) -> bool {
        self.identity.is_some_and(|(me, _)| me == node)
    }

    /// The node's present identity and fencing token.
    pub fn identity(&self) -> Option<(NodeId, i64)> {
        self.identity
    }
    /// What the node knows.
    pub fn view(&self) -> &View {
        &self.view
    }
    /// Whether it has registered and seen the whole cluster.
    pub fn is_ready(&self) -> bool {
        self.identity.is_some_and(|(me, _)| self.view.nodes().contains_key(&me)) && self.synced.is_some()
    }
    /// Whether it has read the store since it started.
    pub fn is_synced(&self) -> bool {
        self.synced.is_some()
    }
    /// Attempts that this node holds.
    pub fn local(&self) -> &BTreeMap<TaskId, Local> {
        &self.local
    }
    /// What it has done.
    pub fn counters(&self) -> Counters {
        self.counters
    }
    /// The plan as this node sees it now (for `why` and for tests).
    pub fn plan(&self, now: BootMs) -> Plan {
        match self.identity {
            Some((me, _)) => crate::plan::plan(&self.view, &self.free(me), &self.exclusions(now)),
            None => Plan::default(),
        }
    }
}
