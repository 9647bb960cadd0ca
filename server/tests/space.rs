//! Goal: a full store loses nothing, refuses submits in words, and works again when there is room, against the real etcd.

#![allow(clippy::unwrap_used)] // a test's helper may panic like the test itself

use shoal_core::id::{NodeId, TaskId};
use shoal_core::task::{Cancel, Exit, ExitHow, Task, TaskState};
use shoal_core::time::WallMs;
use shoal_core::transition::{Outcome, Transition};
use shoal_server::api::create::{Created, Creator};
use shoal_server::propose::{Proposer, Settled};
use shoal_server::seam::{Propose, ProposeError};
use shoal_server::space::{Looked, RETRY, Space};
use shoal_store::etcd::EtcdStore;
use shoal_store::key::Key;
use shoal_store::member::maintenance::{MemberStatus, nospace_alarms as alarms, status};
use shoal_store::member::{Member, MemberConfig, MemberUrl, Origin, Started};
use shoal_store::port::{Op, Store, StoreError, Txn};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Generous: two cores may be shared with everything else.
const DEADLINE: Duration = Duration::from_secs(60);
const QUOTA: u64 = 16 << 20;
const FILLER_BYTES: usize = 1 << 20;

/// The etcd under test: `SHOAL_ETCD`, else the one in `PATH`, else where `make` unpacks it.
fn etcd() -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/etcd");
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::var_os("SHOAL_ETCD").map(PathBuf::from).into_iter();
    let in_path = std::env::split_paths(&in_path).map(|dir| dir.join("etcd")).collect::<Vec<_>>();
    let mut candidates = candidates.chain(in_path).chain([unpacked]);
    candidates.find(|path| path.is_file()).expect("these tests need etcd: run `make`, or set SHOAL_ETCD")
}

/// A URL on a loopback address of this test's own.
fn fresh_url() -> MemberUrl {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (number, process) = (NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
    let address = format!("127.{}.{}.{}", 1 + process % 250, 1 + (process / 250) % 250, 1 + number % 250);
    let listener = TcpListener::bind((address.as_str(), 0)).expect("a loopback address has a free port");
    format!("http://{}", listener.local_addr().unwrap()).parse().unwrap()
}

/// Founds a cluster of so many members, each with its own data and quota.
async fn found(count: usize, dir: &Path, retention: Duration, quota_bytes: u64) -> Vec<Member> {
    let names: Vec<String> = (1..=count).map(|n| format!("n{n}")).collect();
    let urls: Vec<(MemberUrl, MemberUrl)> = names.iter().map(|_| (fresh_url(), fresh_url())).collect();
    let list: Vec<String> =
        names.iter().zip(&urls).map(|(name, (_, peer))| format!("{name}={peer}")).collect();
    let starts = names.iter().zip(&urls).map(|(name, (client, peer))| {
        let mut config = MemberConfig::new(name, dir.join(name), client.clone(), peer.clone());
        config.binary = Some(etcd());
        config.quota_bytes = quota_bytes;
        config.retention = retention;
        config.origin = Origin::Found(Some(list.join(",").parse().unwrap()));
        async move {
            let Started::Member(member) = Member::start(config).await.unwrap() else { panic!("no member") };
            member.wait_healthy(DEADLINE).await.unwrap();
            member
        }
    });
    futures::future::join_all(starts).await
}

async fn put(store: &EtcdStore, key: String, bytes: usize) -> Result<(), StoreError> {
    let put = Op::Put { key, value: vec![b'x'; bytes], lease: None };
    store.txn(Txn { then: vec![put], ..Txn::default() }).await.map(drop)
}

/// Fills the store with these keys in turn until it refuses and an alarm is raised. Returns how many may be in it: etcd looks at a size
/// that it updates when it commits, so they may be more than its quota holds.
async fn fill(store: &EtcdStore, url: &str, key: impl Fn(usize) -> String) -> usize {
    let (until, mut count) = (Instant::now() + DEADLINE, 0);
    loop {
        let answer = put(store, key(count), FILLER_BYTES).await;
        match &answer {
            Err(StoreError::NoSpace) => {
                if alarms(url).await.is_ok_and(|alarms| !alarms.is_empty()) {
                    return count;
                }
            }
            // On a loaded machine an answer may come too late.
            Ok(()) | Err(StoreError::Unknown(_)) => count += 1,
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("filler {count}: {error}"),
        }
        assert!(Instant::now() < until, "the store never fills: {count} fillers, the last one {answer:?}");
    }
}

/// Looks; trouble with etcd is tried again, as the server does.
async fn look(space: &mut Space, now: Instant) -> Looked {
    let until = Instant::now() + DEADLINE;
    loop {
        match timeout(DEADLINE, space.look(now)).await.expect("a look ends in time") {
            Ok(looked) => return looked,
            Err(error) => assert!(Instant::now() < until, "cannot look: {error}"),
        }
    }
}

/// A small member, and the task that looks after its room.
struct World {
    store: Arc<EtcdStore>,
    member: Member,
    url: String,
    space: Space,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(retention: Duration, etcd_quota_bytes: u64) -> World {
        let dir = tempfile::tempdir().unwrap();
        let member = found(1, dir.path(), retention, etcd_quota_bytes).await.pop().unwrap();
        let store = Arc::new(EtcdStore::connect(&member.endpoints()).await.unwrap());
        let space = Space::new(&member, QUOTA, CancellationToken::new());
        let url = member.client_url().to_string();
        World { store, member, url, space, _dir: dir }
    }

    async fn look(&mut self, now: Instant) -> Looked {
        look(&mut self.space, now).await
    }

    async fn fill(&self, key: impl Fn(usize) -> String) -> usize {
        fill(&self.store, &self.url, key).await
    }

    async fn submit(&self, n: u128) -> Created {
        let created = timeout(DEADLINE, Creator::new(self.store.clone()).create(vec![task(n)])).await;
        created.expect("a submit is answered in time").pop().unwrap()
    }

    /// A live node with its proposer.
    async fn node(&self, work: &mut JoinSet<anyhow::Result<()>>) -> (NodeId, Proposer) {
        let node = NodeId(Uuid::from_u128(77));
        let put = Op::Put { key: Key::Node(node).to_string(), value: b"{}".to_vec(), lease: None };
        let created = self.store.txn(Txn { then: vec![put], ..Txn::default() }).await.unwrap().revision;
        let (identity, seen) = watch::channel(Some((node, created)));
        let (proposer, running) = Proposer::new(self.store.clone(), seen, CancellationToken::new());
        work.spawn(async move {
            // The identity lasts as long as the proposer.
            let _identity = identity;
            running.await
        });
        (node, proposer)
    }
}

fn task(n: u128) -> Task {
    let spec = serde_json::from_value(serde_json::json!({
        "command": ["true"], "root": "default", "resources": {"cpu_milli": 1, "memory_bytes": 1},
        "pids_max": 1, "workdir": "/", "kill_grace_ms": 1, "max_attempts": 3,
    }));
    Task::new(TaskId(Uuid::from_u128(n)), spec.unwrap(), (0, 1), WallMs(0))
}

fn filler(n: usize) -> String {
    format!("/filler/{n}")
}

#[tokio::test]
async fn a_store_full_of_history_refuses_submits_then_takes_them_and_the_results_that_waited() {
    let mut world = World::new(MemberConfig::RETENTION, QUOTA).await;
    let mut work = JoinSet::new();
    let (node, proposer) = world.node(&mut work).await;
    let id = task(1).id;
    for n in [1, 2] {
        let created = world.submit(n).await;
        assert!(matches!(created, Created::New), "{created:?}");
    }
    let steal =
        Transition::Steal { node, node_name: "n".to_owned(), tick: Default::default(), members: Vec::new() };
    proposer.settle(id, steal, None, None).await.unwrap();
    assert_eq!(world.look(Instant::now()).await, Looked::Fine);

    world.fill(|_| filler(0)).await;
    let asked = Instant::now();
    let created = world.submit(3).await;
    assert!(matches!(created, Created::NoSpace), "{created:?}");
    assert!(asked.elapsed() < Duration::from_secs(1), "a submit was refused after {:?}", asked.elapsed());
    let cancel = Cancel { by: String::new(), reason: String::new(), at: WallMs(0) };
    let refused = proposer.propose(task(2).id, Transition::Cancel(cancel)).await;
    assert!(matches!(refused, Err(ProposeError::NoSpace)), "{refused:?}");
    let outcome = Outcome::Exited(Exit { how: ExitHow::Code(3), oom_killed: false });
    let finish = proposer.settle(id, Transition::Finish { node, attempt: 1, outcome }, None, None);
    tokio::pin!(finish);
    let early = futures::poll!(&mut finish);
    assert!(early.is_pending(), "{early:?}");

    let looked = world.look(Instant::now()).await;
    let Looked::Recovered(report) = looked else { panic!("{looked:?}") };
    assert!(report.alarms_disarmed == 1 && report.after_bytes < QUOTA / 2, "{report:?}");
    let settled = timeout(DEADLINE, finish).await.expect("the result is delivered").unwrap();
    let Settled::Committed(stored) = settled else { panic!("{settled:?}") };
    assert!(matches!(stored.value.state, TaskState::Complete { .. }), "{:?}", stored.value.state);
    let created = world.submit(3).await;
    assert!(matches!(created, Created::New), "{created:?}");
    let created = world.submit(2).await;
    assert!(matches!(created, Created::Exists(_)), "what was accepted is there: {created:?}");
    assert_eq!(world.look(Instant::now()).await, Looked::Fine);
    world.member.stop().await;
}

#[tokio::test]
async fn a_store_full_of_data_says_so_and_recovers_when_they_are_deleted() {
    let mut world = World::new(MemberConfig::RETENTION, QUOTA).await;
    let (now, until, mut count) = (Instant::now(), Instant::now() + DEADLINE, 0);
    let looked = loop {
        let from = count;
        count += world.fill(|n| filler(from + n)).await;
        match world.look(now).await {
            // Pages that are free in the file count too when etcd refuses: there was some room without any history.
            Looked::Recovered(report) => assert!(Instant::now() < until, "never full of data: {report:?}"),
            looked => break looked,
        }
    };
    assert!(
        matches!(looked, Looked::Full { tried: true, in_use_bytes } if in_use_bytes > QUOTA * 9 / 10),
        "{looked:?}"
    );
    // The attempt disarmed the alarm; what it left is soon full again.
    let from = count;
    count += world.fill(|n| filler(from + n)).await;
    let looked = world.look(now).await;
    assert!(matches!(looked, Looked::Full { tried: false, .. }), "not again at once: {looked:?}");
    for n in 0..count {
        let delete = Txn { then: vec![Op::Delete(filler(n))], ..Txn::default() };
        world.store.txn(delete).await.expect("deletes work in a full store");
    }
    let looked = world.look(now + RETRY).await;
    assert!(matches!(looked, Looked::Recovered(_)), "{looked:?}");
    let created = world.submit(1).await;
    assert!(matches!(created, Created::New), "{created:?}");
    world.member.stop().await;
}

#[tokio::test]
async fn a_large_file_with_little_in_it_is_defragmented_before_it_is_full() {
    // The file may grow past what is looked at as the quota here, so that the test need not stop short of it.
    let mut world = World::new(Duration::from_secs(1), QUOTA * 32).await;
    let until = Instant::now() + DEADLINE;
    loop {
        let size = status(&world.url).await.unwrap().db_size_bytes;
        if size * 100 >= QUOTA * 80 {
            break;
        }
        assert!(Instant::now() < until, "the file does not grow: {size} bytes");
        for _ in 0..20 {
            put(&world.store, filler(0), FILLER_BYTES).await.unwrap();
        }
    }
    // etcd's own compaction comes each second; what it freed shows with a later write.
    let looked = loop {
        put(&world.store, filler(0), 1).await.unwrap();
        match world.look(Instant::now()).await {
            Looked::Fine => {
                assert!(Instant::now() < until, "history was never dropped: {:?}", status(&world.url).await);
            }
            looked => break looked,
        }
    };
    let Looked::Defragmented { before_bytes, after_bytes } = looked else { panic!("{looked:?}") };
    // At least 80 % of the quota before, of which less than 50 % was in use.
    assert!(after_bytes < before_bytes * 3 / 4, "{after_bytes} of {before_bytes}");
    world.member.stop().await;
}

/// What a member said, and whether it led all the time while it looked; `None` where an election came between.
async fn look_of(space: &mut Space, url: &str) -> (Looked, Option<bool>) {
    let before = status(url).await;
    let looked = look(space, Instant::now()).await;
    let (Ok(before), Ok(after)) = (before, status(url).await) else { return (looked, None) };
    let same = (before.raft_term, before.leader_id) == (after.raft_term, after.leader_id);
    (looked, same.then(|| after.is_leader()))
}

#[tokio::test]
async fn of_three_members_the_leader_makes_room_on_all() {
    let dir = tempfile::tempdir().unwrap();
    let members = found(3, dir.path(), MemberConfig::RETENTION, QUOTA).await;
    for member in &members {
        let mut cluster = member.cluster();
        let all = timeout(DEADLINE, cluster.wait_for(|cluster| cluster.endpoints.len() == 3)).await;
        all.expect("each member learns of the others").unwrap();
    }
    let urls: Vec<String> = members.iter().map(|member| member.client_url().to_string()).collect();
    let mut spaces: Vec<Space> =
        members.iter().map(|member| Space::new(member, QUOTA, CancellationToken::new())).collect();
    let store = EtcdStore::connect(&members[0].endpoints()).await.unwrap();
    fill(&store, &urls[0], |_| filler(0)).await;

    // More than one round only where an election comes between, a member answers too late to be counted in, or one raises its alarm
    // after the others' were disarmed.
    let until = Instant::now() + DEADLINE;
    let (mut said, mut recovered) = (Vec::new(), 0);
    loop {
        for (space, url) in spaces.iter_mut().zip(&urls) {
            let (looked, led) = look_of(space, url).await;
            said.push((url, led, looked.clone()));
            let Looked::Recovered(report) = looked else { continue };
            recovered += 1;
            assert_ne!(led, Some(false), "only the leader makes room: {said:#?}");
            assert!(report.in_use_bytes < QUOTA / 2 && report.after_bytes < QUOTA, "{said:#?}");
        }
        let answer = put(&store, filler(0), 1).await;
        let after = futures::future::join_all(urls.iter().map(|url| status(url))).await;
        let small = |status: &MemberStatus| status.db_size_bytes < QUOTA / 2;
        if answer.is_ok() && after.iter().all(|status| status.as_ref().is_ok_and(small)) {
            break;
        }
        assert!(Instant::now() < until, "no room on all: {answer:?}, {after:#?} after {said:#?}");
    }
    assert!(recovered >= 1, "{said:#?}");
    futures::future::join_all(members.into_iter().map(Member::stop)).await;
}
