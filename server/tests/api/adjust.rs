//! What people change of a waiting task is in its record and in its queue entry, and what they cannot change says why.

use crate::fixture::{Cluster, Node, reason, request, spec};
use crate::model::TICK;
use shoal_core::entry::QueueEntry;
use shoal_proto::v1;
use shoal_store::key::Key;
use shoal_store::port::Store;
use shoal_store::record;
use tonic::{Code, Status};
use tonic_types::StatusExt;

async fn entry(cluster: &Cluster, task: &str) -> QueueEntry {
    let key = Key::Queued(task.parse().expect("an id")).to_string();
    let (kv, _) = cluster.memory.get(&key).await.expect("the model answers");
    record::decode_kv::<QueueEntry>(&kv.expect("it is queued")).expect("an entry").value
}

async fn reprioritize(node: &Node, task: &str, priority: u32) -> Result<v1::Task, Status> {
    let request = v1::ReprioritizeRequest { task: task.to_owned(), priority };
    Ok(node.client.clone().reprioritize(request).await?.into_inner().task.expect("a task"))
}

async fn hold(node: &Node, task: &str, why: &str) -> Result<v1::Task, Status> {
    let request = v1::HoldRequest { task: task.to_owned(), reason: why.to_owned(), by: "ann".to_owned() };
    Ok(node.client.clone().hold(request).await?.into_inner().task.expect("a task"))
}

async fn release(node: &Node, task: &str) -> Result<v1::Task, Status> {
    let request = v1::ReleaseRequest { task: task.to_owned() };
    Ok(node.client.clone().release(request).await?.into_inner().task.expect("a task"))
}

#[tokio::test]
async fn a_submit_says_the_priority_and_the_cluster_the_time() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let usual = node.queue(spec("a")).await;
    let high = node.queue(v1::TaskSpec { priority: 750, ..spec("b") }).await;
    let (usual, high) = (entry(&cluster, &usual).await, entry(&cluster, &high).await);
    assert_eq!((usual.priority.number(), usual.tick), (500, TICK));
    assert_eq!((high.priority.number(), high.tick), (750, TICK));
}

#[tokio::test]
async fn a_new_priority_is_in_the_queue_at_once_and_a_retry_of_the_submit_is_still_the_same() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let asked = request(vec![spec("a")]);
    let id = node.submit(asked.clone()).await.expect("accepted").remove(0);
    let task = reprioritize(&node, &id, 900).await.expect("changed");
    assert_eq!((task.priority, task.spec.expect("a spec").priority), (900, 500));
    assert_eq!(entry(&cluster, &id).await.priority.number(), 900);
    assert_eq!(node.submit(asked).await.expect("the same request"), [id]);
}

#[tokio::test]
async fn a_hold_says_who_and_why_and_a_release_ends_it() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    for why in ["the mirror is down", "still down"] {
        let held = hold(&node, &id, why).await.expect("held").hold.expect("who and why");
        assert_eq!((held.by.as_str(), held.reason.as_str()), ("ann", why));
        assert!(entry(&cluster, &id).await.held);
    }
    for _ in 0..2 {
        assert_eq!(release(&node, &id).await.expect("released").hold, None);
        assert!(!entry(&cluster, &id).await.held);
    }
}

#[tokio::test]
async fn what_runs_or_has_ended_is_refused_with_its_state() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    node.steal(&id).await;
    let refused = hold(&node, &id, "").await.expect_err("it runs");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "TASK_NOT_QUEUED"));
    assert_eq!(reprioritize(&node, &id, 1).await.expect("for a next attempt").priority, 1);
    node.finish(&id, 0).await;
    for refused in [hold(&node, &id, "").await, release(&node, &id).await, reprioritize(&node, &id, 7).await]
    {
        let refused = refused.expect_err("it has ended");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "TASK_ENDED"));
    }
}

#[tokio::test]
async fn a_priority_out_of_range_names_the_field_the_limit_and_the_value() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    let said = |status: Status| {
        let violations = status.get_details_bad_request().expect("details").field_violations;
        violations.into_iter().map(|v| format!("{}: {}", v.field, v.description)).collect::<Vec<_>>()
    };
    for bad in [0, 1001, u32::MAX] {
        let refused = reprioritize(&node, &id, bad).await.expect_err("out of range");
        assert_eq!(said(refused), [format!("priority: must be between 1 and 1000, was {bad}")]);
    }
    let refused = node.submit(request(vec![v1::TaskSpec { priority: 1001, ..spec("b") }])).await;
    let wanted = ["tasks[0].priority: must be between 1 and 1000, was 1001"];
    assert_eq!(said(refused.expect_err("out of range")), wanted);
    assert_eq!(entry(&cluster, &id).await.priority.number(), 500, "nothing has changed");
}
