//! A node loop for tests: proposes by the same moves as the real one, one at a time, and answers from the store.

use async_trait::async_trait;
use shoal_core::clock::Tick;
use shoal_core::drain::{self, Drain};
use shoal_core::entry::{NodeEntry, NodeState};
use shoal_core::features::Features;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::lock::{LockEntry, Lockable};
use shoal_core::place::Place;
use shoal_core::reserve::{ReserveEntry, kept_for_people};
use shoal_core::resources::Resources;
use shoal_core::spec::Unknown;
use shoal_core::time::{BootMs, WallMs};
use shoal_core::transition::{Transition, apply};
use shoal_core::view::{Fact, View};
use shoal_core::why::Waiting;
use shoal_server::facts;
use shoal_server::seam::{Decision, Identity, Insight, NodeInfo, Propose, ProposeError, TaskChanged};
use shoal_store::key::{self, Key};
use shoal_store::moves::{self, Guard, Move, MoveOutcome};
use shoal_store::port::{Change, KeyRange, ListOptions, Projection, Store, StoreError, WatchItem};
use shoal_store::record::decode_kv;
use std::sync::{Arc, Mutex};
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

/// What stands in for the node loop.
pub struct Model {
    store: Arc<dyn Store>,
    identity: Identity,
    nodes: Arc<Mutex<Vec<NodeInfo>>>,
    folded: watch::Sender<i64>,
}

impl Model {
    /// A node that knows the nodes of the list.
    pub fn new(store: Arc<dyn Store>, identity: Identity, nodes: Arc<Mutex<Vec<NodeInfo>>>) -> Model {
        // Its view is the store itself, so newer than any lock.
        Model { store, identity, nodes, folded: watch::channel(1 << 40).0 }
    }

    /// Tells that something has changed.
    pub fn tell(&self) {
        self.folded.send_modify(|revision| *revision += 1);
    }

    /// What a real node's view would be.
    async fn view(&self) -> View {
        let mut facts = vec![Fact::Clock { tick: TICK, revision: 1 }];
        let node = |node: &NodeInfo| Fact::NodeUp { node: node.id, entry: node.entry.clone(), created: 1 };
        facts.extend(self.nodes.lock().expect("no panic").iter().map(node));
        for range in [key::statuses(), key::locks(), key::reserve()] {
            let listing = self.store.list(range, ListOptions::default()).await.expect("the model lists");
            facts.extend(facts::snapshot(&listing.kvs, 1).facts);
        }
        let mut view = View::default();
        facts.iter().for_each(|fact| view.apply(fact, BootMs(0)));
        view
    }

    /// The lock that holds on it, as the real view has it.
    async fn lock(&self, what: Lockable) -> Option<LockEntry> {
        let (kv, _) = self.store.get(&Key::Lock(what).to_string()).await.expect("the model answers");
        let entry: LockEntry = decode_kv(&kv?).expect("our own record").value;
        Some(entry).filter(|entry| entry.holds(TICK))
    }

    async fn ids(&self, range: KeyRange) -> Vec<TaskId> {
        let options = ListOptions { projection: Projection::KeysOnly, ..ListOptions::default() };
        let listing = self.store.list(range, options).await.expect("the model lists");
        listing.kvs.iter().filter_map(|kv| Key::parse(&kv.key).ok()?.task()).collect()
    }
}

/// What the cluster's clock shows.
pub const TICK: Tick = Tick(77);

#[async_trait]
impl Propose for Model {
    async fn propose(&self, task: TaskId, transition: Transition) -> Result<Decision, ProposeError> {
        let failed = |error: StoreError| match error {
            StoreError::NoSpace => ProposeError::NoSpace,
            other => ProposeError::Unavailable(other.to_string()),
        };
        loop {
            let (kv, _) = self.store.get(&Key::Task(task).to_string()).await.map_err(failed)?;
            let Some(old) = kv.map(|kv| decode_kv(&kv).expect("our own record")) else {
                return Ok(Decision::Refused {
                    why: shoal_core::transition::Illegal::NotQueued,
                    current: None,
                });
            };
            let new = match apply(&old.value, &transition, WallMs(2_000)) {
                Ok(new) => new,
                Err(why) => return Ok(Decision::Refused { why, current: Some(old.value) }),
            };
            let one = [Move { old: Some(old), new: new.clone(), guard: Guard::None }];
            let reply = self.store.txn(moves::batch(&one).expect("one move")).await.map_err(failed)?;
            if let MoveOutcome::Committed { revision } =
                moves::read_batch(&one, &reply).expect("its reply")[0]
            {
                return Ok(Decision::Committed { task: new, revision });
            }
        }
    }
}

#[async_trait]
impl Insight for Model {
    async fn pause(&self) -> Option<LockEntry> {
        self.lock(Lockable::Queue).await
    }
    async fn tick(&self) -> Option<Tick> {
        Some(TICK)
    }
    async fn nodes(&self) -> Vec<NodeInfo> {
        let mut nodes = self.nodes.lock().expect("no panic").clone();
        let kept = kept_for_people(&self.view().await);
        for node in &mut nodes {
            node.is_kept = kept.contains(&node.id);
            node.lock = self.lock(Lockable::Node(node.entry.name.clone())).await;
        }
        nodes
    }
    async fn why(&self, task: TaskId) -> Option<Waiting> {
        let queued = self.ids(key::queued()).await;
        let ahead = queued.iter().position(|other| *other == task)? as u64;
        let reason = ("n1".to_owned(), "full".to_owned());
        Some(Waiting {
            summary: format!("{ahead} before it"),
            ahead,
            nodes: vec![reason],
            latest_s: None,
            guess: None,
        })
    }
    async fn reserve(&self) -> Option<ReserveEntry> {
        self.view().await.reserve().cloned()
    }
    async fn drain(&self, node: &str) -> Drain {
        drain::of(&self.view().await, node)
    }
    async fn ends_of_queue(&self, without: TaskId) -> Option<(Place, Place)> {
        let ends = self.view().await.ends_without(without);
        ends.map(|(first, last)| (first.place(), last.place()))
    }
    async fn steps_beside(&self, place: Place, without: TaskId) -> Vec<i32> {
        self.view().await.steps_beside(place, without)
    }
    fn folded(&self) -> watch::Receiver<i64> {
        self.folded.subscribe()
    }
    async fn queue_len(&self) -> u64 {
        self.ids(key::queued()).await.len() as u64
    }
    async fn running_len(&self) -> u64 {
        self.ids(key::running()).await.len() as u64
    }
    async fn resolve(&self, short_prefix: &str) -> Vec<TaskId> {
        let mut ids = self.ids(key::queued()).await;
        ids.extend(self.ids(key::running()).await);
        ids.into_iter().filter(|id| id.short().starts_with(short_prefix)).take(3).collect()
    }
    fn warning(&self) -> Option<String> {
        None
    }
    fn voters(&self) -> (u32, u32) {
        (1, 1)
    }
    fn identity(&self) -> Identity {
        self.identity.clone()
    }
}

/// A live node of eight cores, 8 GiB, the root `default` and the mount `data`.
pub fn node_info(id: u128, name: &str, address: &str) -> NodeInfo {
    let resources = Resources { cpu_milli: 8000, memory_bytes: 8 << 30 };
    let entry = NodeEntry {
        name: name.to_owned(),
        address: address.to_owned(),
        resources,
        counts: shoal_core::counts::Counts([("gpu".to_owned(), 2)].into()),
        roots: vec!["default".to_owned()],
        offers: Features {
            has: ["mount:data", "label:type=smithi", "gangs", "counts"].map(str::to_owned).into(),
            up_to: [("pids", 2048), ("open_files", 4096), ("log_bytes", 64 << 20)]
                .map(|(what, most)| (what.to_owned(), most))
                .into(),
        },
        version: "0".to_owned(),
        state: NodeState::Ready,
        reason: String::new(),
        lock_seen: None,
        unenforced: Vec::new(),
        leases_trusted: true,
        voter: true,
        unknown: Unknown::new(),
    };
    NodeInfo {
        id: NodeId(Uuid::from_u128(id)),
        entry,
        free: resources.into(),
        running: 0,
        lock: None,
        is_kept: false,
    }
}

/// Tells of changes of the status keys, as the real node's watch does.
pub async fn tell_changes(store: Arc<dyn Store>, changes: broadcast::Sender<TaskChanged>) {
    let mut watch = store.watch(vec![key::statuses()], 1).await.expect("the model watches");
    while let WatchItem::Changes { changes: told, .. } = next(&mut *watch).await {
        for change in told {
            let (key, revision) = match change {
                Change::Put(kv) => (kv.key, kv.mod_revision),
                Change::Delete { key, revision } => (key, revision),
            };
            let key = Key::parse(&key).expect("a status key");
            // Of what is deleted only this is news: a member has ended.
            if let Some(task) = key.task() {
                // Nobody need listen.
                let _ = changes.send(TaskChanged { task, revision });
            }
        }
    }
}

async fn next(watch: &mut dyn shoal_store::port::Watch) -> WatchItem {
    loop {
        match watch.next().await {
            WatchItem::Progress(_) => {}
            item @ (WatchItem::Changes { .. } | WatchItem::Lost(_)) => return item,
        }
    }
}
