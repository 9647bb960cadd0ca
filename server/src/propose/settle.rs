//! One batch of proposals from first read to last decision.

use super::{Counters, IdentityWatch, Proposal, Settled};
use crate::clock;
use crate::seam::ProposeError;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::task::Task;
use shoal_core::transition::{Illegal, Transition, apply};
use shoal_store::key::Key;
use shoal_store::moves::{self, Guard, Move, MoveOutcome, Verdict};
use shoal_store::port::{KeyValue, Store, StoreError};
use shoal_store::record::{self, Stored};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between tries while the store is unavailable: doubled each time, up to the highest.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);

pub(super) struct Settle {
    pub(super) store: Arc<dyn Store>,
    pub(super) identity: IdentityWatch,
    pub(super) counters: Arc<Counters>,
}

/// A proposal whose transition has been applied to the record it knows.
struct Ready {
    proposal: Proposal,
    one: Move,
    /// To be sent in a batch of its own: the one that it was in has been refused, maybe for another's sake.
    alone: bool,
}

/// Why a transition is not allowed, and the task as it is.
type Refusal = Box<(Illegal, Task)>;

/// What a step leaves to do for a proposal that is not decided.
enum Next {
    /// Apply to this record, read from the store.
    Fresh(Box<(Proposal, Option<Stored<Task>>)>),
    /// Send the same move again: nothing was done, or nothing was seen of it.
    Again(Box<Ready>),
}

impl Settle {
    /// Decides every proposal of the batch; returns its tasks.
    pub(super) async fn batch(&self, proposals: Vec<Proposal>) -> Vec<TaskId> {
        let tasks = proposals.iter().map(|p| p.task).collect();
        let mut ready: VecDeque<Ready> = VecDeque::new();
        for next in self.first_records(proposals).await {
            ready.extend(self.apply(next).await);
        }
        let mut pause = RETRY_MIN;
        while !ready.is_empty() {
            let (left, failed) = self.send(&mut ready).await;
            for next in left {
                match next {
                    Next::Again(again) => ready.extend(self.still_wanted(*again)),
                    Next::Fresh(fresh) => ready.extend(self.apply(*fresh).await),
                }
            }
            if failed {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            } else {
                pause = RETRY_MIN;
            }
        }
        tasks
    }

    /// The records to start from: known ones, else read from the nearest replica in one call. A stale record costs a lost move,
    /// whose reply brings the present one.
    async fn first_records(&self, proposals: Vec<Proposal>) -> Vec<(Proposal, Option<Stored<Task>>)> {
        let unknown: Vec<&Proposal> = proposals.iter().filter(|p| p.known.is_none()).collect();
        let keys: Vec<String> = unknown.iter().map(|p| Key::Task(p.task).to_string()).collect();
        let mut read = match keys.is_empty() {
            true => Vec::new(),
            false => self.store.get_many_stale(&keys).await.unwrap_or_default(),
        }
        .into_iter();
        let mut out = Vec::new();
        for mut proposal in proposals {
            let record = match proposal.known.take() {
                Some(known) => Some(*known),
                None => read.next().flatten().and_then(|kv| decode(&kv)),
            };
            out.push((proposal, record));
        }
        out
    }

    /// Applies the transition; a refusal by a record that may be stale is checked against the store's own word.
    async fn apply(&self, (proposal, record): (Proposal, Option<Stored<Task>>)) -> Option<Ready> {
        if expired(&proposal) {
            // Whoever asked has been told so, and may have decided otherwise since.
            let late = ProposeError::Unavailable("no decision in time".to_owned());
            let _ = proposal.reply.send(Err(late));
            return None;
        }
        let Some(guard) = self.guard(&proposal.transition) else {
            return refuse(proposal, Illegal::NotOwner, None);
        };
        let tried = record.map(|stored| Self::tried(&proposal, stored));
        if let Some(Ok((old, new))) = tried {
            return Some(Ready { proposal, one: Move { old: Some(old), new, guard }, alone: false });
        }
        match self.read_back(&proposal).await {
            Err(error) => {
                let _ = proposal.reply.send(Err(error));
                None
            }
            Ok(None) => refuse(proposal, Illegal::NotQueued, None),
            Ok(Some(stored)) => match Self::tried(&proposal, stored) {
                Ok((old, new)) => {
                    Some(Ready { proposal, one: Move { old: Some(old), new, guard }, alone: false })
                }
                Err(refused) => refuse(proposal, refused.0, Some(refused.1)),
            },
        }
    }

    /// The record and what the transition makes of it, or why not and the task as it is.
    fn tried(proposal: &Proposal, stored: Stored<Task>) -> Result<(Stored<Task>, Task), Refusal> {
        match apply(&stored.value, &proposal.transition, clock::wall()) {
            Ok(new) => Ok((stored, new)),
            Err(why) => Err(Box::new((why, stored.value))),
        }
    }

    /// The guard of a transition; `None` when this node has no right to it any more.
    fn guard(&self, transition: &Transition) -> Option<Guard> {
        let owner = |node: NodeId| {
            let (me, create_revision) = (*self.identity.borrow())?;
            (me == node).then_some(Guard::OwnerAlive { node, create_revision })
        };
        match transition {
            Transition::Cancel(_) | Transition::Adjust(_) => Some(Guard::None),
            // Any of the members may propose it for all; their offers end with their leases.
            Transition::Steal { members, .. } if !members.is_empty() => {
                let (me, _) = (*self.identity.borrow())?;
                let nodes: Vec<NodeId> = members.iter().map(|member| member.node).collect();
                nodes.contains(&me).then_some(Guard::AllOffer(nodes))
            }
            Transition::Steal { node, .. } | Transition::Finish { node, .. } => owner(*node),
            Transition::Lose { node, .. } => Some(Guard::NodeAbsent(*node)),
        }
    }

    /// Sends what fits one transaction. Returns what is not decided, and whether the store failed.
    async fn send(&self, ready: &mut VecDeque<Ready>) -> (Vec<Next>, bool) {
        let together = ready.iter().take_while(|r| !r.alone).count().max(1);
        let (txn, count) = moves::first_batch(ready.iter().take(together).map(|ready| &ready.one));
        let sent: Vec<Ready> = ready.drain(..count).collect();
        Counters::count(&self.counters.txns, 1);
        Counters::count(&self.counters.moves, count as u64);
        match self.store.txn(txn).await {
            Ok(reply) => match moves::read_batch(sent.iter().map(|ready| &ready.one), &reply) {
                Ok(outcomes) => (self.outcomes(sent, outcomes), false),
                Err(error) => (self.unknown(sent, &error.to_string()).await, true),
            },
            Err(StoreError::Unknown(why)) => {
                Counters::count(&self.counters.unknown, 1);
                (self.unknown(sent, &why).await, true)
            }
            Err(error) => (self.not_done(sent, &error), true),
        }
    }

    fn outcomes(&self, sent: Vec<Ready>, outcomes: Vec<MoveOutcome>) -> Vec<Next> {
        let mut left = Vec::new();
        for (ready, outcome) in sent.into_iter().zip(outcomes) {
            match outcome {
                MoveOutcome::Committed { revision } => {
                    let created = ready.one.old.as_ref().map_or(revision, |old| old.create_revision);
                    committed(ready, created, revision);
                }
                MoveOutcome::Lost { current, guard_held } => {
                    Counters::count(&self.counters.lost, 1);
                    left.extend(self.lost(ready, current, guard_held));
                }
            }
        }
        left
    }

    fn lost(&self, ready: Ready, current: Option<Stored<Task>>, guard_held: bool) -> Option<Next> {
        // A move that was sent twice after an unknown outcome may lose against itself.
        if let Verdict::Applied { revision, create_revision } =
            moves::verdict_after_unknown(&ready.one, current.clone())
        {
            committed(ready, create_revision, revision);
            return None;
        }
        if !guard_held {
            let current = current.map(|stored| stored.value);
            refuse(ready.proposal, Illegal::NotOwner, current);
            return None;
        }
        match &current {
            // From the store's own reply: a refusal needs no further read.
            Some(stored) => match apply(&stored.value, &ready.proposal.transition, clock::wall()) {
                Ok(_) => Some(Next::Fresh(Box::new((ready.proposal, current)))),
                Err(why) => {
                    let task = stored.value.clone();
                    refuse(ready.proposal, why, Some(task));
                    None
                }
            },
            None => {
                refuse(ready.proposal, Illegal::NotQueued, None);
                None
            }
        }
    }

    /// Reads every move of the batch back and decides it.
    async fn unknown(&self, sent: Vec<Ready>, why: &str) -> Vec<Next> {
        tracing::warn!(moves = sent.len(), why, "outcome unknown, reading back");
        let mut left = Vec::new();
        for ready in sent {
            let current = match self.read_back(&ready.proposal).await {
                Ok(current) => current,
                Err(error) => {
                    let _ = ready.proposal.reply.send(Err(error));
                    continue;
                }
            };
            match moves::verdict_after_unknown(&ready.one, current) {
                Verdict::Applied { revision, create_revision } => committed(ready, create_revision, revision),
                Verdict::NotApplied => left.push(Next::Again(Box::new(ready))),
                Verdict::Superseded(current) => left.push(Next::Fresh(Box::new((ready.proposal, current)))),
            }
        }
        left
    }

    /// The store did nothing: what cannot wait is told so, the rest tries again.
    fn not_done(&self, sent: Vec<Ready>, error: &StoreError) -> Vec<Next> {
        let mut left = Vec::new();
        let refused = matches!(error, StoreError::TooLarge(_) | StoreError::Refused(_));
        let alone = sent.len() == 1;
        for ready in sent {
            match &ready.proposal.transition {
                Transition::Steal { .. } => {
                    tracing::warn!(task = %ready.proposal.task, %error, "proposal given up");
                    refuse(ready.proposal, Illegal::NotQueued, None);
                    continue;
                }
                _ if refused && !alone => {
                    left.push(Next::Again(Box::new(Ready { alone: true, ..ready })));
                    continue;
                }
                _ if refused => {
                    // Whoever proposed it decides what then: a result must not be dropped, and must not stay here in others' way.
                    tracing::error!(task = %ready.proposal.task, %error, "proposal refused by the store");
                    let _ = ready.proposal.reply.send(Err(ProposeError::Unavailable(error.to_string())));
                    continue;
                }
                _ => {}
            }
            match error {
                StoreError::NoSpace if ready.proposal.deadline.is_some() => {
                    let _ = ready.proposal.reply.send(Err(ProposeError::NoSpace));
                }
                _ => left.push(Next::Again(Box::new(ready))),
            }
        }
        left
    }

    /// A move to be sent again, unless its right or its time has passed.
    fn still_wanted(&self, ready: Ready) -> Option<Ready> {
        if expired(&ready.proposal) {
            let late = ProposeError::Unavailable("no decision in time".to_owned());
            let _ = ready.proposal.reply.send(Err(late));
            return None;
        }
        match self.guard(&ready.proposal.transition) {
            Some(_) => Some(ready),
            None => refuse(ready.proposal, Illegal::NotOwner, None),
        }
    }

    /// The store's own word on the task, for as long as the proposal can wait.
    async fn read_back(&self, proposal: &Proposal) -> Result<Option<Stored<Task>>, ProposeError> {
        let key = Key::Task(proposal.task).to_string();
        let mut pause = RETRY_MIN;
        loop {
            match self.store.get(&key).await {
                Ok((kv, _)) => return Ok(kv.as_ref().and_then(decode)),
                Err(error) if expired(proposal) => return Err(ProposeError::Unavailable(error.to_string())),
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}

fn expired(proposal: &Proposal) -> bool {
    proposal.deadline.is_some_and(|deadline| deadline <= Instant::now())
}

fn committed(ready: Ready, create_revision: i64, mod_revision: i64) {
    let stored = Stored { value: ready.one.new, create_revision, mod_revision };
    let _ = ready.proposal.reply.send(Ok(Settled::Committed(Box::new(stored))));
}

fn refuse(proposal: Proposal, why: Illegal, current: Option<Task>) -> Option<Ready> {
    let _ = proposal.reply.send(Ok(Settled::Refused { why, current: current.map(Box::new) }));
    None
}

fn decode(kv: &KeyValue) -> Option<Stored<Task>> {
    match record::decode_kv(kv) {
        Ok(stored) => Some(stored),
        Err(error) => {
            tracing::error!(key = kv.key, %error, "record cannot be read");
            None
        }
    }
}
