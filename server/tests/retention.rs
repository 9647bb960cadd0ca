//! Goal: what ended before the retention goes, record, status key and log; nothing else ever does, whatever the store answers.

#![allow(clippy::unwrap_used)] // a test's helper may panic like the test itself

use async_trait::async_trait;
use shoal_container::record::AttemptDir;
use shoal_core::entry::{NodeEntry, NodeState};
use shoal_core::id::{AttemptId, NodeId, TaskId};
use shoal_core::resources::Resources;
use shoal_core::task::{Cancel, Exit, ExitHow, Task, TaskState};
use shoal_core::time::WallMs;
use shoal_server::logs::copies::Copies;
use shoal_server::logs::name::LogName;
use shoal_server::retention::attempts::{Attempts, ROUND_LEN};
use shoal_server::retention::tasks::{SLICE_LEN, Tasks};
use shoal_server::retention::{self, Retention};
use shoal_server::seam::{Identity, Insight, NodeInfo, Waiting};
use shoal_store::fault::{Call, Fault, FaultyStore};
use shoal_store::key::{self, Key};
use shoal_store::memory::MemoryStore;
use shoal_store::moves::{self, Guard, MOVES_MAX, Move};
use shoal_store::port::{
    KeyRange, KeyValue, LeaseId, ListOptions, Listing, Op, Revision, Store, StoreError, Txn, TxnReply, Watch,
    WatchItem,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const KEEP: Duration = Duration::from_secs(3600);
/// Now, in every test.
const NOW: WallMs = WallMs(1_800_000_000_000);

fn id(n: u128) -> TaskId {
    TaskId(Uuid::from_u128(n))
}

/// A task in its state; it ended so many seconds before now, if it has.
fn task(n: u128, state: TaskState, ended_s: i64) -> Task {
    let spec = serde_json::from_value(serde_json::json!({
        "command": ["true"], "root": "default", "resources": {"cpu_milli": 1, "memory_bytes": 1},
        "pids_max": 1, "workdir": "/", "kill_grace_ms": 1, "max_attempts": 3,
    }));
    let mut task = Task::new(id(n), spec.unwrap(), (0, 1), WallMs(0));
    task.ended = state.is_terminal().then_some(WallMs(NOW.0 - ended_s * 1000));
    task.state = state;
    task
}

fn complete() -> TaskState {
    TaskState::Complete { exit: Exit { how: ExitHow::Code(0), oom_killed: false } }
}

fn canceled() -> TaskState {
    TaskState::Canceled { cancel: Cancel { by: String::new(), reason: String::new(), at: WallMs(0) } }
}

async fn write(store: &dyn Store, tasks: impl IntoIterator<Item = Task>) {
    let all: Vec<Move> = tasks.into_iter().map(|new| Move { old: None, new, guard: Guard::None }).collect();
    for part in all.chunks(MOVES_MAX) {
        store.txn(moves::batch(part).unwrap()).await.unwrap();
    }
}

/// Tasks that have a record, and tasks that have a status key.
async fn left(store: &dyn Store) -> (Vec<TaskId>, Vec<TaskId>) {
    let ids = async |range| {
        let kvs = store.list(range, ListOptions::default()).await.unwrap().kvs;
        let mut ids: Vec<TaskId> = kvs.iter().filter_map(|kv| Key::parse(&kv.key).unwrap().task()).collect();
        ids.sort();
        ids
    };
    (ids(key::records()).await, ids(key::statuses()).await)
}

/// Slices until there is no more; how many were removed, and in how many slices.
async fn sweep(tasks: &mut Tasks) -> Result<(usize, usize), StoreError> {
    let (mut removed, mut slices) = (0, 0);
    loop {
        let slice = tasks.slice(NOW).await?;
        assert!(slice.removed <= SLICE_LEN);
        removed += slice.removed;
        slices += 1;
        assert!(slices < 100, "the sweep never ends");
        if !slice.more {
            return Ok((removed, slices));
        }
    }
}

#[tokio::test]
async fn what_ended_before_the_retention_goes_and_nothing_else() {
    let store = Arc::new(MemoryStore::new());
    let running = || TaskState::Running { node: NodeId(Uuid::nil()), cancel: None, verdict: None };
    let tasks = [
        task(1, complete(), 3601),
        task(2, complete(), 3600),
        task(3, canceled(), 9000),
        task(4, canceled(), 0),
        task(5, TaskState::Queued, 0),
        task(6, running(), 0),
        task(7, complete(), -50),
    ];
    write(&*store, tasks).await;
    let (removed, slices) = sweep(&mut Tasks::new(store.clone(), KEEP)).await.unwrap();
    assert_eq!((removed, slices), (2, 3), "one slice for each kind of end");
    let expect: Vec<TaskId> = [2, 4, 5, 6, 7].map(id).to_vec();
    assert_eq!(left(&*store).await, (expect.clone(), expect));
}

#[tokio::test]
async fn many_go_in_slices_even_while_the_store_is_full() {
    let store = Arc::new(MemoryStore::new());
    let count = SLICE_LEN as u128 * 5 / 2;
    write(&*store, (0..count).map(|n| task(n, complete(), 4000 + n as i64 % 7))).await;
    store.set_full(true);
    let (removed, slices) = sweep(&mut Tasks::new(store.clone(), KEEP)).await.unwrap();
    assert_eq!((removed as u128, slices), (count, 5));
    assert_eq!(left(&*store).await, (vec![], vec![]));
}

#[tokio::test]
async fn what_cannot_be_removed_does_not_stand_in_the_way_of_the_rest() {
    let store = Arc::new(MemoryStore::new());
    let count = SLICE_LEN as u128 + 50;
    write(&*store, (0..count).map(|n| task(n, complete(), 4000))).await;
    // Records that somebody wrote by hand: no longer what their status key was written with.
    for n in 0..SLICE_LEN as u128 {
        let put = Op::Put { key: Key::Task(id(n)).to_string(), value: b"{}".to_vec(), lease: None };
        store.txn(Txn { then: vec![put], ..Txn::default() }).await.unwrap();
    }
    let (removed, _) = sweep(&mut Tasks::new(store.clone(), KEEP)).await.unwrap();
    assert_eq!(removed, 50);
    assert_eq!(left(&*store).await.0.len(), SLICE_LEN);
}

#[tokio::test]
async fn a_lost_reply_or_a_store_that_is_away_costs_a_sweep_and_no_task() {
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
    write(&*store, (0..250).map(|n| task(n, complete(), 4000 - n as i64 % 2 * 1000))).await;
    let is_txn = |call: &Call<'_>| matches!(call, Call::Txn(_));
    let mut tasks = Tasks::new(store.clone(), KEEP);
    let lost = store.once(Fault::LoseReply, is_txn);
    let (removed, _) = sweep(&mut tasks).await.unwrap();
    lost.await.unwrap();
    assert_eq!(removed, 25, "those of the first transaction are not counted, but gone");
    for fault in [Fault::Unavailable, Fault::NotApplied] {
        let hit = store.once(fault, |call| matches!(call, Call::List(_)));
        assert!(sweep(&mut tasks).await.is_err());
        hit.await.unwrap();
    }
    assert_eq!(sweep(&mut tasks).await.unwrap().0, 0);
    let young: Vec<TaskId> = (0..250).filter(|n| n % 2 == 1).map(id).collect();
    assert_eq!(left(&*store).await, (young.clone(), young));
}

/// A store whose nearest replica has not heard of anything yet.
struct Lagging(MemoryStore);

#[async_trait]
impl Store for Lagging {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        self.0.get(key).await
    }
    async fn get_many_stale(&self, keys: &[String]) -> Result<Vec<Option<KeyValue>>, StoreError> {
        Ok(vec![None; keys.len()])
    }
    async fn list(&self, range: KeyRange, options: ListOptions) -> Result<Listing, StoreError> {
        self.0.list(range, options).await
    }
    async fn txn(&self, txn: Txn) -> Result<TxnReply, StoreError> {
        self.0.txn(txn).await
    }
    async fn watch(&self, ranges: Vec<KeyRange>, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.0.watch(ranges, from).await
    }
    async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
        self.0.lease_grant(ttl).await
    }
    async fn lease_renew(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.0.lease_renew(lease).await
    }
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.0.lease_revoke(lease).await
    }
}

/// Makes an attempt's directory with a log in it, as the runner leaves it. Returns the time since which it is so.
fn attempt(attempts: &Path, n: u128, done: bool) -> WallMs {
    let dir = AttemptDir::at(attempts, &format!("{}.1", id(n)));
    dir.create().unwrap();
    std::fs::write(dir.path().join("log"), "text").unwrap();
    drop(dir.open_status().unwrap());
    if done {
        dir.set_done(None).unwrap();
    }
    let modified = dir.path().metadata().unwrap().modified().unwrap();
    WallMs(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64)
}

fn names(attempts: &Path) -> Vec<TaskId> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let entries = std::fs::read_dir(attempts).unwrap().map(name);
    let mut tasks: Vec<TaskId> =
        entries.map(|name| name.split_once('.').unwrap().0.parse().unwrap()).collect();
    tasks.sort();
    tasks
}

#[tokio::test]
async fn an_old_log_goes_when_its_record_is_gone_and_the_runner_has_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new());
    write(&*store, [task(1, complete(), 0)]).await;
    attempt(dir.path(), 1, true);
    attempt(dir.path(), 2, false);
    let made = attempt(dir.path(), 3, true);
    let old = WallMs(made.0 + KEEP.as_millis() as i64 + 1);
    let mut attempts = Attempts::new(store, dir.path().to_owned(), KEEP);
    assert_eq!(attempts.round(old).await.unwrap(), 1);
    assert_eq!(names(dir.path()), [id(1), id(2)]);
    assert_eq!(attempts.round(old).await.unwrap(), 0);
}

#[tokio::test]
async fn a_young_log_goes_only_when_its_record_is_missed_twice_in_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new());
    let now = attempt(dir.path(), 1, true);
    let mut attempts = Attempts::new(store.clone(), dir.path().to_owned(), KEEP);
    assert_eq!(attempts.round(now).await.unwrap(), 0);
    // There again (a store restored from a backup, say): it counts from the start.
    write(&*store, [task(1, complete(), 0)]).await;
    assert_eq!(attempts.round(now).await.unwrap(), 0);
    let delete = Op::Delete(Key::Task(id(1)).to_string());
    store.txn(Txn { then: vec![delete], ..Txn::default() }).await.unwrap();
    assert_eq!(attempts.round(now).await.unwrap(), 0);
    assert_eq!(names(dir.path()), [id(1)]);
    assert_eq!(attempts.round(now).await.unwrap(), 1);
    assert!(names(dir.path()).is_empty());
}

#[tokio::test]
async fn a_replica_that_lags_behind_costs_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let memory = MemoryStore::new();
    write(&memory, [task(1, complete(), 0)]).await;
    let made = attempt(dir.path(), 1, true);
    let mut attempts = Attempts::new(Arc::new(Lagging(memory)), dir.path().to_owned(), KEEP);
    for _ in 0..3 {
        assert_eq!(attempts.round(WallMs(made.0 * 2)).await.unwrap(), 0);
    }
    assert_eq!(names(dir.path()), [id(1)]);
}

#[tokio::test]
async fn a_round_looks_at_a_bounded_number_and_all_go_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
    let count = ROUND_LEN * 2 + 100;
    let made = (0..count).map(|n| attempt(dir.path(), n as u128, true)).max().unwrap();
    let old = WallMs(made.0 + KEEP.as_millis() as i64 + 1);
    let mut attempts = Attempts::new(store.clone(), dir.path().to_owned(), KEEP);
    let away = store.once(Fault::Unavailable, |call| matches!(call, Call::GetMany(_)));
    assert!(attempts.round(old).await.is_err());
    away.await.unwrap();
    assert_eq!(names(dir.path()).len(), count, "nothing is removed while the store is away");
    let mut removed = 0;
    // What a round left to the next pass, and what the file system does not show while it is changed, takes a second pass.
    for _ in 0..8 {
        let now = attempts.round(old).await.unwrap();
        assert!(now <= ROUND_LEN);
        removed += now;
    }
    assert_eq!(removed, count);
    assert!(names(dir.path()).is_empty());
}

/// A node that lives, alone or with others.
struct Nodes {
    me: NodeId,
    all: Vec<NodeId>,
}

#[async_trait]
impl Insight for Nodes {
    async fn pause(&self) -> Option<shoal_core::lock::LockEntry> {
        None
    }
    async fn tick(&self) -> Option<shoal_core::clock::Tick> {
        Some(shoal_core::clock::Tick::default())
    }
    async fn nodes(&self) -> Vec<NodeInfo> {
        let resources = Resources::default();
        let entry = NodeEntry {
            name: String::new(),
            address: String::new(),
            resources,
            counts: Default::default(),
            roots: Vec::new(),
            offers: Default::default(),
            version: String::new(),
            state: NodeState::Ready,
            reason: String::new(),
            lock_seen: None,
            unenforced: Vec::new(),
            leases_trusted: true,
            voter: false,
            unknown: Default::default(),
        };
        let info = |id: &NodeId| NodeInfo {
            id: *id,
            entry: entry.clone(),
            free: resources.into(),
            running: 0,
            lock: None,
            is_kept: false,
        };
        self.all.iter().map(info).collect()
    }
    async fn why(&self, _: TaskId) -> Option<Waiting> {
        None
    }
    async fn queue_len(&self) -> u64 {
        0
    }
    async fn running_len(&self) -> u64 {
        0
    }
    async fn resolve(&self, _: &str) -> Vec<TaskId> {
        Vec::new()
    }
    fn warning(&self) -> Option<String> {
        None
    }
    fn voters(&self) -> (u32, u32) {
        (0, 0)
    }
    fn identity(&self) -> Identity {
        Identity { id: self.me, name: String::new() }
    }
}

#[tokio::test(start_paused = true)]
async fn it_runs_each_minute_until_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new());
    let me = NodeId(Uuid::from_u128(1));
    let stop = CancellationToken::new();
    let retention = Retention {
        store: store.clone(),
        insight: Arc::new(Nodes { me, all: vec![me] }),
        keep: KEEP,
        attempts_dir: PathBuf::from(dir.path()),
        copies: Arc::new(Copies::open(dir.path().join("copies"), 1 << 20).unwrap()),
        wall: || NOW,
        stop: stop.clone(),
    };
    let mut work = tokio::task::JoinSet::new();
    work.spawn(retention.run());
    for n in 0..3 {
        write(&*store, [task(n, complete(), 4000)]).await;
        let mut watch = store.watch(vec![key::records()], store.revision() + 1).await.unwrap();
        let gone = tokio::time::timeout(Duration::from_secs(90), async {
            while !matches!(watch.next().await, WatchItem::Changes { .. }) {}
        });
        gone.await.expect("a round comes each minute");
        assert!(left(&*store).await.0.is_empty());
    }
    stop.cancel();
    work.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_copy_of_a_log_goes_when_its_record_was_missed_twice_in_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new());
    write(&*store, [task(1, complete(), 4000)]).await;
    let logs = [(1, 0), (2, 0), (1, 2), (2, 2)]
        .map(|(n, rank)| LogName { attempt: AttemptId { task: id(n), number: 1 }, rank });
    for log in logs {
        std::fs::write(dir.path().join(log.to_string()), "a copy").unwrap();
    }
    std::fs::write(dir.path().join("somebody's"), "not ours").unwrap();
    let kept = Arc::new(Copies::open(dir.path().to_owned(), 1 << 20).unwrap());
    let mut pass = retention::copies::Copies::new(store, kept.clone());
    assert_eq!(pass.round().await.unwrap(), 0, "its record may still come");
    assert_eq!(pass.round().await.unwrap(), 2);
    assert_eq!(logs.map(|log| kept.path(log).exists()), [true, false, true, false], "members' too");
    assert!(dir.path().join("somebody's").exists());
}
