//! The wait for an empty node answers when the node has seen the lock and nothing runs there, and not before.

use crate::fixture::{Cluster, Node, reason, spec, within};
use shoal_core::lock::Lockable;
use shoal_proto::v1;
use shoal_store::key::Key;
use shoal_store::port::Store;
use std::pin::Pin;
use std::time::Duration;
use tonic::{Code, Status};

/// Long enough for an answer that should not come.
const A_WHILE: Duration = Duration::from_millis(300);

type Answer = Result<v1::WaitDrainedResponse, Status>;

fn wait(node: &Node) -> Pin<Box<dyn Future<Output = Answer>>> {
    let mut client = node.client.clone();
    Box::pin(async move {
        let request = v1::WaitDrainedRequest { node: "n1".to_owned() };
        Ok(client.wait_drained(request).await?.into_inner())
    })
}

async fn lock(node: &Node) {
    let request = v1::LockNodeRequest { node: "n1".to_owned(), by: "ann".to_owned(), ..Default::default() };
    node.client.clone().lock_node(request).await.expect("locked");
}

/// Node 1 says that it has seen the lock.
async fn say_seen(cluster: &Cluster) {
    let key = Key::Lock(Lockable::Node("n1".to_owned())).to_string();
    let (lock, _) = cluster.memory.get(&key).await.expect("the model answers");
    let lock = lock.expect("it is locked").mod_revision;
    let mut nodes = cluster.nodes.lock().expect("no panic");
    nodes.iter_mut().find(|node| node.entry.name == "n1").expect("it lives").entry.lock_seen = Some(lock);
}

async fn still_waits(wait: &mut (impl Future + Unpin)) {
    assert!(tokio::time::timeout(A_WHILE, wait).await.is_err(), "it is too early");
}

#[tokio::test]
async fn it_waits_for_the_nodes_own_word_and_then_for_what_runs() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node(1).await, cluster.node(2).await);
    lock(&other).await;
    let mut waiting = wait(&other);
    still_waits(&mut waiting).await;
    // Nothing runs there, but a start is under way: it comes before the node's word.
    let task = node.queue(spec("a")).await;
    node.steal(&task).await;
    say_seen(&cluster).await;
    other.propose.tell();
    still_waits(&mut waiting).await;
    node.finish(&task, 0).await;
    other.propose.tell();
    let answer = within("the node to be empty", waiting).await.expect("an answer");
    assert_eq!((answer.drained, answer.running), (true, 0));
}

#[tokio::test]
async fn a_node_that_is_gone_is_empty_when_what_it_had_is_lost_or_runs_elsewhere() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node(1).await, cluster.node(2).await);
    let task = node.queue(spec("a")).await;
    node.steal(&task).await;
    lock(&other).await;
    let mut waiting = wait(&other);
    cluster.nodes.lock().expect("no panic").retain(|node| node.entry.name != "n1");
    other.propose.tell();
    still_waits(&mut waiting).await;
    node.lose(&task, 1).await;
    other.propose.tell();
    let answer = within("the node to be empty", waiting).await.expect("an answer");
    assert!(answer.drained);
}

#[tokio::test]
async fn a_node_that_takes_tasks_is_not_waited_for() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let refused = wait(&node).await.expect_err("nobody has locked it");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "NODE_NOT_LOCKED"));
    lock(&node).await;
    let mut waiting = wait(&node);
    still_waits(&mut waiting).await;
    let request = v1::UnlockNodeRequest { node: "n1".to_owned(), by: "ann".to_owned(), force: false };
    node.client.clone().unlock_node(request).await.expect("unlocked");
    node.propose.tell();
    let refused = within("the wait to end", waiting).await.expect_err("it takes tasks again");
    assert_eq!(reason(&refused), "NODE_NOT_LOCKED");
}
