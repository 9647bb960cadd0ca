//! What the API needs of the node: the seam between the gRPC service and the node loop.
//!
//! The API never sees the loop's state. It proposes transitions, asks for insight, and is told which task changed; everything
//! else it reads from the store.

use crate::durations::Durations;
use crate::logs::copies::Copies;
use async_trait::async_trait;
use shoal_core::amount::Amount;
use shoal_core::clock::Tick;
use shoal_core::drain::Drain;
use shoal_core::entry::NodeEntry;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::lock::LockEntry;
use shoal_core::place::Place;
use shoal_core::reserve::ReserveEntry;
use shoal_core::task::Task;
use shoal_core::time::WallMs;
use shoal_core::transition::{Illegal, Transition};
pub use shoal_core::why::Waiting;
use shoal_store::port::{Revision, Store};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// The node's present identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Of this lease's lifetime.
    pub id: NodeId,
    /// The same through all identities.
    pub name: String,
}

/// What became of a proposed transition. Either way it is durable truth, not a guess.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It was carried out.
    Committed {
        /// The task after it.
        task: Task,
        /// The revision that wrote it.
        revision: Revision,
    },
    /// The task's state does not allow it.
    Refused {
        /// Why not.
        why: Illegal,
        /// The task as it is; `None` where there is no such task.
        current: Option<Task>,
    },
}

/// Why no decision was reached.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProposeError {
    /// The store did not answer in time. The transition may or may not have been carried out.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The store takes no writes.
    #[error("store out of space")]
    NoSpace,
    /// The node is shutting down.
    #[error("node is stopping")]
    Stopping,
}

/// Proposes transitions of existing tasks: batched, read back when the outcome is unknown, decided.
#[async_trait]
pub trait Propose: Send + Sync {
    /// Proposes one transition and waits for the decision.
    async fn propose(&self, task: TaskId, transition: Transition) -> Result<Decision, ProposeError>;
}

/// One live node as the view has it.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Its present identity.
    pub id: NodeId,
    /// Its registration.
    pub entry: NodeEntry,
    /// What is not reserved by running tasks.
    pub free: Amount,
    /// How many tasks run there.
    pub running: u32,
    /// The lock that holds on it now.
    pub lock: Option<LockEntry>,
    /// It takes no tasks because it is kept for people.
    pub is_kept: bool,
}

/// Questions that the node loop answers from its view.
#[async_trait]
pub trait Insight: Send + Sync {
    /// The live nodes.
    async fn nodes(&self) -> Vec<NodeInfo>;
    /// Nodes that are not live and were a while ago, as each was registered.
    async fn absent(&self) -> Vec<NodeEntry> {
        Vec::new()
    }
    /// Why a task waits; `None` when the view does not have it in the queue.
    async fn why(&self, task: TaskId) -> Option<Waiting>;
    /// The cluster's clock; `None` before this node has read the store.
    async fn tick(&self) -> Option<Tick>;
    /// The lock that pauses the queue now.
    async fn pause(&self) -> Option<LockEntry>;
    /// How many nodes are kept for people, if any are.
    async fn reserve(&self) -> Option<ReserveEntry> {
        None
    }
    /// How far a locked node is from being empty.
    async fn drain(&self, _node: &str) -> Drain {
        Drain::Open
    }
    /// Where the first and the last task of the queue stand, this one left out.
    async fn ends_of_queue(&self, _without: TaskId) -> Option<(Place, Place)> {
        None
    }
    /// How far from this place those stand that somebody has moved to it, this one left out.
    async fn steps_beside(&self, _place: Place, _without: TaskId) -> Vec<i32> {
        Vec::new()
    }
    /// The revision of the view; changes with the view.
    fn folded(&self) -> watch::Receiver<Revision> {
        watch::channel(0).1
    }
    /// How many tasks wait.
    async fn queue_len(&self) -> u64;
    /// How many tasks run.
    async fn running_len(&self) -> u64;
    /// Ids of all tasks, ended ones too, whose short form (see `TaskId::short`) begins so, in lower case; three at most.
    async fn resolve(&self, short_prefix: &str) -> Vec<TaskId>;
    /// What an operator should know, in one sentence.
    fn warning(&self) -> Option<String>;
    /// Voters of the store: all, and healthy.
    fn voters(&self) -> (u32, u32);
    /// Who this node is at present.
    fn identity(&self) -> Identity;
}

/// A status key of this task changed. Broadcast for every such change that the node's watch delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskChanged {
    /// The task.
    pub task: TaskId,
    /// The revision of the change.
    pub revision: Revision,
}

/// Bounds on what the API accepts at once.
#[derive(Clone, Copy, Debug)]
pub struct ApiLimits {
    /// Submits are refused while this many tasks wait.
    pub queue_len_max: u64,
    /// Submit calls under way at once.
    pub submits_max: usize,
    /// Open connections on all listeners together.
    pub connections_max: usize,
}

impl Default for ApiLimits {
    fn default() -> ApiLimits {
        ApiLimits { queue_len_max: 1_000_000, submits_max: 256, connections_max: 1024 }
    }
}

/// Everything the API is made of.
pub struct Api {
    /// Reads, and the creation of tasks.
    pub store: Arc<dyn Store>,
    /// Changes of tasks.
    pub propose: Arc<dyn Propose>,
    /// The node's view.
    pub insight: Arc<dyn Insight>,
    /// This node's images, if it has any.
    pub images: Option<Arc<crate::images::Images>>,
    /// How long tasks take.
    pub durations: Arc<Durations>,
    /// Who wants to know of changes subscribes here.
    pub changes: broadcast::Sender<TaskChanged>,
    /// `DATA/attempts`: one directory for each attempt that ran here, its log inside.
    pub attempts_dir: PathBuf,
    /// Copies of other nodes' logs.
    pub copies: Arc<Copies>,
    /// The wall clock, for what people read.
    pub wall: fn() -> WallMs,
    /// Bounds.
    pub limits: ApiLimits,
    /// Ends streams and servers.
    pub shutdown: CancellationToken,
}
