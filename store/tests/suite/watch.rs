//! Watches.

use super::{Bench, key_of, next_changes, next_item, put, revision_of, within};
use futures::FutureExt;
use shoal_store::port::{Change, KeyRange, Op, StoreError, WatchItem, WatchLost};

pub async fn a_watch_from_an_old_revision_replays_all(bench: &Bench) {
    let first = bench.put("/w/a", "1").await;
    bench.put("/other", "1").await;
    bench.put("/w/a", "2").await;
    let gone = bench.delete("/w/a").await;
    let mut watch = bench.watch(&["/w/"], first).await;
    bench.put("/w/b", "1").await;
    let changes = next_changes(&mut *watch, 4).await.concat();
    let told: Vec<_> = changes.iter().map(|change| (key_of(change), revision_of(change) - first)).collect();
    assert_eq!(told, [("/w/a", 0), ("/w/a", 2), ("/w/a", 3), ("/w/b", 4)]);
    assert_eq!(changes[2], Change::Delete { key: "/w/a".to_owned(), revision: gone });
    match &changes[1] {
        Change::Put(kv) => assert_eq!((kv.value.as_slice(), kv.create_revision), (b"2".as_slice(), first)),
        other => panic!("a put expected, got {other:?}"),
    }
}

pub async fn changes_of_one_revision_come_in_one_item(bench: &Bench) {
    let from = bench.put("/w/first", "1").await;
    let mut live = bench.watch(&["/w/"], from).await;
    for round in 0..3 {
        bench.txn((0..100).map(|n| put(&format!("/w/{n}"), &round.to_string())).collect()).await;
    }
    let mut replayed = bench.watch(&["/w/"], from).await;
    for watch in [&mut live, &mut replayed] {
        for item in next_changes(&mut **watch, 301).await {
            for revision in item.iter().map(revision_of) {
                let whole = if revision == from { 1 } else { 100 };
                let here = item.iter().filter(|change| revision_of(change) == revision).count();
                assert_eq!(here, whole, "revision {revision} was split");
            }
        }
    }
}

pub async fn thousands_of_revisions_come_in_order(bench: &Bench) {
    const COUNT: i64 = 2_500;
    let from = bench.put("/w/a", "0").await;
    for n in 1..COUNT {
        bench.put("/w/a", &n.to_string()).await;
    }
    let mut watch = bench.watch(&["/w/"], from).await;
    let changes = next_changes(&mut *watch, COUNT as usize).await.concat();
    assert!(changes.iter().map(revision_of).eq(from..from + COUNT));
}

pub async fn two_ranges_on_one_watch_deliver_both_and_nothing_else(bench: &Bench) {
    let from = bench.put("/other/a", "1").await;
    let mut watch = bench.watch(&["/one/", "/two/"], from).await;
    for key in ["/one/a", "/two/a", "/three/a", "/one/b"] {
        bench.put(key, "1").await;
    }
    bench.txn(vec![put("/one/c", "1"), put("/two/c", "1"), Op::Delete("/one/a".to_owned())]).await;
    let changes = next_changes(&mut *watch, 6).await.concat();
    let of = |prefix| changes.iter().filter(move |change| key_of(change).starts_with(prefix));
    let one: Vec<_> = of("/one/").map(|change| (key_of(change), revision_of(change) - from)).collect();
    assert_eq!(one, [("/one/a", 1), ("/one/b", 4), ("/one/c", 5), ("/one/a", 5)]);
    let two: Vec<_> = of("/two/").map(|change| (key_of(change), revision_of(change) - from)).collect();
    assert_eq!(two, [("/two/a", 2), ("/two/c", 5)]);
}

pub async fn a_watch_from_a_compacted_revision_is_lost_for_ever(bench: &Bench) {
    let first = bench.put("/w/a", "1").await;
    for _ in 0..5 {
        bench.put("/w/a", "2").await;
    }
    bench.control.compact(first + 4).await;
    let mut watch = bench.watch(&["/w/", "/v/"], first).await;
    for _ in 0..2 {
        let item = next_item(&mut *watch).await;
        assert_eq!(item, WatchItem::Lost(WatchLost::Compacted(first + 4)));
    }
    let mut watch = bench.watch(&["/w/"], first + 5).await;
    next_changes(&mut *watch, 1).await;
}

pub async fn a_dropped_next_loses_nothing(bench: &Bench) {
    const COUNT: i64 = 20;
    let from = bench.put("/w/start", "1").await + 1;
    let mut watch = bench.watch(&["/w/"], from).await;
    let mut told = Vec::new();
    let mut tell = |item| match item {
        WatchItem::Changes { changes, .. } => {
            told.extend(changes.iter().map(revision_of));
            told.last() == Some(&(from + COUNT))
        }
        WatchItem::Progress(_) => false,
        WatchItem::Lost(lost) => panic!("{lost}"),
    };
    for n in 0..COUNT {
        bench.put(&format!("/w/{n}"), "1").await;
        // Polled once and dropped, as a `select!` does.
        watch.next().now_or_never().map(&mut tell);
    }
    bench.put("/w/end", "1").await;
    within("the last change", async { while !tell(watch.next().await) {} }).await;
    assert!(told.into_iter().eq(from..=from + COUNT));
}

pub async fn a_watch_without_range_or_revision_is_refused(bench: &Bench) {
    for (ranges, from) in [(vec![], 1), (vec![KeyRange::prefix("/w/")], 0)] {
        let refused = bench.store.watch(ranges, from).await.err();
        assert!(matches!(refused, Some(StoreError::Refused(_))), "{refused:?}");
    }
}
