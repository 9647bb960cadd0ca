//! Creates task records: the moves of all submits under way gather in one queue and leave in nested batches, a few in flight. There is
//! no timer and no task of its own: whoever has tasks in the queue sends batches until it is empty, others' tasks included.
//!
//! A creation is guarded by the record's absence. So when its outcome is unknown, proposing the same again is a read-back and a decision
//! in one transaction: it either creates the task now or shows the record that is there.

use shoal_core::task::Task;
use shoal_proto::convert::spec::stored_bytes;
use shoal_store::moves::{self, BATCH_BYTES_MAX, Guard, MOVES_MAX, Move, MoveOutcome, Stored};
use shoal_store::port::{Store, StoreError};
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc};

/// Batches in flight; a few are as fast as many (ETCD figures in docs/benchmarks.md) and leave room for the node's own moves.
const IN_FLIGHT_MAX: usize = 3;
/// What a record and its status key take beside the texts of the specification.
const RECORD_OVERHEAD_BYTES: usize = 2048;

/// What became of one creation.
#[derive(Debug)]
pub enum Created {
    /// The task is durable and new.
    New,
    /// A record is there already: of an earlier try, or of another request.
    Exists(Box<Stored<Task>>),
    /// Not decided: propose it again.
    Undecided(String),
    /// The store takes no writes.
    NoSpace,
    /// The store refused it for good.
    Refused(String),
}

struct Pending {
    creation: Move,
    bytes: usize,
    index: usize,
    reply: mpsc::UnboundedSender<(usize, Created)>,
}

/// Gathers and sends.
pub struct Creator {
    store: Arc<dyn Store>,
    queue: Mutex<VecDeque<Pending>>,
    in_flight: Semaphore,
}

impl Creator {
    /// Nothing is queued.
    pub fn new(store: Arc<dyn Store>) -> Creator {
        Creator { store, queue: Mutex::default(), in_flight: Semaphore::new(IN_FLIGHT_MAX) }
    }

    /// Creates the tasks, and says what became of each, in their order. Dropping it leaves undecided what has been sent.
    pub async fn create(&self, tasks: Vec<Task>) -> Vec<Created> {
        let undecided = || Created::Undecided("its batch was abandoned".to_owned());
        let mut outcomes: Vec<Created> = tasks.iter().map(|_| undecided()).collect();
        let batches = tasks.len().div_ceil(MOVES_MAX);
        let (reply, mut replies) = mpsc::unbounded_channel();
        self.queue().extend(tasks.into_iter().enumerate().map(|(index, task)| Pending {
            bytes: size_of(&task),
            creation: Move { old: None, new: task, guard: Guard::None },
            index,
            reply: reply.clone(),
        }));
        drop(reply);
        let senders = (0..batches.min(IN_FLIGHT_MAX)).map(|_| self.send_until_empty());
        futures::future::join_all(senders).await;
        // What is left is in flight in another submit's hands; should that be dropped, its replies close.
        while let Some((index, outcome)) = replies.recv().await {
            outcomes[index] = outcome;
        }
        outcomes
    }

    async fn send_until_empty(&self) {
        loop {
            let Ok(_permit) = self.in_flight.acquire().await else { return };
            let batch = take_batch(&mut self.queue());
            if batch.is_empty() {
                return;
            }
            self.send(batch).await;
        }
    }

    async fn send(&self, batch: Vec<Pending>) {
        let mut moves = Vec::with_capacity(batch.len());
        let mut replies = Vec::with_capacity(batch.len());
        for pending in batch {
            moves.push(pending.creation);
            replies.push((pending.index, pending.reply));
        }
        let outcomes = match self.commit(&moves).await {
            Ok(outcomes) => outcomes.into_iter().map(created).collect(),
            Err(failure) => moves.iter().map(|_| failure()).collect::<Vec<_>>(),
        };
        for ((index, reply), outcome) in replies.into_iter().zip(outcomes) {
            // A submit that has gone away does not wait for its answer.
            let _ = reply.send((index, outcome));
        }
    }

    async fn commit(
        &self,
        moves: &[Move],
    ) -> Result<Vec<MoveOutcome>, Box<dyn Fn() -> Created + Send + Sync>> {
        let refused = |why: String| -> Box<dyn Fn() -> Created + Send + Sync> {
            Box::new(move || Created::Refused(why.clone()))
        };
        let txn = moves::batch(moves).map_err(|error| refused(error.to_string()))?;
        match self.store.txn(txn).await {
            Ok(reply) => moves::read_batch(moves, &reply).map_err(|error| refused(error.to_string())),
            Err(StoreError::NoSpace) => Err(Box::new(|| Created::NoSpace)),
            Err(StoreError::Unknown(why) | StoreError::Unavailable(why)) => {
                Err(Box::new(move || Created::Undecided(why.clone())))
            }
            Err(
                error @ (StoreError::Compacted(_)
                | StoreError::LeaseNotFound
                | StoreError::TooLarge(_)
                | StoreError::Refused(_)),
            ) => Err(refused(error.to_string())),
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Pending>> {
        // Nothing that holds the lock can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many creations as one batch holds; a task's id once, because the store refuses two puts of one key in a transaction.
fn take_batch(queue: &mut VecDeque<Pending>) -> Vec<Pending> {
    let (mut seen, mut bytes, mut count) = (HashSet::new(), 0, 0);
    for next in queue.iter().take(MOVES_MAX) {
        bytes += next.bytes;
        if !seen.insert(next.creation.new.id) || (count > 0 && bytes > BATCH_BYTES_MAX) {
            break;
        }
        count += 1;
    }
    queue.drain(..count).collect()
}

/// An upper estimate of what a creation writes.
fn size_of(task: &Task) -> usize {
    let spec = &task.spec;
    let lines = [&spec.root, &spec.name, &spec.user, &spec.workdir];
    let env = spec.env.iter().flat_map(|(name, value)| [name, value]);
    let mounts = spec.mounts.iter().flat_map(|mount| [&mount.name, &mount.target]);
    let words = spec.command.iter().chain(env).chain(lines).chain(mounts);
    words.map(|word| stored_bytes(word)).sum::<usize>() + RECORD_OVERHEAD_BYTES
}

fn created(outcome: MoveOutcome) -> Created {
    match outcome {
        MoveOutcome::Committed { .. } => Created::New,
        MoveOutcome::Lost { current: Some(stored), .. } => Created::Exists(Box::new(stored)),
        MoveOutcome::Lost { current: None, .. } => Created::Undecided("record came and went".to_owned()),
    }
}
