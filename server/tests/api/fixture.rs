//! Nodes to test with, and what the tests say often.

use crate::model::{Model, node_info, tell_changes};
use shoal_core::gang::Member;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::lock::{LockEntry, Lockable};
use shoal_core::task::{Exit, ExitHow, Task};
use shoal_core::time::WallMs;
use shoal_core::transition::{Outcome, Transition};
use shoal_proto::v1::{self, shoal_client::ShoalClient};
use shoal_server::api::listen::{Listener, check_listen};
use shoal_server::api::serve::{Health, serve};
use shoal_server::durations::Durations;
use shoal_server::durations::gather::Pace;
use shoal_server::logs::copies::Copies;
use shoal_server::seam::{Api, ApiLimits, Decision, Identity, NodeInfo, Propose, TaskChanged};
use shoal_store::fault::FaultyStore;
use shoal_store::key::Key;
use shoal_store::memory::MemoryStore;
use shoal_store::port::{Op, Store, Txn};
use shoal_store::record;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;
use uuid::Uuid;

/// For everything that a test waits for.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A cluster of nodes that share one store in memory.
pub struct Cluster {
    pub memory: MemoryStore,
    pub faults: Arc<FaultyStore<MemoryStore>>,
    pub nodes: Arc<Mutex<Vec<NodeInfo>>>,
}

/// One node's API, served on loopback.
pub struct Node {
    pub client: ShoalClient<Channel>,
    pub propose: Arc<Model>,
    pub durations: Arc<Durations>,
    pub changes: broadcast::Sender<TaskChanged>,
    pub id: NodeId,
    pub name: String,
    pub attempts_dir: PathBuf,
    pub shutdown: CancellationToken,
    /// The server has ended.
    pub stopped: CancellationToken,
    pub health: Health,
    pub channel: Channel,
    pub address: String,
    /// Abort it and the node's watch is silent.
    pub telling: AbortHandle,
    _directory: tempfile::TempDir,
    _running: JoinSet<()>,
}

impl Cluster {
    pub fn new() -> Cluster {
        let memory = MemoryStore::new();
        let faults = Arc::new(FaultyStore::new(Arc::new(memory.clone())));
        Cluster { memory, faults, nodes: Arc::default() }
    }

    /// Writes a lock as it stands here.
    pub async fn put(&self, what: Lockable, entry: &LockEntry) {
        let put = Op::Put { key: Key::Lock(what).to_string(), value: record::encode(entry), lease: None };
        let txn = Txn { compares: Vec::new(), then: vec![put], or_else: Vec::new() };
        self.memory.txn(txn).await.expect("the model writes");
    }

    /// Starts node number `id`, and lists it among the live ones.
    pub async fn node(&self, id: u128) -> Node {
        self.node_with(id, ApiLimits::default()).await
    }

    pub async fn node_with(&self, id: u128, limits: ApiLimits) -> Node {
        self.node_on(id, "127.0.0.1:0", limits).await
    }

    pub async fn node_on(&self, id: u128, listen: &str, limits: ApiLimits) -> Node {
        let directory = tempfile::tempdir().expect("a directory");
        let attempts_dir = directory.path().join("attempts");
        std::fs::create_dir(&attempts_dir).expect("a directory");
        let listen = check_listen(listen).expect("an address of this machine");
        let listener = Listener::bind(&listen).await.expect("a free address");
        let address = listener.address().expect("a bound address");
        let name = format!("n{id}");
        self.nodes.lock().expect("no panic").push(node_info(id, &name, &address));
        let identity = Identity { id: NodeId(Uuid::from_u128(id)), name: name.clone() };
        let propose =
            Arc::new(Model::new(Arc::new(self.memory.clone()), identity.clone(), self.nodes.clone()));
        let (changes, _) = broadcast::channel(1024);
        let (shutdown, stopped) = (CancellationToken::new(), CancellationToken::new());
        let copies = Copies::open(directory.path().join("log-copies"), 1 << 30).expect("a directory");
        let copies = Arc::new(copies);
        let (durations, learning) = Durations::new(self.faults.clone(), Pace::default(), shutdown.clone());
        let api = Api {
            store: self.faults.clone(),
            propose: propose.clone(),
            insight: propose.clone(),
            images: None,
            durations: durations.clone(),
            changes: changes.clone(),
            attempts_dir: attempts_dir.clone(),
            copies: copies.clone(),
            wall: || WallMs(1_000),
            limits,
            shutdown: shutdown.clone(),
        };
        let mut running = JoinSet::new();
        running.spawn(async { learning.await.expect("it only stops") });
        let telling = running.spawn(tell_changes(Arc::new(self.memory.clone()), changes.clone()));
        let health = Health::new().await;
        let (served, told) = (health.clone(), stopped.clone());
        running.spawn(async move {
            serve(Arc::new(api), vec![listener], served).await.expect("it serves");
            told.cancel();
        });
        let uri = if address.starts_with("unix:") { address.clone() } else { format!("http://{address}") };
        let channel = Endpoint::from_shared(uri).expect("an address").connect().await.expect("it listens");
        let client = ShoalClient::new(channel.clone());
        Node {
            client,
            propose,
            durations,
            changes,
            id: identity.id,
            name,
            attempts_dir,
            shutdown,
            stopped,
            health,
            channel,
            address,
            telling,
            _directory: directory,
            _running: running,
        }
    }
}

impl Node {
    pub async fn submit(&self, request: v1::SubmitRequest) -> Result<Vec<String>, Status> {
        Ok(self.client.clone().submit(request).await?.into_inner().ids)
    }

    /// Queues one task and returns its id.
    pub async fn queue(&self, spec: v1::TaskSpec) -> String {
        self.submit(request(vec![spec])).await.expect("it is accepted").remove(0)
    }

    pub async fn get(&self, task: &str) -> Result<v1::Task, Status> {
        let request = v1::GetRequest { task: task.to_owned() };
        Ok(self.client.clone().get(request).await?.into_inner().task.expect("a task"))
    }

    pub async fn cancel(&self, task: &str) -> Result<v1::Task, Status> {
        let request = v1::CancelRequest { task: task.to_owned(), reason: "why not".into(), by: "ann".into() };
        Ok(self.client.clone().cancel(request).await?.into_inner().task.expect("a task"))
    }

    /// This node takes the task.
    pub async fn steal(&self, task: &str) -> Task {
        self.change(
            task,
            Transition::Steal {
                node: self.id,
                node_name: self.name.clone(),
                tick: Default::default(),
                members: Vec::new(),
            },
        )
        .await
    }

    /// This node, as the first, and these others take the task of several nodes.
    pub async fn gather(&self, task: &str, others: &[&Node]) -> Task {
        let member = |node: &&Node| Member {
            node: node.id,
            node_name: node.name.clone(),
            address: "127.0.0.1".to_owned(),
            end: None,
        };
        let members = [&[self], others].concat().iter().map(member).collect();
        let (node, node_name) = (self.id, self.name.clone());
        self.change(task, Transition::Steal { node, node_name, tick: Default::default(), members }).await
    }

    /// The task's process on this node exits with this code.
    pub async fn finish(&self, task: &str, code: u8) -> Task {
        let outcome = Outcome::Exited(Exit { how: ExitHow::Code(code), oom_killed: false });
        let attempt = self.get(task).await.expect("it exists").attempts.len() as u32;
        self.change(task, Transition::Finish { node: self.id, attempt, outcome }).await
    }

    /// The task's node is lost.
    pub async fn lose(&self, task: &str, attempt: u32) -> Task {
        self.change(task, Transition::Lose { node: self.id, attempt }).await
    }

    async fn change(&self, task: &str, transition: Transition) -> Task {
        let id: TaskId = task.parse().expect("an id");
        match self.propose.propose(id, transition).await.expect("the model decides") {
            Decision::Committed { task, .. } => task,
            Decision::Refused { why, current } => panic!("refused: {why}: {current:?}"),
        }
    }
}

/// A task that passes every check.
pub fn spec(name: &str) -> v1::TaskSpec {
    v1::TaskSpec { command: vec!["true".into()], name: name.to_owned(), ..v1::TaskSpec::default() }
}

/// A submit with a request id of its own.
pub fn request(tasks: Vec<v1::TaskSpec>) -> v1::SubmitRequest {
    v1::SubmitRequest { request_id: Uuid::now_v7().to_string(), tasks, ..Default::default() }
}

/// The machine's word for an error.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Waits for `what`, and fails naming it when it does not come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(DEADLINE, future).await;
    waited.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for {what}"))
}
