//! Who asks for any node gets an idle one that is kept for people if there is one, as many as were asked for, and the same ones when the answer is lost.

use crate::fixture::{Cluster, Node, reason};
use crate::reserve::reserve;
use shoal_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

fn asked(nodes: u32) -> v1::LockAnyRequest {
    v1::LockAnyRequest {
        request_id: Uuid::now_v7().to_string(),
        nodes,
        by: "ann".to_owned(),
        for_ms: 60_000,
        ..v1::LockAnyRequest::default()
    }
}

async fn lock_any(node: &Node, request: v1::LockAnyRequest) -> Result<Vec<String>, Status> {
    let nodes = node.client.clone().lock_any(request).await?.into_inner().nodes;
    assert!(nodes.iter().all(|node| node.lock.as_ref().is_some_and(|lock| lock.left_ms >= 60_000)));
    Ok(nodes.into_iter().map(|node| node.node).collect())
}

async fn nodes(node: &Node) -> Vec<v1::Node> {
    node.client.clone().nodes(v1::NodesRequest {}).await.expect("nodes").into_inner().nodes
}

fn names(nodes: &[v1::Node], wanted: impl Fn(&v1::Node) -> bool) -> Vec<String> {
    nodes.iter().filter(|node| wanted(node)).map(|node| node.name.clone()).collect()
}

async fn five(cluster: &Cluster) -> Vec<Node> {
    let mut all = Vec::new();
    for n in 1..=5 {
        all.push(cluster.node(n).await);
    }
    all
}

fn set_running(cluster: &Cluster, name: &str, running: u32) {
    let mut nodes = cluster.nodes.lock().expect("no panic");
    nodes.iter_mut().find(|node| node.entry.name == name).expect("it lives").running = running;
}

#[tokio::test]
async fn idle_nodes_that_are_kept_come_first_then_idle_ones_then_busy_ones() {
    let cluster = Cluster::new();
    let all = five(&cluster).await;
    reserve(&all[0], 2, "").await.expect("kept");
    let before = nodes(&all[0]).await;
    let kept = names(&before, |node| node.kept);
    assert_eq!(lock_any(&all[1], asked(2)).await.expect("locked"), kept);
    let others = names(&before, |node| !node.kept);
    set_running(&cluster, &others[0], 3);
    assert_eq!(lock_any(&all[2], asked(1)).await.expect("locked"), [others[1].clone()]);
    assert_eq!(lock_any(&all[2], asked(2)).await.expect("locked"), [others[0].clone(), others[2].clone()]);
    let refused = lock_any(&all[3], asked(1)).await.expect_err("all are locked");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "NOT_ENOUGH_NODES"));
}

#[tokio::test]
async fn of_too_few_none_is_locked() {
    let cluster = Cluster::new();
    let all = five(&cluster).await;
    let refused = lock_any(&all[0], asked(6)).await.expect_err("there are five");
    let said = "5 nodes could be locked, not 6: the others are locked, drained or not ready";
    assert_eq!(refused.message(), said);
    let with = v1::LockAnyRequest { label: "no-such".to_owned(), ..asked(1) };
    let refused = lock_any(&all[0], with).await.expect_err("none has it");
    assert!(refused.message().starts_with("0 nodes with label no-such could"), "{}", refused.message());
    assert!(nodes(&all[0]).await.iter().all(|node| node.lock.is_none()));
}

#[tokio::test]
async fn a_retry_gets_the_same_nodes_and_another_request_others() {
    let cluster = Cluster::new();
    let all = five(&cluster).await;
    let request = asked(2);
    let got = lock_any(&all[0], request.clone()).await.expect("locked");
    assert_eq!(lock_any(&all[1], request.clone()).await.expect("again"), got);
    let more = lock_any(&all[2], asked(3)).await.expect("locked");
    assert!(more.iter().all(|node| !got.contains(node)), "{more:?}");
    assert_eq!(lock_any(&all[1], request).await.expect("and again"), got);
}

#[tokio::test]
async fn at_once_two_people_get_different_nodes() {
    let cluster = Cluster::new();
    let all = five(&cluster).await;
    let (one, other) = tokio::join!(lock_any(&all[0], asked(2)), lock_any(&all[1], asked(2)));
    let mut both = [one.expect("locked"), other.expect("locked")].concat();
    both.sort();
    both.dedup();
    assert_eq!(both.len(), 4);
}

#[tokio::test]
async fn it_is_for_a_time() {
    let cluster = Cluster::new();
    let all = five(&cluster).await;
    let refused = lock_any(&all[0], v1::LockAnyRequest { for_ms: 0, ..asked(1) }).await.expect_err("no end");
    let violations = refused.get_details_bad_request().expect("details").field_violations;
    assert_eq!(violations[0].field, "for_ms");
}
