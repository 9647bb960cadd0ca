//! What members of a task of several nodes tell each other: once, while their attempt runs, and nothing is left of it.

use super::Bench;
use super::moves::{make_one, record_of};
use super::sample::{gang, gang_stolen, lost, node, part_finished};
use shoal_core::gang_key::GangValue;
use shoal_core::id::{AttemptId, TaskId};
use shoal_core::task::Task;
use shoal_store::gang::{PUBLICATIONS_MAX, Published, publish, read_published};
use shoal_store::key;
use shoal_store::moves::{Guard, Move, MoveOutcome};
use shoal_store::port::ListOptions;

async fn make(bench: &Bench, new: Task) {
    let old = record_of(bench, new.id).await;
    let outcome = make_one(bench, &Move { old, new, guard: Guard::None }).await;
    assert!(matches!(outcome, MoveOutcome::Committed { .. }), "{outcome:?}");
}

/// A task of two nodes that runs.
async fn running(bench: &Bench, number: u128) -> Task {
    let queued = gang(number, 2);
    make(bench, queued.clone()).await;
    let running = gang_stolen(&queued, &[node(1), node(2)]);
    make(bench, running.clone()).await;
    running
}

async fn say(bench: &Bench, attempt: AttemptId, key: &str, said: &[u8]) -> Published {
    let value = GangValue::new("n", said);
    let reply = bench.store.txn(publish(attempt, [(key, &value)])).await.unwrap();
    read_published(&reply).unwrap().remove(0)
}

async fn left(bench: &Bench, task: TaskId) -> Vec<String> {
    let listing = bench.store.list(key::gang_of_task(task), ListOptions::default()).await.unwrap();
    listing.kvs.into_iter().map(|kv| kv.key).collect()
}

pub async fn a_member_tells_the_others_once_and_the_first_wins(bench: &Bench) {
    let task = running(bench, 1).await;
    let attempt = task.attempt_id();
    assert_eq!(say(bench, attempt, "addr.0", b"one").await, Published::Written);
    let taken = Published::Taken(GangValue::new("n", b"one"));
    assert_eq!(say(bench, attempt, "addr.0", b"two").await, taken);
    assert_eq!(say(bench, attempt, "addr.0", b"one").await, taken, "a retry finds its own");
    assert_eq!(say(bench, attempt, "addr.1", b"\xff").await, Published::Written);
    let of_attempt = key::gang_keys(task.id, attempt.number);
    let listing = bench.store.list(of_attempt, ListOptions::default()).await.unwrap();
    assert_eq!(listing.kvs.len(), 2, "and the attempt's own key is none of them");
}

pub async fn many_keys_are_told_at_once_and_each_is_judged_alone(bench: &Bench) {
    let task = running(bench, 2).await;
    let attempt = task.attempt_id();
    say(bench, attempt, "k3", b"before").await;
    let value = GangValue::new("n", &[0xff; shoal_core::gang_key::VALUE_BYTES_MAX]);
    let keys: Vec<String> = (0..PUBLICATIONS_MAX).map(|n| format!("k{n}")).collect();
    let txn = publish(attempt, keys.iter().map(|key| (key.as_str(), &value)));
    let told = read_published(&bench.store.txn(txn).await.unwrap()).unwrap();
    assert_eq!(told.len(), PUBLICATIONS_MAX);
    for (number, one) in told.into_iter().enumerate() {
        let before = Published::Taken(GangValue::new("n", b"before"));
        assert_eq!(one, if number == 3 { before } else { Published::Written }, "{number}");
    }
}

pub async fn what_members_told_goes_with_their_attempt(bench: &Bench) {
    let task = running(bench, 3).await;
    let first = task.attempt_id();
    say(bench, first, "addr.0", b"one").await;
    // One part's end leaves it to the others.
    let half = part_finished(&task, node(1));
    make(bench, half.clone()).await;
    assert_eq!(say(bench, first, "addr.1", b"late").await, Published::Written);
    let over = part_finished(&half, node(2));
    assert!(over.state.is_terminal());
    make(bench, over).await;
    assert_eq!(left(bench, task.id).await, [""; 0]);
    assert_eq!(say(bench, first, "addr.2", b"too late").await, Published::Over);
    assert_eq!(left(bench, task.id).await, [""; 0]);
}

pub async fn an_attempt_that_begins_again_begins_with_nothing(bench: &Bench) {
    let task = running(bench, 4).await;
    let first = task.attempt_id();
    say(bench, first, "addr.0", b"one").await;
    let half = lost(&task);
    make(bench, half.clone()).await;
    let queued = part_finished(&half, node(2));
    assert_eq!((queued.attempt, queued.state.is_terminal()), (2, false));
    make(bench, queued.clone()).await;
    assert_eq!(left(bench, task.id).await, [""; 0]);
    let again = gang_stolen(&queued, &[node(1), node(2)]);
    make(bench, again.clone()).await;
    assert_eq!(say(bench, first, "addr.0", b"one").await, Published::Over, "a member of the first is late");
    assert_eq!(say(bench, again.attempt_id(), "addr.0", b"two").await, Published::Written);
}
