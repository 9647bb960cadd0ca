//! Goal: what nodes learn of durations gets into the store in few writes, and whatever the store does costs nothing but what was to be learned.

#![allow(clippy::unwrap_used)] // a test may

use shoal_core::clock::Tick;
use shoal_core::duration::DurationEntry;
use shoal_server::durations::Durations;
use shoal_server::durations::gather::Pace;
use shoal_store::fault::{Call, Fault, FaultyStore};
use shoal_store::key::{self, Key};
use shoal_store::memory::MemoryStore;
use shoal_store::port::{Store, WatchItem};
use shoal_store::record;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
/// For tests of anything but the pace itself.
const QUICK: Pace = Pace { gather_ms: 20, name_ms: 20, write_ms: 20, names_max: 4 };

struct World {
    memory: MemoryStore,
    store: Arc<FaultyStore<MemoryStore>>,
    writes: Arc<AtomicUsize>,
    work: JoinSet<()>,
}

impl World {
    fn new() -> World {
        let memory = MemoryStore::new();
        let store = Arc::new(FaultyStore::new(Arc::new(memory.clone())));
        let writes = Arc::new(AtomicUsize::new(0));
        let counted = writes.clone();
        store.set_hook(move |call| {
            counted.fetch_add(usize::from(matches!(call, Call::Txn(_))), SeqCst);
            Fault::None
        });
        World { memory, store, writes, work: JoinSet::new() }
    }

    /// One node's; its watch brings nothing.
    fn durations(&mut self, pace: Pace) -> Arc<Durations> {
        let (durations, work) = Durations::new(self.store.clone(), pace, CancellationToken::new());
        self.work.spawn(async { work.await.unwrap() });
        durations
    }

    async fn entry(&self, name: &str) -> DurationEntry {
        let (kv, _) = self.memory.get(&Key::Duration(name.to_owned()).to_string()).await.unwrap();
        kv.map(|kv| record::decode_kv(&kv).unwrap().value).unwrap_or_default()
    }

    /// Waits until so many runs of the name are in the store.
    async fn entry_of(&self, name: &str, runs: u64) -> DurationEntry {
        let mut changes = self.memory.watch(vec![key::durations()], 1).await.unwrap();
        let wait = async {
            while self.entry(name).await.runs < runs {
                assert!(!matches!(changes.next().await, WatchItem::Lost(_)), "the test's own watch is lost");
            }
        };
        let came = tokio::time::timeout(PATIENCE, wait).await;
        let entry = self.entry(name).await;
        assert!(came.is_ok(), "waited {PATIENCE:?} for {runs} runs of {name:?}: {entry:?}");
        entry
    }

    /// Waits until so many transactions were tried.
    async fn tried(&self, count: usize) {
        let wait = async {
            while self.writes.load(SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "waited {PATIENCE:?} for a try");
    }
}

#[tokio::test]
async fn a_burst_of_a_thousand_ends_of_one_name_is_a_few_writes() {
    let mut world = World::new();
    let node = world.durations(Pace::default());
    for n in 0..1_000 {
        node.teach("unit tests", 7_000 + n % 3, Tick(n));
        tokio::task::yield_now().await;
    }
    let entry = world.entry_of("unit tests", 1_000).await;
    assert_eq!((entry.expected_s, entry.runs, entry.tick), (7, 1_000, Tick(999)));
    assert!(world.writes.load(SeqCst) <= 2, "{} writes", world.writes.load(SeqCst));
}

#[tokio::test]
async fn a_node_that_was_beaten_learns_on_top_of_what_it_finds() {
    let mut world = World::new();
    let nodes = [world.durations(QUICK), world.durations(QUICK), world.durations(QUICK)];
    for (node, seconds) in nodes.iter().zip([10, 20, 30]) {
        node.teach("a", seconds * 1_000, Tick(1));
        world.entry_of("a", seconds / 10).await;
    }
    let entry = world.entry("a").await;
    assert_eq!((entry.last_s, entry.expected_s), (vec![10, 20, 30], 20));
}

#[tokio::test]
async fn what_the_watch_brings_is_what_is_expected() {
    let mut world = World::new();
    let node = world.durations(QUICK);
    node.teach("a", 90_000, Tick(1));
    node.teach("", 90_000, Tick(1));
    world.entry_of("a", 1).await;
    assert_eq!(node.expected("a").seconds, 0, "its own write it sees by the watch, as all do");
    let kvs = world.memory.list(key::durations(), Default::default()).await.unwrap().kvs;
    assert_eq!(kvs.len(), 1, "tasks without a name teach nothing");
    node.reset(&kvs);
    assert_eq!((node.expected("a").seconds, node.expected("a").runs), (90, 1));
    node.reset(&[]);
    assert_eq!(node.expected("a").seconds, 0);
}

#[tokio::test]
async fn a_store_that_is_full_or_away_costs_what_was_to_be_learned_and_no_more() {
    let mut world = World::new();
    let node = world.durations(QUICK);
    world.memory.set_full(true);
    node.teach("a", 1_000, Tick(1));
    world.tried(1).await;
    world.memory.set_full(false);
    let away = world.store.once(Fault::Unavailable, |call| matches!(call, Call::Txn(_)));
    node.teach("b", 1_000, Tick(1));
    away.await.unwrap();
    node.teach("c", 1_000, Tick(1));
    world.entry_of("c", 1).await;
    assert_eq!((world.entry("a").await.runs, world.entry("b").await.runs), (0, 0));
}
