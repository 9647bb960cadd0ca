//! Single keys and transactions.

use super::{Bench, put};
use shoal_store::port::{Compare, KeyRange, Op, OpReply, StoreError, Txn};

fn got(reply: &OpReply) -> Option<String> {
    match reply {
        OpReply::Got(kv) => kv.as_ref().map(|kv| String::from_utf8(kv.value.clone()).unwrap()),
        other => panic!("a read expected, got {other:?}"),
    }
}

pub async fn a_put_sets_both_revisions_and_a_change_only_the_second(bench: &Bench) {
    let created = bench.put("/a", "1").await;
    let changed = bench.put("/a", "2").await;
    assert_eq!(changed, created + 1);
    let (kv, revision) = bench.store.get("/a").await.unwrap();
    let kv = kv.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.lease), (created, changed, None));
    assert_eq!((kv.value.as_slice(), revision), (b"2".as_slice(), changed));
    bench.delete("/a").await;
    let again = bench.put("/a", "3").await;
    assert_eq!(bench.get("/a").await.unwrap().create_revision, again);
    assert_eq!(bench.get("/b").await, None);
}

pub async fn a_compare_with_zero_means_absent(bench: &Bench) {
    for compare in [Compare::ModRevision("/m".to_owned(), 0), Compare::CreateRevision("/c".to_owned(), 0)] {
        let key = match &compare {
            Compare::ModRevision(key, _) | Compare::CreateRevision(key, _) | Compare::Exists(key) => {
                key.clone()
            }
        };
        let create = Txn { compares: vec![compare], then: vec![put(&key, "1")], or_else: vec![] };
        assert!(bench.store.txn(create.clone()).await.unwrap().succeeded);
        assert!(!bench.store.txn(create.clone()).await.unwrap().succeeded, "it exists now");
        bench.delete(&key).await;
        assert!(bench.store.txn(create).await.unwrap().succeeded, "absent again");
    }
    let created = bench.put("/d", "1").await;
    bench.put("/d", "2").await;
    let by_create = Compare::CreateRevision("/d".to_owned(), created);
    let by_mod = Compare::ModRevision("/d".to_owned(), created);
    let check = |compare| bench.store.txn(Txn { compares: vec![compare], ..Txn::default() });
    assert!(check(by_create).await.unwrap().succeeded);
    assert!(!check(by_mod).await.unwrap().succeeded);
}

pub async fn a_failed_compare_takes_the_other_branch_and_writes_nothing(bench: &Bench) {
    let before = bench.put("/a", "1").await;
    let txn = Txn {
        compares: vec![
            Compare::ModRevision("/a".to_owned(), before),
            Compare::ModRevision("/absent".to_owned(), 7),
        ],
        then: vec![put("/a", "2"), put("/b", "2")],
        or_else: vec![Op::Get("/a".to_owned()), Op::Get("/b".to_owned())],
    };
    let reply = bench.store.txn(txn).await.unwrap();
    assert!(!reply.succeeded);
    assert_eq!(reply.revision, before, "nothing was written");
    assert_eq!(got(&reply.replies[0]).as_deref(), Some("1"));
    assert_eq!(got(&reply.replies[1]), None);
}

pub async fn a_nested_transaction_fails_alone(bench: &Bench) {
    bench.put("/taken", "x").await;
    let claim = |key: &str| {
        Op::Txn(Txn {
            compares: vec![Compare::ModRevision(key.to_owned(), 0)],
            then: vec![put(key, "mine")],
            or_else: vec![Op::Get(key.to_owned())],
        })
    };
    let reply = bench.txn(vec![claim("/free1"), claim("/taken"), claim("/free2")]).await;
    let inner: Vec<bool> = reply
        .replies
        .iter()
        .map(|reply| match reply {
            OpReply::Txn(inner) => inner.succeeded,
            other => panic!("a transaction expected, got {other:?}"),
        })
        .collect();
    assert_eq!((reply.succeeded, inner), (true, vec![true, false, true]));
    for key in ["/free1", "/free2"] {
        assert_eq!(bench.get(key).await.unwrap().mod_revision, reply.revision);
    }
    assert_eq!(bench.get("/taken").await.unwrap().value, b"x");
}

pub async fn nested_compares_see_the_state_before_the_whole(bench: &Bench) {
    let second = Txn {
        compares: vec![Compare::ModRevision("/a".to_owned(), 0)],
        then: vec![put("/b", "a was absent")],
        or_else: vec![],
    };
    let first = Txn { then: vec![put("/a", "1")], ..Txn::default() };
    bench.txn(vec![Op::Txn(first), Op::Txn(second)]).await;
    assert!(bench.get("/b").await.is_some(), "the write of /a is not seen by the compare");
}

pub async fn reads_in_a_transaction_see_its_writes(bench: &Bench) {
    bench.put("/gone", "1").await;
    let read = |key: &str| Op::Get(key.to_owned());
    let reply = bench
        .txn(vec![read("/a"), put("/a", "new"), read("/a"), Op::Delete("/gone".to_owned()), read("/gone")])
        .await;
    assert_eq!(got(&reply.replies[0]), None);
    assert_eq!(reply.replies[1], OpReply::Put);
    assert_eq!(got(&reply.replies[2]).as_deref(), Some("new"));
    assert_eq!(reply.replies[3], OpReply::Deleted(1));
    assert_eq!(got(&reply.replies[4]), None);
}

pub async fn two_writes_of_one_key_are_refused(bench: &Bench) {
    let nested = |op: Op| Op::Txn(Txn { then: vec![op], ..Txn::default() });
    let delete = || Op::Delete("/a".to_owned());
    for ops in [
        vec![put("/a", "1"), put("/a", "2")],
        vec![delete(), put("/a", "2")],
        vec![nested(put("/a", "1")), nested(put("/a", "2"))],
        vec![nested(put("/a", "1")), put("/a", "2")],
        vec![nested(delete()), nested(put("/a", "2"))],
    ] {
        let refused = bench.store.txn(Txn { then: ops.clone(), ..Txn::default() }).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{ops:?}: {refused:?}");
    }
    let exclusive = Txn { then: vec![put("/a", "1")], or_else: vec![put("/a", "2")], ..Txn::default() };
    bench.store.txn(exclusive).await.expect("only one of the branches writes");
}

pub async fn a_delete_of_nothing_makes_no_revision(bench: &Bench) {
    let before = bench.put("/a", "1").await;
    let reply = bench.txn(vec![Op::Delete("/absent".to_owned())]).await;
    assert_eq!((reply.revision, &reply.replies[0]), (before, &OpReply::Deleted(0)));
    let reply = bench.txn(vec![Op::Delete("/a".to_owned())]).await;
    assert_eq!((reply.revision, &reply.replies[0]), (before + 1, &OpReply::Deleted(1)));
}

pub async fn too_many_operations_and_too_many_bytes_are_too_large(bench: &Bench) {
    let many = (0..129).map(|n| put(&format!("/{n}"), "x")).collect();
    let refused = bench.store.txn(Txn { then: many, ..Txn::default() }).await;
    assert!(matches!(refused, Err(StoreError::TooLarge(_))), "{refused:?}");
    for megabytes in [2, 5] {
        let large = vec![put("/large", &"x".repeat(megabytes << 20))];
        let refused = bench.store.txn(Txn { then: large, ..Txn::default() }).await;
        assert!(matches!(refused, Err(StoreError::TooLarge(_))), "{megabytes} MiB: {refused:?}");
    }
    bench.put("/fits", &"x".repeat(1 << 20)).await;
}

pub async fn stale_reads_keep_the_order_asked_for(bench: &Bench) {
    for n in 0..5 {
        bench.put(&format!("/key/{n}"), &n.to_string()).await;
    }
    let keys: Vec<String> = (0..250).rev().map(|n| format!("/key/{n}")).collect();
    let found = bench.store.get_many_stale(&keys).await.unwrap();
    assert_eq!(found.len(), keys.len());
    for (key, kv) in keys.iter().zip(&found) {
        let exists = key.len() == "/key/0".len() && key.as_str() < "/key/5";
        assert_eq!(kv.as_ref().map(|kv| &kv.key), exists.then_some(key));
    }
    assert_eq!(bench.store.get_many_stale(&[]).await.unwrap(), vec![]);
}

pub async fn a_key_that_must_exist_may_have_any_revision(bench: &Bench) {
    let asks = |key: &str| Txn {
        compares: vec![Compare::Exists(key.to_owned())],
        then: vec![put("/found", "1")],
        ..Txn::default()
    };
    bench.put("/a", "1").await;
    bench.put("/a", "2").await;
    assert!(bench.store.txn(asks("/a")).await.unwrap().succeeded);
    assert!(!bench.store.txn(asks("/b")).await.unwrap().succeeded);
    bench.delete("/a").await;
    assert!(!bench.store.txn(asks("/a")).await.unwrap().succeeded);
}

pub async fn a_range_is_deleted_as_one(bench: &Bench) {
    for key in ["/r/", "/r/a", "/r/b", "/s"] {
        bench.put(key, "1").await;
    }
    let range = || Op::DeleteRange(KeyRange::prefix("/r/"));
    let reply = bench.txn(vec![range(), put("/t", "1")]).await;
    assert_eq!(reply.replies, [OpReply::Deleted(3), OpReply::Put]);
    assert!(bench.get("/r/a").await.is_none() && bench.get("/s").await.is_some());
    let reply = bench.txn(vec![range()]).await;
    assert_eq!(reply.replies, [OpReply::Deleted(0)]);
    let clash = Txn { then: vec![range(), put("/r/c", "1")], ..Txn::default() };
    assert!(
        matches!(bench.store.txn(clash).await, Err(StoreError::Refused(_))),
        "it would write a key twice"
    );
}
