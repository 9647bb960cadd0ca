//! Locks of nodes and the pause of the queue: who may, how long, and what is seen of them.

use crate::fixture::{Cluster, Node, reason};
use crate::model::TICK;
use shoal_core::clock::{TICK_S, Tick};
use shoal_core::lock::{LockEntry, Lockable};
use shoal_proto::v1;
use shoal_store::key::Key;
use shoal_store::port::Store;
use shoal_store::record;
use tonic::{Code, Status};
use tonic_types::StatusExt;

fn asked(by: &str, for_ms: u64) -> v1::LockNodeRequest {
    let (node, by, reason) = ("n1".to_owned(), by.to_owned(), "a new disk".to_owned());
    v1::LockNodeRequest { node, by, reason, for_ms, force: false }
}

async fn lock(node: &Node, request: v1::LockNodeRequest) -> Result<v1::LockInfo, Status> {
    Ok(node.client.clone().lock_node(request).await?.into_inner().lock.expect("the lock"))
}

async fn unlock(node: &Node, by: &str, force: bool) -> Result<(), Status> {
    let request = v1::UnlockNodeRequest { node: "n1".to_owned(), by: by.to_owned(), force };
    node.client.clone().unlock_node(request).await.map(|_| ())
}

async fn seen(node: &Node) -> Option<v1::LockInfo> {
    let nodes = node.client.clone().nodes(v1::NodesRequest {}).await.expect("nodes").into_inner().nodes;
    nodes.into_iter().find(|it| it.name == "n1").expect("it lives").lock
}

async fn stored(cluster: &Cluster, what: Lockable) -> Option<LockEntry> {
    let (kv, _) = cluster.memory.get(&Key::Lock(what).to_string()).await.expect("the model answers");
    Some(record::decode_kv(&kv?).expect("an entry").value)
}

#[tokio::test]
async fn a_drained_node_is_so_until_it_is_resumed() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    for _ in 0..2 {
        let drained = lock(&node, asked("ann", 0)).await.expect("drained");
        assert_eq!((drained.by.as_str(), drained.reason.as_str(), drained.left_ms), ("ann", "a new disk", 0));
        assert_eq!(seen(&node).await, Some(drained));
    }
    for _ in 0..2 {
        unlock(&node, "ann", false).await.expect("resumed");
        assert_eq!(seen(&node).await, None);
    }
}

#[tokio::test]
async fn a_lock_with_an_end_says_what_is_left_of_it() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let locked = lock(&node, asked("ann", 60_000)).await.expect("locked");
    assert!((60_000..=70_000).contains(&locked.left_ms), "{}", locked.left_ms);
    let until = stored(&cluster, Lockable::Node("n1".to_owned())).await.expect("it is there").until;
    assert_eq!(until, Some(Tick(TICK.0 + 60 / TICK_S + 1)));
}

#[tokio::test]
async fn what_somebody_else_has_locked_is_his_unless_it_is_taken_by_force() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    lock(&node, asked("ann", 60_000)).await.expect("locked");
    for refused in [lock(&node, asked("bob", 0)).await.map(|_| ()), unlock(&node, "bob", false).await] {
        let refused = refused.expect_err("it is ann's");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "NODE_LOCKED"));
        assert_eq!(refused.message(), "node n1 is locked by ann: a new disk");
    }
    let taken = lock(&node, v1::LockNodeRequest { force: true, ..asked("bob", 0) }).await.expect("taken");
    assert_eq!(taken.by, "bob");
    unlock(&node, "ann", true).await.expect("by force");
    assert_eq!(seen(&node).await, None);
}

#[tokio::test]
async fn a_lock_that_is_over_is_nobodys() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let over = LockEntry { until: Some(TICK), ..entry("bob") };
    cluster.put(Lockable::Node("n1".to_owned()), &over).await;
    assert_eq!(seen(&node).await, None);
    assert_eq!(lock(&node, asked("ann", 0)).await.expect("free").by, "ann");
}

fn entry(by: &str) -> LockEntry {
    serde_json::from_value(serde_json::json!({"by": by, "at": 0})).expect("an entry")
}

#[tokio::test]
async fn a_node_that_does_not_live_is_named_with_those_that_do() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let other = v1::LockNodeRequest { node: "n7".to_owned(), ..asked("ann", 0) };
    let refused = lock(&node, other.clone()).await.expect_err("no such node");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NO_SUCH_NODE"));
    assert_eq!(refused.message(), "no live node is called \"n7\", there are: n1");
    lock(&node, v1::LockNodeRequest { force: true, ..other }).await.expect("before it comes up");
    for bad in ["", "a/b", "../queue", &"n".repeat(65)] {
        let request = v1::LockNodeRequest { node: bad.to_owned(), force: true, ..asked("ann", 0) };
        let refused = lock(&node, request).await.expect_err("no name");
        assert_eq!(refused.code(), Code::NotFound, "{bad:?}");
    }
    assert_eq!(stored(&cluster, Lockable::Queue).await, None);
}

#[tokio::test]
async fn bad_words_and_times_name_the_field_the_limit_and_the_value() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let request = v1::LockNodeRequest { reason: "x".repeat(1025), for_ms: 9_999, ..asked("a\nb", 0) };
    let refused = lock(&node, request).await.expect_err("three bad fields");
    let violations = refused.get_details_bad_request().expect("details").field_violations;
    let said: Vec<String> = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
    assert_eq!(
        said,
        [
            "by: must not contain control characters, was \"a\\nb\"",
            "reason: must be at most 1024 characters, was 1025",
            "for_ms: must be 0 (no end) or between 10000 and 31536000000, was 9999",
        ]
    );
    assert_eq!(seen(&node).await, None);
}

#[tokio::test]
async fn a_paused_queue_says_so_and_anybody_resumes_it() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let request = v1::PauseQueueRequest { by: "ann".to_owned(), reason: "the mirror".to_owned(), for_ms: 0 };
    let pause = node.client.clone().pause_queue(request).await.expect("paused").into_inner().pause;
    let status = || async {
        node.client.clone().status(v1::StatusRequest {}).await.expect("a status").into_inner().pause
    };
    assert_eq!(status().await, pause);
    assert_eq!(pause.expect("who and why").reason, "the mirror");
    for _ in 0..2 {
        node.client.clone().resume_queue(v1::ResumeQueueRequest {}).await.expect("resumed");
        assert_eq!(status().await, None);
    }
}
