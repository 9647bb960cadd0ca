//! The real etcd dead, frozen and back: every call ends in time, says honestly whether it may have been carried out, and finds
//! the store again.

#![allow(clippy::unwrap_used)] // a test may

mod child;

use child::{Etcd, free_address};
use shoal_store::etcd::EtcdStore;
use shoal_store::port::{KeyRange, ListOptions, Op, Store, StoreError, Txn, TxnReply, WatchItem, WatchLost};
use std::time::{Duration, Instant};

/// What a call to one endpoint may take; the time that a loaded machine adds is generous.
const ONE_CALL: Duration = Duration::from_secs(10);

async fn store(urls: &[&str]) -> EtcdStore {
    let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
    EtcdStore::connect(&urls).await.unwrap()
}

async fn put(store: &EtcdStore, key: &str) -> Result<TxnReply, StoreError> {
    let put = Op::Put { key: key.to_owned(), value: b"x".to_vec(), lease: None };
    store.txn(Txn { then: vec![put], ..Txn::default() }).await
}

fn nobody() -> String {
    format!("http://{}", free_address())
}

/// Waits for the call to succeed, with a deadline.
async fn until_ok<T>(what: &str, mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let begin = Instant::now();
    loop {
        match call().await {
            Ok(done) => return done,
            Err(error) => {
                assert!(begin.elapsed() < Duration::from_secs(30), "waited 30 s for {what}: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test]
async fn without_a_connection_every_call_is_unavailable_and_not_unknown() {
    let url = nobody();
    let store = store(&[&url, &nobody()]).await;
    let all = KeyRange::prefix("/");
    let failures = [
        put(&store, "/a").await.err(),
        store.get("/a").await.err(),
        store.list(all.clone(), ListOptions::default()).await.err(),
        store.watch(vec![all], 1).await.err(),
        store.lease_grant(Duration::from_secs(5)).await.err(),
    ];
    for failure in failures {
        assert!(matches!(failure, Some(StoreError::Unavailable(_))), "{failure:?}");
    }
}

#[tokio::test]
async fn calls_go_on_to_the_next_endpoint_and_home_again() {
    let mut home = Etcd::start();
    let other = Etcd::start();
    let store = store(&[&home.url, &other.url]).await;
    put(&store, "/at-home").await.unwrap();
    home.kill();
    // These two are no cluster: so what is read shows which of them answered.
    assert_eq!(until_ok("the other endpoint", async || store.get("/at-home").await).await.0, None);
    put(&store, "/elsewhere").await.unwrap();
    assert!(store.get("/elsewhere").await.unwrap().0.is_some());
    let (lease, _) = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    store.lease_renew(lease).await.unwrap();
    home.start_again();
    // Going home is decided by a read, some seconds after the failure: nothing else tells of it.
    let begin = Instant::now();
    while store.get("/at-home").await.unwrap().0.is_none() {
        assert!(begin.elapsed() < Duration::from_secs(30), "waited 30 s for the first endpoint's turn");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_killed_member_ends_the_watch_and_is_found_again() {
    let mut etcd = Etcd::start();
    let store = store(&[&etcd.url]).await;
    let revision = put(&store, "/a").await.unwrap().revision;
    let (lease, _) = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    store.lease_renew(lease).await.unwrap();
    let mut watch = store.watch(vec![KeyRange::prefix("/")], revision + 1).await.unwrap();
    etcd.kill();
    for _ in 0..2 {
        let item = tokio::time::timeout(ONE_CALL, watch.next()).await.expect("the watch ends");
        assert!(matches!(item, WatchItem::Lost(WatchLost::Disconnected(_))), "{item:?}");
    }
    assert!(store.lease_renew(lease).await.is_err());
    etcd.start_again();
    assert!(until_ok("etcd to be back", async || store.get("/a").await).await.0.is_some());
    until_ok("the lease to be renewed", async || store.lease_renew(lease).await).await;
    let mut watch = store.watch(vec![KeyRange::prefix("/")], revision).await.unwrap();
    let item = tokio::time::timeout(ONE_CALL, watch.next()).await.expect("the watch replays");
    assert!(matches!(item, WatchItem::Changes { .. }), "{item:?}");
}

#[tokio::test]
async fn a_frozen_member_hangs_nobody_and_what_was_sent_is_unknown() {
    let etcd = Etcd::start();
    let store = store(&[&etcd.url]).await;
    let revision = put(&store, "/a").await.unwrap().revision;
    let (lease, _) = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    store.lease_renew(lease).await.unwrap();
    let mut watch = store.watch(vec![KeyRange::prefix("/")], revision + 1).await.unwrap();
    etcd.freeze();
    let begin = Instant::now();
    let (sent, renewed, watched) =
        tokio::join!(put(&store, "/sent"), store.lease_renew(lease), async { watch.next().await });
    assert!(begin.elapsed() < ONE_CALL, "took {:?}", begin.elapsed());
    assert!(matches!(sent, Err(StoreError::Unknown(_))), "{sent:?}");
    assert!(renewed.is_err());
    assert!(matches!(watched, WatchItem::Lost(WatchLost::Disconnected(_))), "{watched:?}");
    etcd.thaw();
    until_ok("etcd to go on", async || store.get("/a").await).await;
    until_ok("the lease to be renewed", async || store.lease_renew(lease).await).await;
}

#[tokio::test]
async fn an_idle_watch_gives_signs_of_life() {
    let etcd = Etcd::start();
    let store = store(&[&etcd.url]).await;
    let revision = put(&store, "/a").await.unwrap().revision;
    let mut watch =
        store.watch(vec![KeyRange::prefix("/b"), KeyRange::prefix("/c")], revision).await.unwrap();
    for _ in 0..2 {
        let item = tokio::time::timeout(ONE_CALL, watch.next()).await.expect("a sign of life");
        assert!(matches!(item, WatchItem::Progress(shown) if shown <= revision), "{item:?}");
    }
}

#[tokio::test]
async fn a_full_store_refuses_puts_and_grants_and_lets_deletes_and_renewals_through() {
    let etcd = Etcd::start_with(&["--quota-backend-bytes", "8388608"]);
    let store = store(&[&etcd.url]).await;
    let (lease, _) = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    let fill = |n: usize| Op::Put { key: format!("/fill/{n}"), value: vec![b'x'; 1 << 20], lease: None };
    let mut filled = 0;
    let refused = loop {
        match store.txn(Txn { then: vec![fill(filled)], ..Txn::default() }).await {
            Ok(_) => filled += 1,
            Err(error) => break error,
        }
        assert!(filled < 64, "64 MiB went into 8");
    };
    assert!(matches!(refused, StoreError::NoSpace), "{refused:?}");
    let refused = store.lease_grant(Duration::from_secs(60)).await;
    assert!(matches!(refused, Err(StoreError::NoSpace)), "{refused:?}");
    store.lease_renew(lease).await.unwrap();
    let delete = Op::Delete("/fill/0".to_owned());
    assert!(store.txn(Txn { then: vec![delete], ..Txn::default() }).await.unwrap().succeeded);
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_at_once() {
    for urls in [vec![], vec!["http://bad url".to_owned()]] {
        let refused = EtcdStore::connect(&urls).await.err();
        assert!(matches!(refused, Some(StoreError::Refused(_))), "{refused:?}");
    }
}
