//! A task gets what is expected of it when it is submitted, from what the accepting node knows, and keeps it.

use crate::fixture::{Cluster, Node, request, spec};
use shoal_core::duration::DurationEntry;
use shoal_core::entry::QueueEntry;
use shoal_store::key::Key;
use shoal_store::port::{Change, KeyValue, Store};
use shoal_store::record;

/// The node's watch brings this.
fn learns(node: &Node, name: &str, expected_s: u32, runs: u64) {
    let value = record::encode(&DurationEntry { expected_s, runs, ..DurationEntry::default() });
    let key = Key::Duration(name.to_owned()).to_string();
    let kv = KeyValue { key, value, create_revision: 1, mod_revision: 1, lease: None };
    node.durations.fold(&Change::Put(kv));
}

#[tokio::test]
async fn a_submission_carries_what_is_known_of_its_name() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    learns(&node, "rados/thrash ec", 720, 34);
    let known = node.queue(spec("rados/thrash ec")).await;
    let task = node.get(&known).await.expect("it is there");
    assert_eq!((task.expected_ms, task.expected_from), (720_000, 34));
    let key = Key::Queued(known.parse().expect("an id")).to_string();
    let kv = cluster.memory.get(&key).await.expect("the model answers").0.expect("it is queued");
    assert_eq!(record::decode_kv::<QueueEntry>(&kv).expect("an entry").value.expected_s, 720);
    for unknown in ["rados/thrash", ""] {
        let id = node.queue(spec(unknown)).await;
        let task = node.get(&id).await.expect("it is there");
        assert_eq!((task.expected_ms, task.expected_from), (0, 0), "{unknown:?}");
    }
}

#[tokio::test]
async fn what_is_learned_later_changes_neither_the_task_nor_its_request() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let request = request(vec![spec("a")]);
    let ids = node.submit(request.clone()).await.expect("accepted");
    learns(&node, "a", 60, 1);
    assert_eq!(node.submit(request).await.expect("the same request"), ids);
    assert_eq!(node.get(&ids[0]).await.expect("it is there").expected_ms, 0);
}
