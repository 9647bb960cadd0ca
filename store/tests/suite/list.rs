//! Lists.

use super::{Bench, put};
use shoal_store::port::{KeyRange, ListOptions, Listing, Projection, StoreError};

async fn list(bench: &Bench, options: ListOptions) -> Result<Listing, StoreError> {
    bench.store.list(KeyRange::prefix("/k/"), options).await
}

fn keys(listing: &Listing) -> Vec<&str> {
    listing.kvs.iter().map(|kv| kv.key.as_str()).collect()
}

pub async fn an_old_revision_shows_the_old_state(bench: &Bench) {
    bench.put("/k/a", "1").await;
    let then = bench.put("/k/b", "1").await;
    bench.put("/k/a", "2").await;
    bench.delete("/k/b").await;
    let now = bench.put("/k/c", "1").await;
    let old = list(bench, ListOptions { revision: Some(then), ..Default::default() }).await.unwrap();
    assert_eq!((keys(&old), old.revision, old.count), (vec!["/k/a", "/k/b"], then, 2));
    assert_eq!(old.kvs[0].value, b"1");
    let new = list(bench, ListOptions::default()).await.unwrap();
    assert_eq!((keys(&new), new.revision, new.more), (vec!["/k/a", "/k/c"], now, false));
}

pub async fn limits_order_and_projections(bench: &Bench) {
    for key in ["/j", "/k/a", "/k/b", "/k/c", "/l"] {
        bench.put(key, "value").await;
    }
    let limit = |limit| ListOptions { limit, ..Default::default() };
    let two = list(bench, limit(2)).await.unwrap();
    assert_eq!((keys(&two), two.more, two.count), (vec!["/k/a", "/k/b"], true, 3));
    let three = list(bench, limit(3)).await.unwrap();
    assert_eq!((three.kvs.len(), three.more), (3, false));
    let last = list(bench, ListOptions { descending: true, ..limit(2) }).await.unwrap();
    assert_eq!((keys(&last), last.more), (vec!["/k/c", "/k/b"], true));
    let project = |projection| ListOptions { projection, ..Default::default() };
    let bare = list(bench, project(Projection::KeysOnly)).await.unwrap();
    assert_eq!(keys(&bare), ["/k/a", "/k/b", "/k/c"]);
    assert!(bare.kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 0));
    let count = list(bench, project(Projection::Count)).await.unwrap();
    assert_eq!((count.kvs.len(), count.count, count.more), (0, 3, false));
    let none = bench.store.list(KeyRange::prefix("/none/"), ListOptions::default()).await.unwrap();
    assert_eq!((none.kvs.len(), none.count, none.revision), (0, 0, count.revision));
}

pub async fn a_list_longer_than_a_page_is_whole_and_at_one_revision(bench: &Bench) {
    const COUNT: usize = 10_150;
    let all: Vec<String> = (0..COUNT).map(|n| format!("/k/{n:06}")).collect();
    let mut revision = 0;
    for chunk in all.chunks(100) {
        revision = bench.txn(chunk.iter().map(|key| put(key, "v")).collect()).await.revision;
    }
    bench.delete("/k/000000").await;
    let old = ListOptions { revision: Some(revision), ..Default::default() };
    let whole = list(bench, old.clone()).await.unwrap();
    assert!(keys(&whole).into_iter().eq(all.iter().map(String::as_str)));
    assert_eq!((whole.count, whole.more, whole.revision), (COUNT as u64, false, revision));
    let most = list(bench, ListOptions { limit: 10_100, descending: true, ..old }).await.unwrap();
    assert!(keys(&most).into_iter().eq(all.iter().rev().take(10_100).map(String::as_str)));
    assert!(most.more);
}

pub async fn compacted_and_future_revisions_are_refused(bench: &Bench) {
    let first = bench.put("/k/a", "1").await;
    let second = bench.put("/k/a", "2").await;
    let third = bench.put("/k/a", "3").await;
    bench.control.compact(second).await;
    let at = |revision| ListOptions { revision: Some(revision), ..Default::default() };
    let refused = list(bench, at(first)).await;
    assert!(matches!(refused, Err(StoreError::Compacted(revision)) if revision == first), "{refused:?}");
    assert_eq!(list(bench, at(second)).await.unwrap().kvs[0].value, b"2");
    assert_eq!(list(bench, at(third)).await.unwrap().kvs[0].value, b"3");
    let refused = list(bench, at(third + 10)).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}
