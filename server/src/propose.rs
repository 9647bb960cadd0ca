//! Brings transitions into the store: batched, guarded, and decided. Whatever happens to a reply, each proposal gets exactly one answer
//! that is truth: an unknown outcome is read back, never blindly repeated.
//!
//! Flow: proposals gather in the core's [`Batcher`]; a few batches are in flight; each batch reads the records it does not know,
//! applies the transitions, sends one transaction of nested ones, and settles what lost or stayed unknown.

mod settle;

use crate::seam::{self, ProposeError};
use async_trait::async_trait;
use settle::Settle;
use shoal_core::batch::{Batcher, GATHER_MS};
use shoal_core::id::{NodeId, TaskId};
use shoal_core::task::Task;
use shoal_core::transition::Transition;
use shoal_store::port::Store;
use shoal_store::record::Stored;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Proposals waiting to be taken up, all sources together; a source that finds it full waits.
const QUEUE_LEN: usize = 4096;
/// Beyond its deadline a proposal that is being decided has this long to say how that went.
const TURN_SLACK: Duration = Duration::from_millis(500);
/// Proposals gather for no longer than this.
const GATHER: Duration = Duration::from_millis(GATHER_MS);
/// A record's assumed size where only its proposal is known.
const BYTES_GUESS: usize = 2048;

/// The node's identity and the revision that created its key; `None` while it has none.
pub type IdentityWatch = watch::Receiver<Option<(NodeId, i64)>>;

/// A decision with the record it left behind.
#[derive(Clone, Debug)]
pub enum Settled {
    /// In the store, with these revisions.
    Committed(Box<Stored<Task>>),
    /// Never in the store.
    Refused {
        /// Why.
        why: shoal_core::transition::Illegal,
        /// The task as it is.
        current: Option<Box<Task>>,
    },
}

/// One proposal under way.
pub(crate) struct Proposal {
    pub(crate) task: TaskId,
    pub(crate) transition: Transition,
    /// The record as the proposer knows it; saves the read.
    pub(crate) known: Option<Box<Stored<Task>>>,
    /// Gives up then, with the outcome possibly unknown; `None` never does.
    pub(crate) deadline: Option<Instant>,
    pub(crate) reply: oneshot::Sender<Result<Settled, ProposeError>>,
}

/// What the proposer has done since the server started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Transactions sent.
    pub txns: AtomicU64,
    /// Moves in them.
    pub moves: AtomicU64,
    /// Moves that found somebody else first.
    pub lost: AtomicU64,
    /// Transactions whose outcome had to be read back.
    pub unknown: AtomicU64,
}

/// Hands proposals in. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    queue: mpsc::Sender<Proposal>,
    /// Shared with the running proposer.
    pub counters: Arc<Counters>,
}

impl Proposer {
    /// A proposer and the work that must run for it.
    pub fn new(
        store: Arc<dyn Store>,
        identity: IdentityWatch,
        stop: CancellationToken,
    ) -> (Proposer, impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (queue, inbox) = mpsc::channel(QUEUE_LEN);
        let counters = Arc::new(Counters::default());
        let settle = Settle { store, identity, counters: counters.clone() };
        (Proposer { queue, counters }, run(settle, inbox, stop))
    }

    /// Proposes and waits for the decision; for ever where there is no deadline.
    pub async fn settle(
        &self,
        task: TaskId,
        transition: Transition,
        known: Option<Box<Stored<Task>>>,
        deadline: Option<Instant>,
    ) -> Result<Settled, ProposeError> {
        let (reply, answer) = oneshot::channel();
        let proposal = Proposal { task, transition, known, deadline, reply };
        let decided = async {
            self.queue.send(proposal).await.map_err(|_| ProposeError::Stopping)?;
            answer.await.unwrap_or(Err(ProposeError::Stopping))
        };
        match deadline {
            None => decided.await,
            // Its turn may never come while the batches before it wait for a store that is away or full.
            Some(at) => tokio::time::timeout_at(at + TURN_SLACK, decided).await.unwrap_or_else(|_| {
                Err(ProposeError::Unavailable("no decision in time; it may yet be made".to_owned()))
            }),
        }
    }
}

/// How long an API call waits for its transition.
const API_PATIENCE: Duration = Duration::from_secs(8);

#[async_trait]
impl seam::Propose for Proposer {
    async fn propose(&self, task: TaskId, transition: Transition) -> Result<seam::Decision, ProposeError> {
        let deadline = Some(Instant::now() + API_PATIENCE);
        Ok(match self.settle(task, transition, None, deadline).await? {
            Settled::Committed(stored) => {
                seam::Decision::Committed { task: stored.value, revision: stored.mod_revision }
            }
            Settled::Refused { why, current } => {
                seam::Decision::Refused { why, current: current.map(|task| *task) }
            }
        })
    }
}

async fn run(
    settle: Settle,
    mut inbox: mpsc::Receiver<Proposal>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let settle = Arc::new(settle);
    let mut batcher = Batcher::default();
    let mut in_flight: JoinSet<Vec<TaskId>> = JoinSet::new();
    let mut taken = Vec::new();
    // When what waits has waited long enough.
    let mut hurry_at = Instant::now();
    loop {
        let mut returned = None;
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(done) = in_flight.join_next() => returned = Some(done?),
            count = inbox.recv_many(&mut taken, QUEUE_LEN) => if count == 0 { return Ok(()) },
            () = tokio::time::sleep_until(hurry_at), if batcher.can_hurry() => {}
        }
        // Those who propose together are a task each: let them all, or the first would leave alone and the others behind it.
        tokio::task::yield_now().await;
        while let Ok(proposal) = inbox.try_recv() {
            taken.push(proposal);
        }
        if let Some(tasks) = returned {
            batcher.returned(tasks);
        }
        if batcher.pending_len() == 0 {
            hurry_at = Instant::now() + GATHER;
        }
        for proposal in taken.drain(..) {
            batcher.push(proposal.task, BYTES_GUESS, proposal);
        }
        let hurry = hurry_at <= Instant::now();
        while let Some(batch) = if hurry { batcher.next_batch_now() } else { batcher.next_batch() } {
            hurry_at = Instant::now() + GATHER;
            let settle = settle.clone();
            let proposals = batch.into_iter().map(|(_, proposal)| proposal).collect();
            in_flight.spawn(async move { settle.batch(proposals).await });
        }
        if hurry {
            // What is left waits for moves of its own tasks; or no more may be in flight.
            hurry_at = Instant::now() + GATHER;
        }
    }
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
