//! A client that writes what nodes write and nothing else: for each task the transactions of its steal and of its finish, without a plan, a view
//! or a runner. What it reaches is what the store can do; what nodes reach is held against it.

use super::cluster::Outcome;
use super::members::{Members, cpu_of};
use super::node::{Counts, followed};
use super::work;
use anyhow::{Context, Result, bail, ensure};
use shoal_core::batch::IN_FLIGHT_MAX;
use shoal_core::clock::Tick;
use shoal_core::entry::{NodeEntry, NodeState};
use shoal_core::id::NodeId;
use shoal_core::task::{Exit, ExitHow, Task};
use shoal_core::transition::{Outcome as End, Transition, apply};
use shoal_server::clock;
use shoal_store::etcd::EtcdStore;
use shoal_store::key::{self, Key};
use shoal_store::moves::{self, Guard, Move, MoveOutcome};
use shoal_store::port::{Change, KeyValue, Op, Revision, Store, Txn, Watch, WatchItem};
use shoal_store::record::{self, Stored};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use uuid::Uuid;

/// The client.
#[derive(Clone, Copy, Debug)]
pub struct Bare {
    /// Connections, each of which keeps as many batches in flight as a node does.
    pub connections: usize,
    /// Moves in a batch.
    pub batch: usize,
    /// Tasks in all.
    pub tasks: usize,
    /// Watchers of what nodes watch. With any, the time ends when the last of them has seen everything.
    pub watchers: usize,
    /// Whether it reads each record before it steals the task, as everybody must who did not write it.
    pub reads: bool,
    /// Takes longer only if something is wrong.
    pub limit: Duration,
}

/// Writes everything to an empty store, which it leaves empty.
pub async fn measure(members: &mut Members, bare: Bare) -> Result<Outcome> {
    let outcome = tokio::time::timeout(bare.limit, on_empty_store(members, bare)).await;
    members.wipe().await?;
    outcome.context("the bare client took too long")?
}

async fn on_empty_store(members: &Members, bare: Bare) -> Result<Outcome> {
    let first = EtcdStore::connect(&members.urls(0)).await?;
    let tasks = work::submit(&first, bare.tasks).await.context("submitting")?;
    let from = tasks.last().map_or(0, |stored| stored.mod_revision) + 1;
    let mut lanes = Vec::new();
    for (number, share) in tasks.chunks(tasks.len().div_ceil(bare.connections)).enumerate() {
        let store = Arc::new(EtcdStore::connect(&members.urls(number)).await?);
        let name = format!("n{number}");
        let (node, create_revision) = register(&*store, &name).await?;
        for part in share.chunks(share.len().div_ceil(IN_FLIGHT_MAX)) {
            let guard = Guard::OwnerAlive { node, create_revision };
            lanes.push(Lane {
                store: store.clone(),
                node,
                name: name.clone(),
                guard,
                tasks: part.to_vec(),
                reads: bare.reads,
            });
        }
    }
    let mut watches = Vec::new();
    for number in 0..bare.watchers {
        let store = EtcdStore::connect(&members.urls(number)).await?;
        watches.push((store.watch(followed(), from).await?, store));
    }
    let cpu = || (members.cpu(), cpu_of(std::process::id()));
    let (before, begin) = (cpu(), Instant::now());
    let mut seen = JoinSet::new();
    for (watch, store) in watches {
        seen.spawn(async move { see_all(watch, bare.tasks).await.map(|()| drop(store)) });
    }
    let mut work = JoinSet::new();
    for lane in lanes {
        work.spawn(lane.run(bare.batch));
    }
    let mut txns = 0;
    while let Some(done) = work.join_next().await {
        txns += done??;
    }
    while let Some(done) = seen.join_next().await {
        done??;
    }
    let (elapsed, after) = (begin.elapsed(), cpu());
    work::spans(&first, bare.tasks).await?;
    let (won, moves) = (bare.tasks as u64, 2 * bare.tasks as u64);
    let counts = Counts { won, lost: 0, txns, moves };
    let (etcd_cpu, own_cpu) = (after.0 - before.0, after.1 - before.1);
    Ok(Outcome { elapsed, counts, etcd_cpu, own_cpu, ..Outcome::default() })
}

/// A loop of batches: so many tasks are stolen, then the same are finished.
struct Lane {
    store: Arc<EtcdStore>,
    node: NodeId,
    name: String,
    guard: Guard,
    tasks: Vec<Stored<Task>>,
    reads: bool,
}

impl Lane {
    /// Returns how many transactions it took.
    async fn run(self, batch: usize) -> Result<u64> {
        let mut txns = 0;
        for tasks in self.tasks.chunks(batch.clamp(1, moves::MOVES_MAX)) {
            let steal = Transition::Steal {
                node: self.node,
                node_name: self.name.clone(),
                tick: Tick(0),
                members: Vec::new(),
            };
            let read = if self.reads { self.read(tasks).await? } else { tasks.to_vec() };
            let stolen = self.commit(&read, |_| steal.clone()).await?;
            let outcome = End::Exited(Exit { how: ExitHow::Code(0), oom_killed: false });
            let finish = |task: &Task| Transition::Finish {
                node: self.node,
                attempt: task.attempt,
                outcome: outcome.clone(),
            };
            self.commit(&stolen, finish).await?;
            txns += 2;
        }
        Ok(txns)
    }

    async fn read(&self, tasks: &[Stored<Task>]) -> Result<Vec<Stored<Task>>> {
        let keys: Vec<String> = tasks.iter().map(|stored| Key::Task(stored.value.id).to_string()).collect();
        let found = self.store.get_many_stale(&keys).await.context("reading records")?;
        let read = |kv: Option<KeyValue>| Ok(record::decode_kv::<Task>(&kv.context("a record is gone")?)?);
        found.into_iter().map(read).collect()
    }

    async fn commit(
        &self,
        tasks: &[Stored<Task>],
        transition: impl Fn(&Task) -> Transition,
    ) -> Result<Vec<Stored<Task>>> {
        let mut batch = Vec::with_capacity(tasks.len());
        for old in tasks {
            let new = apply(&old.value, &transition(&old.value), clock::wall())?;
            batch.push(Move { old: Some(old.clone()), new, guard: self.guard.clone() });
        }
        let reply = self.store.txn(moves::batch(&batch)?).await.context("a batch of moves")?;
        let outcomes = moves::read_batch(&batch, &reply)?;
        let mut written = Vec::with_capacity(batch.len());
        for (one, outcome) in batch.into_iter().zip(outcomes) {
            let MoveOutcome::Committed { revision } = outcome else {
                bail!("lost without a rival: {outcome:?}")
            };
            let create_revision = one.old.map_or(revision, |old| old.create_revision);
            written.push(Stored { value: one.new, create_revision, mod_revision: revision });
        }
        Ok(written)
    }
}

/// A node's key without a lease: it is looked at by the guards alone.
async fn register(store: &dyn Store, name: &str) -> Result<(NodeId, Revision)> {
    let node = NodeId(Uuid::now_v7());
    let entry = NodeEntry {
        name: name.to_owned(),
        address: "127.0.0.1:7400".to_owned(),
        resources: work::TASK,
        counts: Default::default(),
        roots: vec!["default".to_owned()],
        offers: Default::default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: NodeState::Ready,
        reason: String::new(),
        lock_seen: None,
        unenforced: Vec::new(),
        leases_trusted: true,
        voter: false,
        unknown: Default::default(),
    };
    let put = Op::Put { key: Key::Node(node).to_string(), value: record::encode(&entry), lease: None };
    let reply = store.txn(Txn { then: vec![put], ..Txn::default() }).await?;
    ensure!(reply.succeeded, "{name} is not registered");
    Ok((node, reply.revision))
}

/// Watches until so many tasks have ended: of each, two keys come and two go.
async fn see_all(mut watch: Box<dyn Watch>, tasks: usize) -> Result<()> {
    let mut left = 4 * tasks;
    while left > 0 {
        match watch.next().await {
            WatchItem::Changes { changes, .. } => {
                let of_tasks = changes.iter().filter(|change| is_status(change)).count();
                left = left.saturating_sub(of_tasks);
            }
            WatchItem::Progress(_) => {}
            WatchItem::Lost(lost) => bail!("a watcher: {lost}"),
        }
    }
    Ok(())
}

fn is_status(change: &Change) -> bool {
    let (Change::Put(KeyValue { key, .. }) | Change::Delete { key, .. }) = change;
    key::statuses().contains(key)
}
