//! A move is in the record and in the queue entry, says who and where to, and what cannot be moved says why.

use crate::fixture::{Cluster, Node, reason, spec};
use shoal_core::entry::QueueEntry;
use shoal_core::place::Place;
use shoal_proto::v1::{self, move_task_request::To};
use shoal_store::key::Key;
use shoal_store::port::Store;
use shoal_store::record;
use tonic::{Code, Status};
use tonic_types::StatusExt;

async fn move_to(node: &Node, task: &str, to: To) -> Result<v1::Task, Status> {
    let request = v1::MoveTaskRequest { task: task.to_owned(), to: Some(to), by: "ann".to_owned() };
    Ok(node.client.clone().move_task(request).await?.into_inner().task.expect("a task"))
}

/// Ids in the order of the queue.
async fn order(cluster: &Cluster, ids: &[String]) -> Vec<String> {
    let mut places: Vec<(Place, String)> = Vec::new();
    for id in ids {
        let key = Key::Queued(id.parse().expect("an id")).to_string();
        let (kv, _) = cluster.memory.get(&key).await.expect("the model answers");
        let stored = record::decode_kv::<QueueEntry>(&kv.expect("it is queued")).expect("an entry");
        places.push((Place::of(&stored.value, stored.create_revision), id.clone()));
    }
    places.sort();
    places.into_iter().map(|(_, id)| id).collect()
}

async fn four(node: &Node) -> [String; 4] {
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d"] {
        ids.push(node.queue(spec(name)).await);
    }
    ids.try_into().expect("four")
}

#[tokio::test]
async fn a_task_stands_where_it_was_moved_to_and_says_who_did_it() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let [a, b, c, d] = four(&node).await;
    let ids = [a.clone(), b.clone(), c.clone(), d.clone()];
    let orders = [
        (&d, To::Before(b.clone()), [&a, &d, &b, &c], format!("before {}", b[24..32].to_owned())),
        (&c, To::First(true), [&c, &a, &d, &b], "first".to_owned()),
        (&a, To::Last(true), [&c, &d, &b, &a], "last".to_owned()),
        (&a, To::Last(true), [&c, &d, &b, &a], "last".to_owned()),
        (&c, To::Behind(d.clone()), [&d, &c, &b, &a], format!("behind {}", d[24..32].to_owned())),
    ];
    for (task, to, expected, words) in orders {
        let moved = move_to(&node, task, to).await.expect("moved").moved.expect("who and where to");
        assert_eq!((moved.by.as_str(), moved.to), ("ann", words));
        assert_eq!(order(&cluster, &ids).await, expected.map(String::clone));
    }
    let why = v1::WhyRequest { task: c.clone() };
    let why = node.client.clone().why(why).await.expect("an answer").into_inner().summary;
    assert!(why.ends_with(&format!("; ann has moved it behind {}", &d[24..32])), "{why}");
}

#[tokio::test]
async fn a_new_priority_ends_a_move_and_a_held_task_can_be_moved() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let [a, b, c, d] = four(&node).await;
    let ids = [a.clone(), b.clone(), c.clone(), d.clone()];
    let hold = v1::HoldRequest { task: d.clone(), by: "ann".to_owned(), ..Default::default() };
    node.client.clone().hold(hold).await.expect("held");
    let moved = move_to(&node, &d, To::First(true)).await.expect("moved");
    assert!(moved.hold.is_some() && moved.moved.is_some());
    assert_eq!(order(&cluster, &ids).await[0], d);
    let request = v1::ReprioritizeRequest { task: d.clone(), priority: 500 };
    let task = node.client.clone().reprioritize(request).await.expect("changed").into_inner().task;
    assert_eq!(task.expect("a task").moved, None);
    assert_eq!(order(&cluster, &ids).await, ids);
}

#[tokio::test]
async fn the_only_task_of_the_queue_can_be_moved_to_both_ends_of_it() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    for to in [To::First(true), To::Last(true)] {
        move_to(&node, &id, to).await.expect("moved");
    }
}

#[tokio::test]
async fn what_cannot_be_moved_or_moved_to_says_why() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let [a, b, c, _] = four(&node).await;
    node.steal(&b).await;
    node.steal(&c).await;
    node.finish(&c, 0).await;
    let absent = "0192d000-0000-7000-8000-00000000ffff".to_owned();
    let precondition = Code::FailedPrecondition;
    let cases = [
        (&b, To::First(true), precondition, "TASK_NOT_QUEUED", "runs: only tasks that wait"),
        (&c, To::Last(true), precondition, "TASK_ENDED", "has ended already: complete"),
        (&a, To::Before(b.clone()), precondition, "TASK_NOT_QUEUED", &b),
        (&a, To::Behind(c.clone()), precondition, "TASK_ENDED", &c),
        (&a, To::Before(absent.clone()), Code::NotFound, "NO_SUCH_TASK", &absent),
        (&absent, To::Before(a.clone()), Code::NotFound, "NO_SUCH_TASK", &absent),
    ];
    for (task, to, code, word, part) in cases {
        let refused = move_to(&node, task, to.clone()).await.expect_err("it cannot be");
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, word), "{to:?}");
        assert!(refused.message().contains(part), "{}", refused.message());
    }
    let said = |status: Status| {
        let violations = status.get_details_bad_request().expect("details").field_violations;
        violations.into_iter().map(|v| format!("{}: {}", v.field, v.description)).collect::<Vec<_>>()
    };
    let itself = move_to(&node, &a, To::Before(a[24..32].to_owned())).await.expect_err("itself");
    assert_eq!(said(itself), [format!("before: must be another task, was {a} itself")]);
    let nowhere = move_to(&node, &a, To::First(false)).await.expect_err("nowhere");
    assert_eq!(said(nowhere), ["to: must be before or behind a task, first or last"]);
}
