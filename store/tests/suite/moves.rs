//! Moves, as nodes make them.

use super::Bench;
use super::sample::{finished, gang, gang_stolen, lost, node, part_finished, stolen, task};
use futures::future::join_all;
use shoal_core::entry::{OfferEntry, QueueEntry};
use shoal_core::id::{NodeId, TaskId};
use shoal_core::spec::Unknown;
use shoal_core::task::Task;
use shoal_store::key::{self, Key};
use shoal_store::moves::{
    Guard, MOVES_MAX, Move, MoveOutcome, Stored, Verdict, batch, read_batch, verdict_after_unknown,
};
use shoal_store::offer::{Withdrawn, offer, read_withdrawn, withdraw};
use shoal_store::port::ListOptions;
use shoal_store::record;
use std::time::Duration;

pub async fn record_of(bench: &Bench, id: TaskId) -> Option<Stored<Task>> {
    let kv = bench.get(&Key::Task(id).to_string()).await?;
    Some(record::decode_kv(&kv).unwrap())
}

async fn make(bench: &Bench, moves: &[Move]) -> Vec<MoveOutcome> {
    let reply = bench.store.txn(batch(moves).unwrap()).await.unwrap();
    read_batch(moves, &reply).unwrap()
}

pub async fn make_one(bench: &Bench, one: &Move) -> MoveOutcome {
    let reply = bench.store.txn(one.to_txn()).await.unwrap();
    one.read(&reply, reply.revision).unwrap()
}

fn submit(number: u128) -> Move {
    Move { old: None, new: task(number), guard: Guard::None }
}

async fn submitted(bench: &Bench, number: u128) -> Stored<Task> {
    let one = submit(number);
    assert!(matches!(make_one(bench, &one).await, MoveOutcome::Committed { .. }));
    record_of(bench, one.new.id).await.unwrap()
}

/// Registers a node and returns the guard of its moves.
async fn register(bench: &Bench, node: NodeId) -> Guard {
    let create_revision = bench.put(&Key::Node(node).to_string(), "{}").await;
    Guard::OwnerAlive { node, create_revision }
}

async fn status_keys(bench: &Bench) -> Vec<Key> {
    let listing = bench.store.list(key::statuses(), ListOptions::default()).await.unwrap();
    listing.kvs.iter().map(|kv| Key::parse(&kv.key).unwrap()).collect()
}

pub async fn a_life_leaves_one_status_key_at_each_step(bench: &Bench) {
    let guard = register(bench, node(1)).await;
    let mut stored = submitted(bench, 1).await;
    assert_eq!(status_keys(bench).await, [Key::Queued(stored.value.id)]);
    let requeued = lost(&stolen(&stored.value, node(1)));
    let steps = [
        (stolen(&stored.value, node(1)), guard.clone()),
        (requeued.clone(), Guard::None),
        (stolen(&requeued, node(1)), guard.clone()),
        (finished(&stolen(&requeued, node(1))), guard),
    ];
    for (new, guard) in steps {
        let one = Move { old: Some(stored.clone()), new: new.clone(), guard };
        let revision = match make_one(bench, &one).await {
            MoveOutcome::Committed { revision } => revision,
            lost => panic!("{lost:?}"),
        };
        let created = stored.create_revision;
        stored = record_of(bench, new.id).await.unwrap();
        assert_eq!((&stored.value, stored.mod_revision), (&new, revision));
        assert_eq!(status_keys(bench).await, Key::statuses_of(&new));
        if let Some(kv) = bench.get(&Key::Queued(new.id).to_string()).await {
            let entry: Stored<QueueEntry> = record::decode_kv(&kv).unwrap();
            assert_eq!((entry.value.order, entry.value.attempt), (Some(created), 2));
        }
    }
}

pub async fn of_sixteen_stealers_one_wins(bench: &Bench) {
    for round in 0..5 {
        let stored = submitted(bench, 100 + round).await;
        let steals = join_all((0..16).map(async |n| {
            let guard = register(bench, node(n)).await;
            Move { old: Some(stored.clone()), new: stolen(&stored.value, node(n)), guard }
        }))
        .await;
        let outcomes = join_all(steals.iter().map(|steal| make_one(bench, steal))).await;
        let truth = record_of(bench, stored.value.id).await.unwrap();
        let mut winners = Vec::new();
        for (steal, outcome) in steals.iter().zip(outcomes) {
            match outcome {
                MoveOutcome::Committed { revision } => winners.push((steal.new.clone(), revision)),
                MoveOutcome::Lost { current, guard_held } => {
                    assert_eq!((current.as_ref(), guard_held), (Some(&truth), true));
                }
            }
        }
        assert_eq!(winners, [(truth.value, truth.mod_revision)]);
        for n in 0..16 {
            bench.delete(&Key::Node(node(n)).to_string()).await;
        }
    }
}

pub async fn a_lost_race_costs_only_its_own_move(bench: &Bench) {
    let guard = register(bench, node(1)).await;
    let all = [submitted(bench, 1).await, submitted(bench, 2).await, submitted(bench, 3).await];
    let rival = Move { old: Some(all[1].clone()), new: stolen(&all[1].value, node(2)), guard: Guard::None };
    make_one(bench, &rival).await;
    let steal = |stored: &Stored<Task>| Move {
        old: Some(stored.clone()),
        new: stolen(&stored.value, node(1)),
        guard: guard.clone(),
    };
    let steals: Vec<Move> = all.iter().map(steal).collect();
    let outcomes = make(bench, &steals).await;
    assert!(matches!(outcomes[0], MoveOutcome::Committed { .. }));
    assert_eq!(outcomes[0], outcomes[2], "one transaction, one revision");
    match &outcomes[1] {
        MoveOutcome::Lost { current: Some(current), guard_held: true } => {
            assert_eq!(current.value, rival.new)
        }
        other => panic!("{other:?}"),
    }
}

pub async fn a_guard_holds_off_the_dead_and_the_hasty(bench: &Bench) {
    let guard = register(bench, node(1)).await;
    let stored = submitted(bench, 1).await;
    let steal = Move { old: Some(stored.clone()), new: stolen(&stored.value, node(1)), guard: guard.clone() };
    make_one(bench, &steal).await;
    let running = record_of(bench, stored.value.id).await.unwrap();
    let requeue =
        Move { old: Some(running.clone()), new: lost(&running.value), guard: Guard::NodeAbsent(node(1)) };
    let finish = Move { old: Some(running.clone()), new: finished(&running.value), guard };
    let unguarded = |outcome| match outcome {
        MoveOutcome::Lost { current, guard_held: false } => current,
        other => panic!("{other:?}"),
    };
    assert_eq!(unguarded(make_one(bench, &requeue).await), Some(running.clone()), "the node lives");
    bench.delete(&Key::Node(node(1)).to_string()).await;
    assert_eq!(unguarded(make_one(bench, &finish).await), Some(running.clone()), "the node is lost");
    register(bench, node(1)).await;
    assert_eq!(unguarded(make_one(bench, &finish).await), Some(running), "another life of the node");
    bench.delete(&Key::Node(node(1)).to_string()).await;
    assert!(matches!(make_one(bench, &requeue).await, MoveOutcome::Committed { .. }));
}

pub async fn a_full_batch_is_accepted(bench: &Bench) {
    let guard = register(bench, node(1)).await;
    let submits: Vec<Move> = (0..MOVES_MAX as u128).map(submit).collect();
    assert_eq!(make(bench, &submits).await.len(), MOVES_MAX);
    let mut steals = Vec::new();
    for one in &submits {
        let old = record_of(bench, one.new.id).await;
        steals.push(Move { old, new: stolen(&one.new, node(1)), guard: guard.clone() });
    }
    let outcomes = make(bench, &steals).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, MoveOutcome::Committed { .. })));
    assert_eq!(status_keys(bench).await.len(), MOVES_MAX);
}

pub async fn an_unknown_outcome_is_decided_by_reading_back(bench: &Bench) {
    let one = submit(1);
    assert_eq!(verdict_after_unknown(&one, record_of(bench, one.new.id).await), Verdict::NotApplied);
    let stored = submitted(bench, 1).await;
    let applied = Verdict::Applied { revision: stored.mod_revision, create_revision: stored.create_revision };
    assert_eq!(verdict_after_unknown(&one, Some(stored.clone())), applied);
    let steal = Move { old: Some(stored.clone()), new: stolen(&stored.value, node(1)), guard: Guard::None };
    assert_eq!(verdict_after_unknown(&steal, Some(stored.clone())), Verdict::NotApplied);
    let rival = Move { new: stolen(&stored.value, node(2)), ..steal.clone() };
    make_one(bench, &rival).await;
    let now = record_of(bench, stored.value.id).await;
    assert_eq!(verdict_after_unknown(&steal, now.clone()), Verdict::Superseded(now.clone()));
    assert!(matches!(verdict_after_unknown(&rival, now), Verdict::Applied { .. }));
    assert_eq!(verdict_after_unknown(&steal, None), Verdict::Superseded(None));
}

/// A registered node keeps room for the task.
async fn offers(bench: &Bench, stored: &Stored<Task>, node: NodeId) -> bool {
    let Guard::OwnerAlive { create_revision, .. } = register(bench, node).await else {
        panic!("it is registered")
    };
    let lease = bench.store.lease_grant(Duration::from_secs(60)).await.unwrap().0;
    let queued =
        bench.get(&Key::Queued(stored.value.id).to_string()).await.map_or(0, |kv| kv.create_revision);
    let entry = OfferEntry {
        attempt: stored.value.attempt,
        resources: stored.value.spec.resources,
        counts: Default::default(),
        unknown: Unknown::new(),
    };
    let txn = offer(stored.value.id, (node, create_revision), queued.max(1), &entry, lease);
    bench.store.txn(txn).await.unwrap().succeeded
}

fn start(stored: &Stored<Task>, nodes: &[NodeId]) -> Move {
    let guard = Guard::AllOffer(nodes.to_vec());
    Move { old: Some(stored.clone()), new: gang_stolen(&stored.value, nodes), guard }
}

pub async fn a_task_of_several_nodes_starts_on_all_of_them_or_on_none(bench: &Bench) {
    let id = |n| Key::Queued(gang(n, 3).id);
    let one = Move { old: None, new: gang(1, 3), guard: Guard::None };
    make_one(bench, &one).await;
    let stored = record_of(bench, one.new.id).await.unwrap();
    let nodes = [node(1), node(2), node(3)];
    assert!(offers(bench, &stored, node(1)).await && offers(bench, &stored, node(2)).await);
    let two_offer = MoveOutcome::Lost { current: Some(stored.clone()), guard_held: false };
    assert_eq!(make_one(bench, &start(&stored, &nodes)).await, two_offer);
    assert!(offers(bench, &stored, node(3)).await);
    assert_eq!(status_keys(bench).await.len(), 4, "one in the queue and three offers");
    // In one batch with another move, as it comes.
    let outcomes = make(bench, &[submit(2), start(&stored, &nodes)]).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, MoveOutcome::Committed { .. })), "{outcomes:?}");
    let task = stored.value.id;
    let mut keys = vec![Key::Queued(gang(2, 1).id)];
    keys.extend(nodes.map(|node| Key::Running(node, task)));
    keys.sort();
    let mut found = status_keys(bench).await;
    found.sort();
    assert_eq!(found, keys);
    // One part ends: the other nodes' keys stay, unwritten.
    let running = record_of(bench, task).await.unwrap();
    let before = bench.get(&Key::Running(node(3), task).to_string()).await.unwrap().mod_revision;
    let part =
        Move { old: Some(running.clone()), new: part_finished(&running.value, node(2)), guard: Guard::None };
    make_one(bench, &part).await;
    assert!(bench.get(&Key::Running(node(2), task).to_string()).await.is_none());
    let after = bench.get(&Key::Running(node(3), task).to_string()).await.unwrap().mod_revision;
    assert_eq!(before, after);
    assert_eq!(bench.get(&id(1).to_string()).await, None);
}

pub async fn an_offer_is_taken_back_or_has_become_a_start(bench: &Bench) {
    let one = Move { old: None, new: gang(1, 2), guard: Guard::None };
    make_one(bench, &one).await;
    let stored = record_of(bench, one.new.id).await.unwrap();
    let task = stored.value.id;
    let back = async |node: NodeId| {
        let reply = bench.store.txn(withdraw(task, node)).await.unwrap();
        read_withdrawn(node, &reply).unwrap()
    };
    assert_eq!(back(node(1)).await, Withdrawn::Absent);
    assert!(offers(bench, &stored, node(1)).await && offers(bench, &stored, node(2)).await);
    assert_eq!(back(node(1)).await, Withdrawn::Deleted);
    let nodes = [node(1), node(2)];
    let missing = make_one(bench, &start(&stored, &nodes)).await;
    assert!(matches!(missing, MoveOutcome::Lost { guard_held: false, .. }));
    assert!(offers(bench, &stored, node(1)).await);
    assert!(matches!(make_one(bench, &start(&stored, &nodes)).await, MoveOutcome::Committed { .. }));
    assert_eq!(back(node(2)).await, Withdrawn::Started);
    assert!(!offers(bench, &stored, node(3)).await, "it is not queued any more");
}

pub async fn the_widest_task_starts_among_a_full_batch(bench: &Bench) {
    let widest = shoal_core::gang::NODES_MAX;
    let one = Move { old: None, new: gang(1, widest), guard: Guard::None };
    make_one(bench, &one).await;
    let stored = record_of(bench, one.new.id).await.unwrap();
    let nodes: Vec<NodeId> = (0..u128::from(widest)).map(node).collect();
    for node in &nodes {
        assert!(offers(bench, &stored, *node).await);
    }
    let mut moves: Vec<Move> = (2..=MOVES_MAX as u128).map(submit).collect();
    moves.push(start(&stored, &nodes));
    let outcomes = make(bench, &moves).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, MoveOutcome::Committed { .. })), "{outcomes:?}");
}
