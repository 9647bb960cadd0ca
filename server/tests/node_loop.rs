//! Goal: the whole loop of a node, over a store with faults and with real containers, starts each attempt once, loses no result, and has
//! nothing alive when it comes back under a new identity.

mod support;

use shoal_core::duration::DurationEntry;
use shoal_core::id::{AttemptId, TaskId};
use shoal_core::spec::Net;
use shoal_core::task::{Exit, ExitHow, Task, TaskState};
use shoal_store::fault::{Call, Fault};
use shoal_store::key::{self, Key};
use shoal_store::port::{Change, Op, Store, WatchItem};
use shoal_store::record;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{PATIENCE, TTL, World, lives};

fn first(task: TaskId) -> AttemptId {
    AttemptId { task, number: 1 }
}

fn completed(task: &Task, code: u8) -> bool {
    let exit = Exit { how: ExitHow::Code(code), oom_killed: false };
    task.state == TaskState::Complete { exit }
}

/// A batch of moves, as the proposer sends it.
fn is_batch(call: &Call<'_>) -> bool {
    matches!(call, Call::Txn(txn) if txn.then.iter().any(|op| matches!(op, Op::Txn(_))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steal_whose_reply_is_lost_starts_its_container_exactly_once() {
    let world = World::new();
    let lost = world.store.once(Fault::LoseReply, is_batch);
    let server = world.serve();
    let task = world.submit(1, "echo ran; exit 7").await;
    let ended = world.task_when("it is complete", task, |t| t.state.is_terminal()).await;
    lost.await.expect("the reply was lost");
    assert!(completed(&ended, 7), "{ended:?}");
    assert_eq!(ended.attempts.len(), 1);
    assert_eq!(world.started(), [first(task).to_string()]);
    assert_eq!(world.log(first(task)), "ran\n");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lease_kills_everything_before_the_node_is_back_under_a_new_identity() {
    let world = World::new();
    let mut server = world.serve();
    let old = server.identity_when("it is registered", |_| true).await;
    let task = world.submit(1, "echo began; [ $SHOAL_ATTEMPT = 1 ] && sleep 1000; exit 0").await;
    world.log_when(first(task), "began").await;
    let (attempts_dir, at_grant) = (world.attempts_dir(), Arc::new(Mutex::new(None)));
    let seen = at_grant.clone();
    world.store.set_hook(move |call| {
        if matches!(call, Call::LeaseGrant) {
            seen.lock().expect("no panic").get_or_insert_with(|| lives(&attempts_dir, first(task)));
        }
        Fault::None
    });
    world.memory.advance(TTL * 2);
    server.identity_when("it has a new identity", |now| now != old).await;
    assert_eq!(*at_grant.lock().expect("no panic"), Some(false), "alive while the node registered anew");
    let ended = world.task_when("its next attempt is complete", task, |t| t.state.is_terminal()).await;
    assert!(completed(&ended, 0), "{ended:?}");
    assert_eq!(ended.attempts.iter().map(|a| a.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(ended.attempts[0].node, old);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_watches_and_compaction_in_the_middle_of_work_lose_nothing() {
    let world = World::new();
    let server = world.serve();
    let mut tasks = Vec::new();
    for n in 0..30 {
        tasks.push(world.submit(n, "exit 3").await);
        if n % 5 == 4 {
            // What happens between the cut and the next list is never watched.
            world.store.cut_watches();
            world.memory.compact(world.memory.revision()).expect("a present revision");
        }
    }
    for task in tasks {
        let ended = world.task_when("it is complete", task, |t| t.state.is_terminal()).await;
        assert!(completed(&ended, 3), "{ended:?}");
        assert_eq!(ended.attempts.len(), 1, "{ended:?}");
    }
    assert_eq!(world.started().len(), 30);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_operator_allows_at_a_restart_holds_for_a_runner_that_lives_on() {
    let world = World::new();
    let server = world.serve();
    let runs = world.submit(1, "echo began; sleep 1000").await;
    world.log_when(first(runs), "began").await;
    let runner = std::fs::read_to_string(world.runner_pid_file()).expect("a runner runs");
    let waits = world.submit_with_net(2, "exit 9", Net::Host).await;
    server.stop().await;
    assert_eq!(world.task(waits).await.state, TaskState::Queued, "nobody offered it the host's network");
    let server = world.serve_with(&["--allow-host-net"]);
    let ended = world.task_when("it is complete", waits, |t| t.state.is_terminal()).await;
    assert!(completed(&ended, 9), "{ended:?}");
    assert_eq!(ended.attempts.len(), 1, "{ended:?}");
    assert_eq!(std::fs::read_to_string(world.runner_pid_file()).expect("it still runs"), runner);
    assert!(!world.task(runs).await.state.is_terminal(), "what ran is left alone");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_keeps_its_identity_and_adopts_what_runs_and_what_has_ended() {
    let world = World::new();
    let mut server = world.serve();
    let old = server.identity_when("it is registered", |_| true).await;
    let ends_meanwhile = world.submit(1, "echo began; sleep 1; exit 7").await;
    let ends_after = world.submit(2, "echo began; sleep 3; exit 8").await;
    world.log_when(first(ends_meanwhile), "began").await;
    world.log_when(first(ends_after), "began").await;
    server.stop().await;
    world.ended_here(first(ends_meanwhile)).await;
    assert!(!world.task(ends_meanwhile).await.state.is_terminal(), "nobody was there to record it");
    let mut server = world.serve();
    assert_eq!(server.identity_when("it is registered again", |_| true).await, old);
    for (task, code) in [(ends_meanwhile, 7), (ends_after, 8)] {
        let ended = world.task_when("it is complete", task, |t| t.state.is_terminal()).await;
        assert!(completed(&ended, code), "{ended:?}");
        assert_eq!(ended.attempts.len(), 1, "{ended:?}");
        assert_eq!(world.log(first(task)), "began\n");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steal_that_is_decided_after_its_identity_was_lost_starts_nothing() {
    let world = World::new();
    let mut server = world.serve();
    let old = server.identity_when("it is registered", |_| true).await;
    let lost = world.store.once(Fault::LoseReply, is_batch);
    let away = Arc::new(AtomicBool::new(true));
    let hidden = away.clone();
    // Nobody can read back what became of the steal until the node has another identity.
    world.store.set_hook(move |call| match call {
        Call::Get(key) if key.starts_with("/task/") && hidden.load(SeqCst) => Fault::Unavailable,
        _ => Fault::None,
    });
    let task = world.submit(1, "exit 7").await;
    lost.await.expect("the reply was lost");
    world.task_when("its steal is applied", task, |t| !t.attempts.is_empty()).await;
    world.memory.advance(TTL * 2);
    server.identity_when("it has a new identity", |now| now != old).await;
    away.store(false, SeqCst);
    let ended = world.task_when("its next attempt is complete", task, |t| t.state.is_terminal()).await;
    assert!(completed(&ended, 7), "{ended:?}");
    assert_eq!(ended.attempts.len(), 2, "{ended:?}");
    assert_eq!(world.started(), [AttemptId { task, number: 2 }.to_string()]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_was_answered_ends_a_container_whose_runner_is_killed_at_that_instant() {
    let world = World::new();
    let server = world.serve();
    let task = world.submit(1, "echo began; sleep 1000").await;
    world.log_when(first(task), "began").await;
    world.cancel(task).await;
    world.kill_runner();
    let ended = world.task_when("it is canceled", task, |t| t.state.is_terminal()).await;
    assert!(matches!(ended.state, TaskState::Canceled { .. }), "{ended:?}");
    assert!(!lives(&world.attempts_dir(), first(task)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_reaches_containers_whose_runner_has_just_died() {
    let world = World::new();
    let mut server = world.serve();
    let old = server.identity_when("it is registered", |_| true).await;
    let task = world.submit(1, "echo began; [ $SHOAL_ATTEMPT = 1 ] && sleep 1000; exit 0").await;
    world.log_when(first(task), "began").await;
    let (attempts_dir, at_grant) = (world.attempts_dir(), Arc::new(Mutex::new(None)));
    let seen = at_grant.clone();
    world.store.set_hook(move |call| {
        if matches!(call, Call::LeaseGrant) {
            seen.lock().expect("no panic").get_or_insert_with(|| lives(&attempts_dir, first(task)));
        }
        Fault::None
    });
    world.kill_runner();
    world.memory.advance(TTL * 2);
    server.identity_when("it has a new identity", |now| now != old).await;
    assert_eq!(*at_grant.lock().expect("no panic"), Some(false), "alive while the node registered anew");
    let ended = world.task_when("its next attempt is complete", task, |t| t.state.is_terminal()).await;
    assert!(completed(&ended, 0), "{ended:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_on_when_the_runner_is_killed_under_it() {
    let world = World::new();
    let server = world.serve();
    let tasks = [world.submit(1, "echo began; sleep 2; exit 7").await, world.submit(2, "exit 8").await];
    world.log_when(first(tasks[0]), "began").await;
    world.kill_runner();
    let late = world.submit(3, "exit 9").await;
    for (task, code) in [(tasks[0], 7), (tasks[1], 8), (late, 9)] {
        let ended = world.task_when("it is complete", task, |t| t.state.is_terminal()).await;
        assert!(completed(&ended, code), "{ended:?}");
    }
    // The others may have been in the middle of their start; this one ran, and its stub with it.
    assert_eq!(world.task(tasks[0]).await.attempts.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_outlive_a_full_store_and_a_restart_meanwhile() {
    let world = World::new();
    let server = world.serve();
    let task = world.submit(1, "echo began; sleep 1; exit 7").await;
    world.log_when(first(task), "began").await;
    let full = Arc::new(Mutex::new(0));
    let refused = full.clone();
    world.store.set_hook(move |call| {
        *refused.lock().expect("no panic") += u32::from(is_batch(call));
        Fault::None
    });
    world.memory.set_full(true);
    world.ended_here(first(task)).await;
    world.when("its result is refused twice", || *full.lock().expect("no panic") >= 2).await;
    server.stop().await;
    let mut server = world.serve();
    server.identity_when("it goes on under its old identity", |_| true).await;
    assert!(matches!(world.task(task).await.state, TaskState::Running { .. }), "a full store took a result");
    world.memory.set_full(false);
    let ended = world.task_when("it is complete", task, |t| t.state.is_terminal()).await;
    assert!(completed(&ended, 7), "{ended:?}");
    assert_eq!(ended.attempts.len(), 1, "{ended:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_at_registration_ends_no_node_and_its_identity_is_kept_once_there_is_room() {
    let world = World::new();
    let data = world.attempts_dir().parent().expect("the attempts lie in the node's directory").to_owned();
    let (saved, unfinished) = (data.join("node.json"), data.join("node.tmp"));
    std::os::unix::fs::symlink("/dev/full", &unfinished).expect("a link");
    let mut server = world.serve();
    let identity = server.identity_when("it is registered", |_| true).await;
    let task = world.submit(1, "exit 7").await;
    let ended = world.task_when("it is complete", task, |t| t.state.is_terminal()).await;
    assert!(completed(&ended, 7) && !saved.exists(), "{ended:?}");
    std::fs::remove_file(&unfinished).expect("there is room");
    // Written with a renewal, of which there are some in each TTL.
    tokio::time::timeout(TTL, async {
        while !saved.exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the identity is not written");
    server.stop().await;
    let mut server = world.serve();
    assert_eq!(server.identity_when("it is registered", |_| true).await, identity, "a restart keeps it");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_ended_well_by_itself_teaches_how_long_its_name_takes() {
    let world = World::new();
    let server = world.serve();
    let mut taught = world.memory.watch(vec![key::durations()], 1).await.expect("the model watches");
    let named = |name: &str| [("name", serde_json::json!(name))];
    let canceled = "trap 'exit 0' TERM; echo began; while :; do sleep 0.05; done";
    let canceled = world.submit_with(1, canceled, &named("canceled")).await;
    world.log_when(first(canceled), "began").await;
    world.cancel(canceled).await;
    world.task_when("it is canceled", canceled, |t| t.state.is_terminal()).await;
    for (n, script, name) in [(2, "exit 3", "fails"), (3, "exit 0", ""), (4, "sleep 1.6", "a build")] {
        let task = world.submit_with(n, script, &named(name)).await;
        world.task_when("it is complete", task, |t| t.state.is_terminal()).await;
    }
    // Those that ended before would have been written before, or together with it.
    let told = async {
        loop {
            match taught.next().await {
                WatchItem::Changes { changes, .. } => return changes,
                WatchItem::Progress(_) => {}
                WatchItem::Lost(why) => panic!("the test's own watch is lost: {why}"),
            }
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await.expect("something is learned");
    let [Change::Put(kv)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(kv.key, Key::Duration("a build".to_owned()).to_string());
    let entry: DurationEntry = record::decode_kv(kv).expect("a record").value;
    assert_eq!((entry.runs, &entry.last_s[..]), (1, &[entry.expected_s][..]));
    assert!((2..10).contains(&entry.expected_s), "{entry:?}");
    server.stop().await;
}
