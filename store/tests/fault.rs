//! Faults at the port, and how a move survives them.

#![allow(clippy::unwrap_used)] // a test may

mod suite;

use shoal_core::task::Task;
use shoal_store::fault::{Call, Fault, FaultyStore};
use shoal_store::key::Key;
use shoal_store::memory::MemoryStore;
use shoal_store::moves::{Guard, Move, Stored, Verdict, verdict_after_unknown};
use shoal_store::port::{KeyRange, Store, StoreError, Txn, WatchItem};
use shoal_store::record;
use std::sync::Arc;
use std::time::Duration;
use suite::{put, sample};

fn faulty() -> (MemoryStore, FaultyStore<MemoryStore>) {
    let model = MemoryStore::new();
    (model.clone(), FaultyStore::new(Arc::new(model)))
}

async fn record_of(store: &impl Store, task: &Task) -> Option<Stored<Task>> {
    let (kv, _) = store.get(&Key::Task(task.id).to_string()).await.unwrap();
    kv.map(|kv| record::decode_kv(&kv).unwrap())
}

async fn steal_of_a_submitted_task(store: &impl Store) -> Move {
    let submit = Move { old: None, new: sample::task(1), guard: Guard::None };
    store.txn(submit.to_txn()).await.unwrap();
    let old = record_of(store, &submit.new).await;
    Move { old, new: sample::stolen(&submit.new, sample::node(1)), guard: Guard::None }
}

#[tokio::test]
async fn a_steal_whose_reply_is_lost_is_found_applied() {
    let (_, store) = faulty();
    let steal = steal_of_a_submitted_task(&store).await;
    let mut fired = store.once(Fault::LoseReply, |call| matches!(call, Call::Txn(_)));
    let outcome = store.txn(steal.to_txn()).await;
    assert!(matches!(outcome, Err(StoreError::Unknown(_))), "{outcome:?}");
    fired.try_recv().expect("the fault has happened");
    let verdict = verdict_after_unknown(&steal, record_of(&store, &steal.new).await);
    assert!(matches!(verdict, Verdict::Applied { .. }), "{verdict:?}");
}

#[tokio::test]
async fn a_steal_whose_request_is_lost_may_be_proposed_again() {
    let (_, store) = faulty();
    let steal = steal_of_a_submitted_task(&store).await;
    drop(store.once(Fault::NotApplied, |call| matches!(call, Call::Txn(_))));
    assert!(matches!(store.txn(steal.to_txn()).await, Err(StoreError::Unknown(_))));
    let seen = record_of(&store, &steal.new).await;
    assert_eq!(verdict_after_unknown(&steal, seen), Verdict::NotApplied);
    assert!(store.txn(steal.to_txn()).await.unwrap().succeeded);
    let again = store.txn(steal.to_txn()).await.unwrap();
    assert!(!again.succeeded, "and the first one, should it arrive late, changes nothing");
}

#[tokio::test]
async fn a_hook_sees_each_call_until_it_is_cleared() {
    let (model, store) = faulty();
    store.set_hook(|call| match call {
        Call::Txn(txn) if txn.then.len() == 1 => Fault::Unavailable,
        Call::LeaseGrant => Fault::NotApplied,
        _ => Fault::None,
    });
    let one = Txn { then: vec![put("/a", "1")], ..Txn::default() };
    assert!(matches!(store.txn(one.clone()).await, Err(StoreError::Unavailable(_))));
    assert!(store.lease_grant(Duration::from_secs(5)).await.is_err());
    assert_eq!(model.revision(), 1, "nothing was carried out");
    store.clear();
    assert!(store.txn(one).await.unwrap().succeeded);
}

#[tokio::test]
async fn a_cut_ends_the_open_watches_and_not_the_next() {
    let (_, store) = faulty();
    let open = || store.watch(vec![KeyRange::prefix("/w/")], 1);
    let mut cut = open().await.unwrap();
    store.cut_watches();
    for _ in 0..2 {
        assert!(matches!(cut.next().await, WatchItem::Lost(_)));
    }
    let mut next = open().await.unwrap();
    store.txn(Txn { then: vec![put("/w/a", "1")], ..Txn::default() }).await.unwrap();
    assert!(matches!(next.next().await, WatchItem::Changes { .. }));
}

#[tokio::test]
async fn a_full_store_refuses_puts_and_lets_deletes_and_renewals_through() {
    let (model, store) = faulty();
    let (lease, _) = store.lease_grant(Duration::from_secs(5)).await.unwrap();
    store.txn(Txn { then: vec![put("/a", "1")], ..Txn::default() }).await.unwrap();
    model.set_full(true);
    let refused = store.txn(Txn { then: vec![put("/b", "1")], ..Txn::default() }).await;
    assert!(matches!(refused, Err(StoreError::NoSpace)), "{refused:?}");
    assert!(matches!(store.lease_grant(Duration::from_secs(5)).await, Err(StoreError::NoSpace)));
    let delete = shoal_store::port::Op::Delete("/a".to_owned());
    assert!(store.txn(Txn { then: vec![delete], ..Txn::default() }).await.unwrap().succeeded);
    store.lease_renew(lease).await.unwrap();
}
