//! Goal: whatever happens to a reply, each proposal is decided exactly once and the decision is what the store holds.

use shoal_core::id::{NodeId, TaskId};
use shoal_core::spec::TaskSpec;
use shoal_core::task::{Cancel, Exit, ExitHow, Task, TaskState};
use shoal_core::time::WallMs;
use shoal_core::transition::{Illegal, Outcome, Transition};
use shoal_server::propose::{Proposer, Settled};
use shoal_server::seam::ProposeError;
use shoal_store::fault::{Call, Fault, FaultyStore};
use shoal_store::key::Key;
use shoal_store::memory::MemoryStore;
use shoal_store::moves::{Guard, Move};
use shoal_store::port::{Op, Store, Txn};
use shoal_store::record;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

struct World {
    faulty: Arc<FaultyStore<MemoryStore>>,
    proposer: Proposer,
    node: NodeId,
    identity: watch::Sender<Option<(NodeId, i64)>>,
    _work: JoinSet<anyhow::Result<()>>,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl World {
    async fn new() -> World {
        let faulty = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
        let node = NodeId(Uuid::from_u128(77));
        let key = Key::Node(node).to_string();
        let put = Op::Put { key, value: b"{}".to_vec(), lease: None };
        let created =
            faulty.txn(Txn { then: vec![put], ..Txn::default() }).await.expect("the model answers").revision;
        let (identity, seen) = watch::channel(Some((node, created)));
        let (proposer, work) = Proposer::new(faulty.clone(), seen, CancellationToken::new());
        let mut set = JoinSet::new();
        set.spawn(work);
        World { faulty, proposer, node, identity, _work: set }
    }

    async fn submit(&self, n: u128) -> TaskId {
        let spec: TaskSpec = serde_json::from_value(serde_json::json!({
            "command": ["true"], "root": "default", "resources": {"cpu_milli": 100, "memory_bytes": 1},
            "pids_max": 1, "workdir": "/work", "kill_grace_ms": 1, "max_attempts": 3,
        }))
        .expect("a complete specification");
        let task = Task::new(TaskId(Uuid::from_u128(n)), spec, (0, 1), WallMs(0));
        let submit = Move { old: None, new: task.clone(), guard: Guard::None };
        assert!(self.faulty.txn(submit.to_txn()).await.expect("the model answers").succeeded);
        task.id
    }

    async fn propose(&self, task: TaskId, transition: Transition) -> Settled {
        let settled = self.proposer.settle(task, transition, None, None);
        tokio::time::timeout(PATIENCE, settled).await.expect("no decision in time").expect("not stopping")
    }

    fn steal(&self) -> Transition {
        Transition::Steal {
            node: self.node,
            node_name: "n".to_owned(),
            tick: Default::default(),
            members: Vec::new(),
        }
    }

    fn finish(&self, code: u8) -> Transition {
        let outcome = Outcome::Exited(Exit { how: ExitHow::Code(code), oom_killed: false });
        Transition::Finish { node: self.node, attempt: 1, outcome }
    }

    async fn stored(&self, task: TaskId) -> Task {
        let (kv, _) = self.faulty.get(&Key::Task(task).to_string()).await.expect("the model answers");
        record::decode_kv(&kv.expect("it was submitted")).expect("it can be read").value
    }
}

fn is_txn(call: &Call<'_>) -> bool {
    matches!(call, Call::Txn(_))
}

fn committed(settled: &Settled) -> &Task {
    match settled {
        Settled::Committed(stored) => &stored.value,
        Settled::Refused { why, .. } => panic!("refused: {why}"),
    }
}

fn cancel() -> Transition {
    Transition::Cancel(Cancel { by: "ann".to_owned(), reason: "enough".to_owned(), at: WallMs(1) })
}

#[tokio::test]
async fn a_lost_reply_to_a_steal_is_read_back_and_won() {
    let world = World::new().await;
    let task = world.submit(1).await;
    let fired = world.faulty.once(Fault::LoseReply, is_txn);
    let settled = world.propose(task, world.steal()).await;
    fired.await.expect("the fault happened");
    assert_eq!(committed(&settled).node(), Some(world.node));
    assert_eq!(world.stored(task).await, *committed(&settled));
}

#[tokio::test]
async fn a_steal_that_was_not_applied_is_proposed_again_and_taken_once() {
    let world = World::new().await;
    let task = world.submit(1).await;
    let fired = world.faulty.once(Fault::NotApplied, is_txn);
    let settled = world.propose(task, world.steal()).await;
    fired.await.expect("the fault happened");
    assert_eq!(committed(&settled).attempts.len(), 1);
    assert_eq!(world.stored(task).await.attempts.len(), 1);
}

#[tokio::test]
async fn a_lost_reply_to_a_finish_completes_once() {
    let world = World::new().await;
    let task = world.submit(1).await;
    world.propose(task, world.steal()).await;
    let fired = world.faulty.once(Fault::LoseReply, is_txn);
    let settled = world.propose(task, world.finish(3)).await;
    fired.await.expect("the fault happened");
    assert!(matches!(committed(&settled).state, TaskState::Complete { .. }));
}

#[tokio::test]
async fn a_finish_waits_for_a_store_that_is_away() {
    let world = World::new().await;
    let task = world.submit(1).await;
    world.propose(task, world.steal()).await;
    let mut left = 5;
    world.faulty.set_hook(move |_| match left {
        0 => Fault::None,
        _ => {
            left -= 1;
            Fault::Unavailable
        }
    });
    let settled = world.propose(task, world.finish(0)).await;
    assert!(matches!(committed(&settled).state, TaskState::Complete { .. }));
}

#[tokio::test]
async fn a_cancel_between_steal_and_finish_wins() {
    let world = World::new().await;
    let task = world.submit(1).await;
    let stolen = world.propose(task, world.steal()).await;
    let Settled::Committed(known) = stolen else { panic!("refused") };
    world.propose(task, cancel()).await;
    // The node still knows the record of its steal: its first try must lose and be applied anew to what stands now.
    let finish =
        world.proposer.settle(task, world.finish(0), Some(known), None).await.expect("the model answers");
    assert!(matches!(committed(&finish).state, TaskState::Canceled { .. }));
}

#[tokio::test]
async fn a_late_result_is_refused() {
    let world = World::new().await;
    let task = world.submit(1).await;
    world.propose(task, world.steal()).await;
    let key = Key::Node(world.node).to_string();
    world.faulty.txn(Txn { then: vec![Op::Delete(key)], ..Txn::default() }).await.expect("the model answers");
    world.propose(task, Transition::Lose { node: world.node, attempt: 1 }).await;
    match world.propose(task, world.finish(0)).await {
        Settled::Refused { why, current } => {
            assert_eq!(why, Illegal::NotOwner);
            assert_eq!(current.map(|task| task.attempt), Some(2));
        }
        Settled::Committed(_) => panic!("a late result was accepted"),
    }
}

#[tokio::test]
async fn a_living_nodes_task_is_not_requeued() {
    let world = World::new().await;
    let task = world.submit(1).await;
    world.propose(task, world.steal()).await;
    let settled = world.propose(task, Transition::Lose { node: world.node, attempt: 1 }).await;
    assert!(matches!(settled, Settled::Refused { .. }));
    assert_eq!(world.stored(task).await.attempt, 1);
}

#[tokio::test]
async fn nothing_is_proposed_under_a_lost_identity() {
    let world = World::new().await;
    let task = world.submit(1).await;
    world.identity.send_replace(None);
    assert!(matches!(world.propose(task, world.steal()).await, Settled::Refused { .. }));
    assert_eq!(world.stored(task).await.state, TaskState::Queued);
}

#[tokio::test]
async fn many_proposals_share_few_transactions() {
    let world = World::new().await;
    let mut tasks = Vec::new();
    for n in 1..=200 {
        tasks.push(world.submit(n).await);
    }
    let steals = tasks.iter().map(|task| world.propose(*task, world.steal()));
    let settled = futures::future::join_all(steals).await;
    assert!(settled.iter().all(|s| matches!(s, Settled::Committed(_))));
    let txns = world.proposer.counters.txns.load(std::sync::atomic::Ordering::Relaxed);
    assert!(txns <= 20, "{txns} transactions for 200 moves");
}

#[tokio::test]
async fn a_call_with_a_deadline_is_answered_though_every_batch_waits_for_a_store_that_is_full() {
    let world = World::new().await;
    let mut waiting = JoinSet::new();
    // As many results as may be in flight, each in a batch of its own, and one more.
    for n in 1..=4 {
        let task = world.submit(n).await;
        world.propose(task, world.steal()).await;
    }
    world.faulty.set_hook(|call| if is_txn(call) { Fault::Unavailable } else { Fault::None });
    for n in 1..=4 {
        let (proposer, finish) = (world.proposer.clone(), world.finish(0));
        waiting.spawn(async move { proposer.settle(TaskId(Uuid::from_u128(n)), finish, None, None).await });
        let before = world.proposer.counters.txns.load(std::sync::atomic::Ordering::Relaxed);
        let sent = || world.proposer.counters.txns.load(std::sync::atomic::Ordering::Relaxed) > before;
        while n < 4 && !sent() {
            tokio::task::yield_now().await;
        }
    }
    let deadline = Some(tokio::time::Instant::now() + Duration::from_millis(50));
    let call = world.proposer.settle(TaskId(Uuid::from_u128(1)), cancel(), None, deadline);
    let answer = tokio::time::timeout(PATIENCE, call).await.expect("the call hangs");
    assert!(matches!(answer, Err(ProposeError::Unavailable(_))), "{answer:?}");
    world.faulty.clear();
    while let Some(settled) = waiting.join_next().await {
        let settled = settled.expect("no panic").expect("not stopping");
        assert!(
            matches!(committed(&settled).state, TaskState::Complete { .. }),
            "canceled long after the call"
        );
    }
}

#[tokio::test]
async fn what_the_store_refuses_is_neither_given_up_nor_holds_others_up() {
    let world = World::new().await;
    let tasks = [world.submit(1).await, world.submit(2).await];
    for task in tasks {
        world.propose(task, world.steal()).await;
    }
    let poison = Key::Task(tasks[0]).to_string();
    world.faulty.set_hook(move |call| match call {
        Call::Txn(txn) if format!("{txn:?}").contains(&poison) => Fault::Refused,
        _ => Fault::None,
    });
    let settle = |task| world.proposer.settle(task, world.finish(7), None, None);
    let both = futures::future::join(settle(tasks[0]), settle(tasks[1]));
    let (refused, taken) = tokio::time::timeout(PATIENCE, both).await.expect("no decision in time");
    assert!(matches!(refused, Err(ProposeError::Unavailable(_))), "{refused:?}");
    assert!(matches!(committed(&taken.expect("not stopping")).state, TaskState::Complete { .. }));
    world.faulty.clear();
    assert!(matches!(
        committed(&world.propose(tasks[0], world.finish(7)).await).state,
        TaskState::Complete { .. }
    ));
}
