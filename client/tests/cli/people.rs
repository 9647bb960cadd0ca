//! Moves, nodes that are kept for people, and any nodes for oneself.

use crate::support::program::shoal_with;
use crate::support::{Node, Shared, shoal};
use serde_json::{Value, json};
use shoal_proto::v1::move_task_request::To;

fn node() -> (Shared, Node) {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    (shared, node)
}

fn queue(node: &Node, count: usize) -> Vec<String> {
    let submitted = shoal_with(&node.address, &["submit", "-q", "--file", "-"], &"queue\n".repeat(count));
    submitted.stdout.lines().map(str::to_owned).collect()
}

fn said(node: &Node, arguments: &[&str]) -> String {
    let done = shoal(&node.address, arguments);
    assert_eq!(done.code, 0, "{arguments:?}: {}", done.stderr);
    done.stdout
}

/// What was asked for, in the order in which it was: the task, and where to.
fn asked(shared: &Shared) -> Vec<(String, To)> {
    std::mem::take(&mut shared.lock().moves).into_iter().map(|it| (it.task, it.to.unwrap())).collect()
}

#[test]
fn what_a_node_does_not_enforce_is_shown_with_its_name() {
    let (shared, node) = node();
    let plain = shoal(&node.address, &["node", "ls"]).stdout;
    assert!(!plain.contains("not enforced"), "{plain}");
    shared.lock().unenforced = [("node-2".to_owned(), vec!["memory".to_owned(), "ids".to_owned()])].into();
    let list = shoal(&node.address, &["node", "ls"]).stdout;
    assert!(list.contains("not enforced, for lack of root: node-2 memory, ids"), "{list}");
    let json = shoal(&node.address, &["node", "ls", "-o", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["nodes"][1]["unenforced"], serde_json::json!(["memory", "ids"]));
}

#[test]
fn several_tasks_are_moved_into_the_order_in_which_they_are_given() {
    let (shared, node) = node();
    let ids = queue(&node, 4);
    let [a, b, c, d] = [0, 1, 2, 3].map(|n| ids[n].clone());
    said(&node, &["move", &a, &b, &c, "--before", &d]);
    let before = |task: &str| To::Before(task.to_owned());
    let wanted = [(c.clone(), before(&d)), (b.clone(), before(&c)), (a.clone(), before(&b))];
    assert_eq!(asked(&shared), wanted);
    said(&node, &["move", &a, &b, "--last"]);
    assert_eq!(asked(&shared), [(a.clone(), To::Last(true)), (b.clone(), To::Behind(a.clone()))]);
    // A word means them in the order in which they came.
    let names = said(&node, &["move", "@queued", "--first", "-q"]);
    assert_eq!(names.lines().collect::<Vec<_>>(), ids);
    assert_eq!(asked(&shared)[0], (d.clone(), To::First(true)));
    let shown = said(&node, &["show", &a]);
    assert!(shown.lines().any(|line| line.starts_with("moved ") && line.contains("by ann")), "{shown}");
    let document: Value = serde_json::from_str(&said(&node, &["show", &a, "-o", "json"])).unwrap();
    assert_eq!(document["moved"], json!({"by": "ann", "to": "first", "at_ms": 1_700_000_000_180_i64}));
}

#[test]
fn what_cannot_be_moved_is_named_and_the_others_are_moved() {
    let (shared, node) = node();
    let ids = queue(&node, 2);
    let running = shoal(&node.address, &["submit", "-q", "--", "hold"]).stdout.trim().to_owned();
    let done = shoal(&node.address, &["move", &ids[0], &running, &ids[1], "--first", "-q"]);
    assert_eq!((done.code, done.stdout.lines().collect::<Vec<_>>()), (125, vec![ids[0].as_str(), &ids[1]]));
    assert!(done.stderr.contains(&format!("cannot move task {running}")), "{}", done.stderr);
    assert_eq!(asked(&shared).last().unwrap().1, To::Before(ids[1].clone()), "together all the same");
    for wrong in [&["move", &ids[0]][..], &["move", &ids[0], "--first", "--last"], &["move", "--first"]] {
        assert_eq!(shoal(&node.address, wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn nodes_are_kept_for_people_and_seen_to_be() {
    let (_shared, node) = node();
    assert_eq!(
        said(&node, &["queue", "reserve", "1", "--label", "a=b"]),
        "kept for people: 1 node with a=b by ann\n"
    );
    let list = said(&node, &["node", "ls"]);
    assert!(list.contains("kept for people: node-2\n") && list.contains("node-2  kept"), "{list}");
    assert!(said(&node, &["status"]).contains("kept for people: 1 node with a=b by ann\n"));
    let document: Value = serde_json::from_str(&said(&node, &["status", "-o", "json"])).unwrap();
    assert_eq!((&document["reserve"]["nodes"], &document["reserve"]["label"]), (&json!(1), &json!("a=b")));
    assert_eq!(said(&node, &["queue", "reserve", "0"]), "no nodes are kept for people any more\n");
    let document: Value = serde_json::from_str(&said(&node, &["status", "-o", "json"])).unwrap();
    assert_eq!(document["reserve"], Value::Null);
}

#[test]
fn any_nodes_are_locked_and_named() {
    let (_shared, node) = node();
    let text = said(&node, &["node", "lock", "--any", "--count", "2", "--for", "2h", "--reason", "a crash"]);
    let wanted = "node-1 locked by ann for 2h0m: a crash\nnode-2 locked by ann for 2h0m: a crash; a task still runs there\n";
    assert_eq!(text, wanted);
    assert_eq!(said(&node, &["node", "lock", "--any", "--for", "1m", "-q"]), "node-1\n");
    let document = said(&node, &["node", "lock", "--any", "--for", "1m", "-o", "json"]);
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(
        (&document["nodes"][0]["node"], &document["nodes"][0]["lock"]["by"]),
        (&json!("node-1"), &json!("ann"))
    );
    let refused = shoal(&node.address, &["node", "lock", "--any", "--count", "3", "--for", "1m"]);
    assert_eq!(refused.code, 125);
    assert!(refused.stderr.contains("2 nodes could be locked, not 3"), "{}", refused.stderr);
    for wrong in [
        &["node", "lock", "--for", "1m"][..],
        &["node", "lock", "n1", "--any", "--for", "1m"],
        &["node", "lock", "--any"],
    ] {
        assert_eq!(shoal(&node.address, wrong).code, 2, "{wrong:?}");
    }
}
