//! A watch tells the present first, then every state a task comes to, in order.

use crate::fixture::{Cluster, Node, reason, request, spec, within};
use shoal_proto::v1::{self, State};
use tonic::{Code, Streaming};
use uuid::Uuid;

async fn watch(node: &Node, tasks: &[String]) -> Streaming<v1::WatchEvent> {
    let request = v1::WatchRequest { tasks: tasks.to_vec() };
    node.client.clone().watch(request).await.expect("it begins").into_inner()
}

async fn next(events: &mut Streaming<v1::WatchEvent>) -> Option<(String, State)> {
    let event = within("an event", events.message()).await.expect("no error")?;
    let task = event.task.expect("a task");
    assert_eq!(task.revision, event.revision);
    Some((task.id.clone(), task.state()))
}

#[tokio::test]
async fn the_present_state_comes_first_then_each_change_and_the_stream_ends_with_the_last_task() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let ids = node.submit(request(vec![spec("a"), spec("b")])).await.expect("accepted");
    let other = node.queue(spec("other")).await;
    let mut events = watch(&node, &ids).await;
    let mut first = [next(&mut events).await.expect("one"), next(&mut events).await.expect("two")];
    first.sort_unstable_by_key(|(id, _)| id.clone() != ids[0]);
    assert_eq!(first, [(ids[0].clone(), State::Queued), (ids[1].clone(), State::Queued)]);
    node.cancel(&other).await.expect("nobody watches it");
    node.steal(&ids[0]).await;
    assert_eq!(next(&mut events).await, Some((ids[0].clone(), State::Running)));
    node.finish(&ids[0], 0).await;
    assert_eq!(next(&mut events).await, Some((ids[0].clone(), State::Complete)));
    node.cancel(&ids[1]).await.expect("it is queued");
    assert_eq!(next(&mut events).await, Some((ids[1].clone(), State::Canceled)));
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test]
async fn what_has_ended_already_is_told_and_the_stream_ends() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    node.cancel(&id).await.expect("it is queued");
    let mut events = watch(&node, std::slice::from_ref(&id)).await;
    assert_eq!(next(&mut events).await, Some((id, State::Canceled)));
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test]
async fn a_watch_of_all_tells_changes_only_and_no_specs() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let before = node.queue(spec("before")).await;
    // Its creation has been told before the watch begins, so that it cannot be told after.
    within("the first change", async {
        let mut first = watch(&node, std::slice::from_ref(&before)).await;
        node.steal(&before).await;
        while next(&mut first).await.expect("it goes on").1 != State::Running {}
    })
    .await;
    let mut events = watch(&node, &[]).await;
    let after = node.queue(spec("after")).await;
    let event = within("an event", events.message()).await.expect("no error").expect("an event");
    let task = event.task.expect("a task");
    assert_eq!((task.id, task.spec.is_none()), (after, true));
}

#[tokio::test]
async fn an_unknown_task_is_refused() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let tasks = vec![node.queue(spec("a")).await, Uuid::from_u128(9).to_string()];
    let refused = node.client.clone().watch(v1::WatchRequest { tasks }).await.expect_err("no such task");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NO_SUCH_TASK"));
}

#[tokio::test]
async fn a_watcher_that_fell_behind_sees_the_last_state_of_its_tasks() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    let mut events = watch(&node, std::slice::from_ref(&id)).await;
    assert_eq!(next(&mut events).await, Some((id.clone(), State::Queued)));
    // The change that matters is never told, and then more are told at once than the channel holds.
    node.telling.abort();
    node.cancel(&id).await.expect("it is queued");
    let noise = shoal_server::seam::TaskChanged {
        task: "0192d000-0000-7000-8000-00000000000a".parse().expect("id"),
        revision: 1,
    };
    for _ in 0..5000 {
        node.changes.send(noise).expect("the watch listens");
    }
    assert_eq!(next(&mut events).await, Some((id, State::Canceled)));
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test]
async fn shutdown_ends_streams_and_says_so() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    let mut events = watch(&node, std::slice::from_ref(&id)).await;
    assert_eq!(next(&mut events).await, Some((id, State::Queued)));
    node.shutdown.cancel();
    let ended = within("the end", events.message()).await.expect_err("it is stopping");
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "NODE_STOPPING"));
}
