//! Tasks of several nodes: each node of the plan keeps its room and says so (an *offer*), and when all have, one of them starts the task for all in one
//! transaction, guarded by every offer. So capacity is reserved before the start here as well, a node that is sick or frozen is never counted upon, and
//! no node has to trust what another's room looked like. An offer that the plan does not want any more is taken back; it ends with its node's lease anyhow.

use super::Node;
use super::local::{Grace, Local, Phase};
use crate::amount::Amount;
use crate::entry::OfferEntry;
use crate::event::{Action, Decision};
use crate::gang::Member;
use crate::id::{NodeId, TaskId};
use crate::plan::{Gathering, Plan};
use crate::time::BootMs;
use crate::transition::Transition;
use std::collections::{BTreeMap, BTreeSet};

/// A start that was refused (an offer had been taken back) is tried again after so long, if the plan still wants it.
const REFUSED_MS: u64 = 1_000;
/// Taking back an offer is asked for again after so long.
const WITHDRAW_AGAIN_MS: u64 = 5_000;

/// What is being gathered.
#[derive(Clone, Debug, Default)]
pub(super) struct Gather {
    /// All nodes of the task keep room for it: since when.
    complete: BTreeMap<TaskId, BootMs>,
    /// Not to be started before.
    refused: BTreeMap<TaskId, BootMs>,
    /// Offers that are being taken back: when to ask again.
    withdrawing: BTreeMap<TaskId, BootMs>,
    /// When to look again.
    next: Option<BootMs>,
}

impl Gather {
    /// It is not being gathered any more.
    pub(super) fn forget(&mut self, task: TaskId) {
        self.complete.remove(&task);
        self.refused.remove(&task);
        self.withdrawing.remove(&task);
    }

    pub(super) fn next_deadline(&self) -> Option<BootMs> {
        [self.next, self.withdrawing.values().min().copied(), self.refused.values().min().copied()]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Node {
    /// Offers what the plan wants of this node, takes back what it does not want any more, and starts what is complete.
    pub(super) fn gather(&mut self, me: NodeId, plan: &Plan, now: BootMs, actions: &mut Vec<Action>) {
        self.gather.next = None;
        self.gather.refused.retain(|_, until| *until > now);
        let wanted: BTreeSet<TaskId> =
            plan.gangs.iter().filter(|gang| gang.nodes.contains(&me)).map(|gang| gang.task).collect();
        self.withdraw_all_but(me, &wanted, now, actions);
        self.gather.complete.retain(|task, _| wanted.contains(task));
        for gang in plan.gangs.iter().filter(|gang| gang.nodes.contains(&me)) {
            match self.local.get(&gang.task).map(|local| local.phase) {
                None => self.offer(gang.task, me, actions),
                Some(Phase::Offering) => self.start_if_complete(gang, me, now, actions),
                Some(_) => {}
            }
        }
    }

    /// Takes back every offer but these.
    pub(super) fn withdraw_all_but(
        &mut self,
        me: NodeId,
        wanted: &BTreeSet<TaskId>,
        now: BootMs,
        actions: &mut Vec<Action>,
    ) {
        let offering = self.local.iter().filter(|(_, local)| local.phase == Phase::Offering);
        let gone: Vec<TaskId> =
            offering.map(|(task, _)| *task).filter(|task| !wanted.contains(task)).collect();
        for task in gone {
            if let Some(local) = self.local.get_mut(&task) {
                local.phase = Phase::Withdrawing;
            }
            self.gather.withdrawing.insert(task, now);
        }
        // Not before the offer has been answered: what is taken back first would come after.
        let answered = |task: &TaskId| self.local.get(task).is_none_or(|local| local.since < i64::MAX);
        let due = self.gather.withdrawing.iter_mut().filter(|(task, again)| **again <= now && answered(task));
        for (task, again) in due {
            *again = now.plus(WITHDRAW_AGAIN_MS);
            actions.push(Action::Withdraw { task: *task, node: me });
        }
    }

    fn offer(&mut self, task: TaskId, me: NodeId, actions: &mut Vec<Action>) {
        let Some((queued, created)) = self.view.queued(task).zip(self.view.gang_created(task)) else {
            return;
        };
        let Some(peer) = self.view.nodes().get(&me) else { return };
        let amount = self.view.shape(queued).amount_on(peer).clone();
        let local = Local {
            attempt: queued.attempt,
            amount: amount.clone(),
            end: None,
            phase: Phase::Offering,
            stop_sent: false,
            since: i64::MAX,
            grace: Grace::Unread,
        };
        let attempt = queued.attempt;
        self.local.insert(task, local);
        actions.push(Action::Offer { task, attempt, amount, created, node: me });
    }

    /// The lead starts it at once; each next member when those before it have not.
    fn start_if_complete(&mut self, gang: &Gathering, me: NodeId, now: BootMs, actions: &mut Vec<Action>) {
        let task = gang.task;
        let attempt = self.view.queued(task).map(|queued| queued.attempt);
        let offers = self.view.offers(task);
        let has_offered = |node: &NodeId| {
            offers.and_then(|offers| offers.get(node)).is_some_and(|offer| Some(offer.attempt) == attempt)
        };
        if !gang.nodes.iter().all(has_offered) {
            self.gather.complete.remove(&task);
            return;
        }
        let since = *self.gather.complete.entry(task).or_insert(now);
        let rank = gang.nodes.iter().position(|node| *node == me).unwrap_or(0) as u64;
        let turn = since.plus(rank * self.hedge.patience_ms());
        let at = self.gather.refused.get(&task).map_or(turn, |until| turn.max(*until));
        if at > now {
            self.gather.next = Some(self.gather.next.map_or(at, |next| next.min(at)));
            return;
        }
        let Some(members) = gang.nodes.iter().map(|node| self.member(*node)).collect::<Option<Vec<_>>>()
        else {
            return;
        };
        if let Some(local) = self.local.get_mut(&task) {
            local.phase = Phase::Gathered;
        }
        self.hedge.proposed(task, now);
        let (node, node_name) = (gang.nodes[0], members[0].node_name.clone());
        let tick = self.view.clock().0;
        let transition = Transition::Steal { node, node_name, tick, members };
        actions.push(Action::Propose { task, transition });
    }

    fn member(&self, node: NodeId) -> Option<Member> {
        let entry = &self.view.nodes().get(&node)?.entry;
        // The address of the API without its port; a node that is reached by a socket is on this machine.
        let host = entry.address.rsplit_once(':').map_or(entry.address.as_str(), |(host, _)| host);
        let address = if entry.address.starts_with("unix:") { "127.0.0.1" } else { host };
        Some(Member { node, node_name: entry.name.clone(), address: address.to_owned(), end: None })
    }

    /// What became of a start that this node proposed for all.
    pub(super) fn gang_decided(
        &mut self,
        me: NodeId,
        now: BootMs,
        task: TaskId,
        decision: Decision,
        actions: &mut Vec<Action>,
    ) {
        self.hedge.steal_decided(task, now);
        if !self.local.get(&task).is_some_and(|local| local.phase == Phase::Gathered) {
            return;
        }
        match decision {
            Decision::Committed { task: record, revision } if record.runs_on(me) => {
                self.counters.steals_won += 1;
                self.gather.complete.remove(&task);
                self.begin(*record, revision, actions);
                self.check_local(task, actions);
            }
            Decision::Committed { .. } | Decision::Refused { .. } => {
                self.counters.steals_lost += 1;
                let gone = self.view.offers(task).is_none_or(|offers| !offers.contains_key(&me));
                if let Some(local) = self.local.get_mut(&task) {
                    local.phase = Phase::Offering;
                    if gone && local.since <= self.view.revision {
                        self.local.remove(&task);
                    }
                }
                self.gather.refused.insert(task, now.plus(REFUSED_MS));
                self.check_local(task, actions);
            }
        }
    }

    /// The offer is in the store as of this revision.
    pub(super) fn offered(&mut self, task: TaskId, revision: i64) {
        if let Some(local) = self.local.get_mut(&task).filter(|local| local.phase.is_offer()) {
            local.since = local.since.min(revision);
        }
    }

    /// The store says that this node keeps room for that task. If it does not know (a server before this one asked for it), it does from now on, until
    /// the plan takes it back.
    pub(super) fn keep(&mut self, task: TaskId, offer: &OfferEntry, revision: i64) {
        self.local.entry(task).or_insert_with(|| Local {
            attempt: offer.attempt,
            amount: Amount { resources: offer.resources, counts: offer.counts.clone() },
            end: None,
            phase: Phase::Offering,
            stop_sent: false,
            since: revision,
            grace: Grace::Unread,
        });
        self.offered(task, revision);
    }

    /// There is no offer of this node for that task, and none is under way: unless it has started here, its room is free.
    pub(super) fn offer_gone(&mut self, task: TaskId, actions: &mut Vec<Action>) {
        self.gather.withdrawing.remove(&task);
        match self.local.get_mut(&task) {
            Some(local) if matches!(local.phase, Phase::Offering | Phase::Withdrawing) => {
                self.local.remove(&task);
                self.check_local(task, actions);
            }
            // This node has proposed the start (upon an offer before this one, which the view still had): its decision is about to come, and tells.
            Some(local) if local.phase == Phase::Gathered => local.since = 0,
            Some(_) | None => {}
        }
    }

    /// After a list: what it says of this node's offers is true, as far as these are older.
    pub(super) fn reconcile_offers(&mut self, me: NodeId, actions: &mut Vec<Action>) {
        let listed: BTreeMap<TaskId, OfferEntry> =
            self.view.offers_of(me).map(|(task, offer)| (task, offer.clone())).collect();
        let revision = self.view.revision;
        let lost = self.local.iter().filter(|(task, local)| {
            local.phase.is_offer() && local.since <= revision && !listed.contains_key(*task)
        });
        for task in lost.map(|(task, _)| *task).collect::<Vec<_>>() {
            self.offer_gone(task, actions);
        }
        for (task, offer) in &listed {
            self.keep(*task, offer, revision);
        }
    }
}
