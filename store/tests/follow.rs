//! Following a store that fails: what is folded from a `Follow` is the state of the store, whatever happens on the way.

#![allow(clippy::unwrap_used)] // a test may

use proptest::prelude::*;
use shoal_store::fault::{Call, Fault, FaultyStore};
use shoal_store::list_watch::{BACKOFF_MAX, Follow, FollowItem};
use shoal_store::memory::MemoryStore;
use shoal_store::port::{Change, KeyRange, KeyValue, ListOptions, Op, Revision, Store, StoreError, Txn};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PREFIXES: [&str; 2] = ["/one/", "/two/"];

fn ranges() -> Vec<KeyRange> {
    PREFIXES.map(KeyRange::prefix).to_vec()
}

struct World {
    model: MemoryStore,
    store: Arc<FaultyStore<MemoryStore>>,
    follow: Follow,
    folded: BTreeMap<String, KeyValue>,
}

impl World {
    fn new() -> World {
        let model = MemoryStore::new();
        let store = Arc::new(FaultyStore::new(Arc::new(model.clone())));
        let follow = Follow::new(store.clone(), ranges());
        World { model, store, follow, folded: BTreeMap::new() }
    }

    async fn write(&self, op: Op) -> Revision {
        self.model.txn(Txn { then: vec![op], ..Txn::default() }).await.unwrap().revision
    }

    async fn put(&self, key: &str) -> Revision {
        let value = self.model.revision().to_string().into_bytes();
        self.write(Op::Put { key: key.to_owned(), value, lease: None }).await
    }

    /// The truth, where it is not compacted away.
    async fn list(&self, prefix: &str, revision: Revision) -> Option<Vec<KeyValue>> {
        let options = ListOptions { revision: Some(revision), ..ListOptions::default() };
        match self.model.list(KeyRange::prefix(prefix), options).await {
            Ok(listing) => Some(listing.kvs),
            Err(StoreError::Compacted(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn folded(&self, prefix: &str) -> Vec<KeyValue> {
        self.folded.values().filter(|kv| kv.key.starts_with(prefix)).cloned().collect()
    }

    async fn check(&self, prefix: &str, revision: Revision) {
        if let Some(truth) = self.list(prefix, revision).await {
            assert_eq!(self.folded(prefix), truth, "{prefix} at revision {revision}");
        }
    }

    /// Takes one item and folds it.
    async fn step(&mut self) -> FollowItem {
        let item = self.follow.next().await;
        match &item {
            FollowItem::Snapshot { kvs, revision } => {
                self.folded = kvs.iter().map(|kv| (kv.key.clone(), kv.clone())).collect();
                for prefix in PREFIXES {
                    self.check(prefix, *revision).await;
                }
            }
            FollowItem::Changes { changes, revision } => {
                let prefix = prefix_of(&changes[0]);
                for change in changes {
                    assert_eq!(prefix_of(change), prefix, "an item is of one range");
                    match change {
                        Change::Put(kv) => drop(self.folded.insert(kv.key.clone(), kv.clone())),
                        Change::Delete { key, .. } => drop(self.folded.remove(key)),
                    }
                }
                self.check(prefix, *revision).await;
            }
            FollowItem::Progress(_) | FollowItem::Interrupted(_) => {}
        }
        item
    }

    async fn step_until(&mut self, what: &str, done: impl Fn(&World, &FollowItem) -> bool) {
        let stepped = tokio::time::timeout(Duration::from_secs(600), async {
            loop {
                let item = self.step().await;
                if done(self, &item) {
                    return;
                }
            }
        });
        stepped.await.unwrap_or_else(|_| panic!("waited for {what}"));
    }

    async fn act(&mut self, action: &Action) {
        match action {
            Action::Put(key) => drop(self.put(key).await),
            Action::Delete(key) => drop(self.write(Op::Delete(key.clone())).await),
            // Compacting what is compacted already is refused, and that is fine here.
            Action::Compact => drop(self.model.compact(self.model.revision())),
            Action::CutWatches => self.store.cut_watches(),
            Action::FailLists => {
                drop(self.store.once(Fault::Unavailable, |call| matches!(call, Call::List(_))));
            }
            Action::FailWatch => {
                drop(self.store.once(Fault::Unavailable, |call| matches!(call, Call::Watch(_))));
            }
            Action::Progress => self.model.send_progress(),
            Action::Resync => self.follow.resync(),
            Action::Follow => {
                // What is there to be had; nothing may be there.
                let _ = tokio::time::timeout(Duration::from_millis(10), self.step()).await;
            }
        }
    }
}

fn prefix_of(change: &Change) -> &'static str {
    let key = match change {
        Change::Put(kv) => &kv.key,
        Change::Delete { key, .. } => key,
    };
    PREFIXES.into_iter().find(|prefix| key.starts_with(prefix)).expect("nothing outside of the ranges")
}

#[derive(Clone, Debug)]
enum Action {
    Put(String),
    Delete(String),
    Compact,
    CutWatches,
    FailLists,
    FailWatch,
    Progress,
    Resync,
    Follow,
}

fn action() -> impl Strategy<Value = Action> {
    let key = || "/(one|two|other)/[a-d]";
    prop_oneof![
        6 => key().prop_map(Action::Put),
        3 => key().prop_map(Action::Delete),
        2 => Just(Action::Compact),
        1 => Just(Action::CutWatches),
        1 => Just(Action::FailLists),
        1 => Just(Action::FailWatch),
        1 => Just(Action::Progress),
        1 => Just(Action::Resync),
        6 => Just(Action::Follow),
    ]
}

fn paused_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

proptest! {
    #[test]
    fn the_folded_state_is_the_listed_state_at_each_step(actions in prop::collection::vec(action(), 0..120)) {
        paused_runtime().block_on(async {
            let mut world = World::new();
            for action in &actions {
                world.act(action).await;
            }
            let last = [world.put("/one/end").await, world.put("/two/end").await];
            world.step_until("the last changes", |world, _| {
                PREFIXES.iter().zip(last).all(|(prefix, revision)| {
                    world.folded.get(&format!("{prefix}end")).is_some_and(|kv| kv.mod_revision == revision)
                })
            })
            .await;
            for prefix in PREFIXES {
                let truth = world.list(prefix, world.model.revision()).await.expect("nothing newer to compact");
                assert_eq!(world.folded(prefix), truth);
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_asked_with_growing_pauses_and_found_again() {
    let mut world = World::new();
    world.store.set_hook(|call| match call {
        Call::List(_) => Fault::Unavailable,
        _ => Fault::None,
    });
    let begin = tokio::time::Instant::now();
    for _ in 0..20 {
        assert!(matches!(world.step().await, FollowItem::Interrupted(_)));
    }
    let took = begin.elapsed();
    assert!(took > BACKOFF_MAX * 10 && took < BACKOFF_MAX * 20, "20 tries took {took:?}");
    world.store.clear();
    let begin = tokio::time::Instant::now();
    assert!(matches!(world.step().await, FollowItem::Snapshot { .. }));
    assert!(begin.elapsed() <= BACKOFF_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_drops_next_again_and_again_still_gets_its_snapshot() {
    let mut world = World::new();
    world.store.set_hook(|call| match call {
        Call::List(_) => Fault::Delay(Duration::from_secs(1)),
        _ => Fault::None,
    });
    let mut drops = 0;
    loop {
        tokio::select! {
            biased;
            item = world.follow.next() => {
                assert!(matches!(item, FollowItem::Snapshot { .. }), "{item:?}");
                break;
            }
            () = tokio::time::sleep(Duration::from_millis(10)) => drops += 1,
        }
        assert!(drops < 1_000, "each drop began the list anew");
    }
    assert!(drops > 100);
}

#[tokio::test(start_paused = true)]
async fn a_lost_watch_is_told_and_followed_by_a_snapshot_with_what_was_missed() {
    let mut world = World::new();
    world.put("/one/a").await;
    world.step().await;
    world.store.cut_watches();
    world.write(Op::Delete("/one/a".to_owned())).await;
    world.model.compact(world.model.revision()).unwrap();
    assert!(matches!(world.step().await, FollowItem::Interrupted(_)));
    assert!(matches!(world.step().await, FollowItem::Snapshot { .. }));
    assert_eq!(world.folded("/one/"), []);
}

#[tokio::test(start_paused = true)]
async fn a_resync_gives_a_fresh_snapshot_and_goes_on() {
    let mut world = World::new();
    world.step().await;
    let put = world.put("/one/a").await;
    world.follow.resync();
    match world.step().await {
        FollowItem::Snapshot { revision, kvs } => assert_eq!((revision, kvs.len()), (put, 1)),
        other => panic!("{other:?}"),
    }
    world.put("/two/a").await;
    assert!(matches!(world.step().await, FollowItem::Changes { .. }));
}
