//! Leases.

use super::{Bench, next_changes, put, put_leased};
use shoal_store::port::{Change, StoreError, Txn};
use std::time::Duration;

const TTL: Duration = Duration::from_secs(2);

pub async fn an_expired_lease_deletes_its_keys_in_one_revision(bench: &Bench) {
    let (lease, ttl) = bench.store.lease_grant(TTL).await.unwrap();
    assert!(ttl >= TTL);
    let put = bench.txn(vec![put_leased("/w/a", lease), put_leased("/w/b", lease)]).await.revision;
    assert_eq!(bench.get("/w/a").await.unwrap().lease, Some(lease));
    let mut watch = bench.watch(&["/w/"], put + 1).await;
    bench.control.let_pass(ttl).await;
    let changes = next_changes(&mut *watch, 2).await.concat();
    for (change, name) in changes.iter().zip(["/w/a", "/w/b"]) {
        assert_eq!(*change, Change::Delete { key: name.to_owned(), revision: put + 1 });
    }
    assert_eq!(bench.get("/w/a").await, None);
}

pub async fn a_renewed_lease_lives_on(bench: &Bench) {
    let (kept, ttl) = bench.store.lease_grant(TTL).await.unwrap();
    let (left, _) = bench.store.lease_grant(TTL).await.unwrap();
    let put = bench.txn(vec![put_leased("/kept", kept), put_leased("/w/left", left)]).await.revision;
    let mut watch = bench.watch(&["/w/"], put + 1).await;
    let mut expired = std::pin::pin!(next_changes(&mut *watch, 1));
    let mut renewals = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            biased;
            _ = &mut expired => break,
            _ = renewals.tick() => {}
        }
        assert_eq!(bench.store.lease_renew(kept).await.unwrap(), ttl);
        bench.control.let_pass(ttl / 4).await;
    }
    assert!(bench.get("/kept").await.is_some(), "both were granted at the same time");
}

pub async fn a_dead_lease_is_not_renewed(bench: &Bench) {
    let (lease, ttl) = bench.store.lease_grant(TTL).await.unwrap();
    assert_eq!(bench.store.lease_renew(lease).await.unwrap(), ttl);
    bench.store.lease_revoke(lease).await.unwrap();
    for _ in 0..2 {
        let refused = bench.store.lease_renew(lease).await;
        assert!(matches!(refused, Err(StoreError::LeaseNotFound)), "{refused:?}");
    }
}

pub async fn a_put_with_a_dead_lease_refuses_the_whole_transaction(bench: &Bench) {
    let (lease, _) = bench.store.lease_grant(TTL).await.unwrap();
    bench.store.lease_revoke(lease).await.unwrap();
    let txn = Txn { then: vec![put("/a", "1"), put_leased("/b", lease)], ..Txn::default() };
    let refused = bench.store.txn(txn).await;
    assert!(matches!(refused, Err(StoreError::LeaseNotFound)), "{refused:?}");
    assert_eq!((bench.get("/a").await, bench.get("/b").await), (None, None));
}

pub async fn a_revoke_deletes_the_keys_and_may_be_repeated(bench: &Bench) {
    let (lease, _) = bench.store.lease_grant(Duration::from_secs(60)).await.unwrap();
    let put = bench.txn(vec![put_leased("/a", lease)]).await.revision;
    for _ in 0..2 {
        bench.store.lease_revoke(lease).await.unwrap();
    }
    let (gone, revision) = bench.store.get("/a").await.unwrap();
    assert_eq!((gone, revision), (None, put + 1));
}
