//! Tasks of several nodes, nodes for oneself and what is counted: how they are asked for, and how they are shown.

use crate::support::{Node, Shared, program, shoal};
use shoal_proto::v1;
use shoal_proto::v1::exit::How;

fn node() -> (Shared, Node) {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    (shared, node)
}

fn part(nodes: u32, labels: &[&str]) -> v1::GangPart {
    v1::GangPart { nodes, labels: labels.iter().map(|label| (*label).to_owned()).collect() }
}

/// Submits with these options, and returns the task as it was asked for.
fn submitted(shared: &Shared, node: &Node, options: &[&str]) -> v1::TaskSpec {
    let sent = shoal(&node.address, &[&["submit", "-q"], options, &["--", "queue"]].concat());
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    shared.lock().tasks.last().unwrap().spec.clone().unwrap()
}

#[test]
fn options_ask_for_nodes_counts_and_an_end() {
    let (shared, node) = node();
    let spec = submitted(
        &shared,
        &node,
        &["--nodes", "2:type=smithi,ssd", "--nodes", "1", "--gang-end", "lead", "--exclusive"],
    );
    assert_eq!(spec.parts, [part(2, &["type=smithi", "ssd"]), part(1, &[])]);
    assert_eq!((spec.gang_end(), spec.exclusive), (v1::GangEnd::Lead, true));
    let spec = submitted(&shared, &node, &["--resource", "gpu=2", "--resource", "tape=1"]);
    assert_eq!((spec.counts["gpu"], spec.counts["tape"], spec.parts.len()), (2, 1, 0));
    for bad in [["--nodes", "0"], ["--nodes", "2:"], ["--resource", "gpu"], ["--gang-end", "never"]] {
        let refused = shoal(&node.address, &["submit", bad[0], bad[1], "--", "queue"]);
        assert_eq!(refused.code, 2, "{bad:?}: {}", refused.stderr);
    }
}

#[test]
fn what_a_member_submits_is_of_one_node_unless_it_says_otherwise() {
    let (shared, node) = node();
    let run = |name: &str| {
        let mut command = program::command(&node.address, &["submit", "--", "queue"]);
        assert!(command.env(name, "3").status().unwrap().success());
        shared.lock().tasks.last().unwrap().spec.clone().unwrap().parts
    };
    assert_eq!(run("SHOAL_NODES"), [], "the member's own number of nodes is no default");
    assert_eq!(run("SHOAL_TASK_NODES"), [part(3, &[])]);
}

#[test]
fn members_are_shown_by_rank_with_their_ends() {
    let (shared, node) = node();
    let sent = shoal(&node.address, &["submit", "-q", "--nodes", "3", "--", "queue"]);
    let id = sent.stdout.trim().to_owned();
    let list = shoal(&node.address, &["list"]).stdout;
    assert!(list.contains("(3 nodes)"), "{list}");
    shared.change(|world| {
        world.start(&id, "node-1");
        let exit = v1::Exit { how: Some(How::Code(3)), oom_killed: false };
        let member = |name: &str, end: &str| v1::Member {
            node_name: name.to_owned(),
            address: "127.0.0.1".to_owned(),
            end: end.to_owned(),
            exit: (!end.is_empty()).then_some(exit),
            ..v1::Member::default()
        };
        world.update(&id, |task| {
            task.attempts[0].members =
                vec![member("node-1", ""), member("node-2", "exit 3"), member("n3", "")];
        });
    });
    let list = shoal(&node.address, &["list"]).stdout;
    assert!(list.contains("node-1+2"), "{list}");
    let shown = shoal(&node.address, &["show", &id]).stdout;
    assert!(shown.contains("nodes      3 at once (3); ends by first-failure\n"), "{shown}");
    let (_, members) = shown.split_once("members of attempt 1\n").unwrap();
    let line = |rank: &str| members.lines().find(|line| line.starts_with(rank)).unwrap_or_default();
    assert_eq!(
        line("0 ").split_whitespace().collect::<Vec<_>>(),
        ["0", "node-1", "127.0.0.1", "running", "-"]
    );
    assert!(line("1  ").contains("ended") && line("1  ").ends_with("exit 3"), "{shown}");
    let json = shoal(&node.address, &["show", &id, "-o", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["spec"]["parts"], serde_json::json!([{"nodes": 3, "labels": []}]));
    let members = &json["attempts"][0]["members"];
    assert_eq!((&members[1]["rank"], &members[1]["exit"]["code"]), (&1.into(), &3.into()));
    assert_eq!(
        (&members[0]["end"], &members[0]["exit"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
}

#[test]
fn the_end_of_several_names_the_member_that_counts() {
    let (shared, node) = node();
    let sent = shoal(&node.address, &["submit", "-q", "--nodes", "2", "--", "exit", "3"]);
    let id = sent.stdout.trim().to_owned();
    shared.change(|world| {
        world.update(&id, |task| {
            task.attempts[0].members = vec![v1::Member::default(); 2];
            task.attempts[0].end = "exit 3 (member 1 on node-2)".to_owned();
        });
    });
    let waited = shoal(&node.address, &["wait", &id]);
    assert_eq!(waited.code, 3);
    assert!(waited.stderr.contains("exit 3 (member 1 on node-2)"), "{}", waited.stderr);
}

#[test]
fn the_lines_of_all_members_are_told_apart_by_rank_and_one_member_is_read_as_it_is() {
    let (shared, node) = node();
    let sent = shoal(&node.address, &["submit", "-q", "--nodes", "2", "--", "echo", "a"]);
    let id = sent.stdout.trim();
    shared.change(|world| {
        world.update(id, |task| task.attempts[0].members = vec![v1::Member::default(); 2]);
    });
    let read = |args: &[&str]| shoal(&node.address, args).stdout;
    assert_eq!(read(&["log", id]), "0: a\n1: a\n");
    assert_eq!(read(&["log", "--rank", "1", id]), "a\n");
    assert_eq!(read(&["log", "-f", "--rank", "1", id]), "a\n");
    assert_eq!(shared.lock().ranks, [0, 1, 1, 1]);
    let last = u32::MAX.to_string();
    assert_eq!(read(&["log", "-f", "--rank", &last, id]), "a\n", "whatever the cluster says of such a rank");
    let followed = read(&["log", "-f", id]);
    let lines: std::collections::BTreeSet<&str> = followed.lines().collect();
    assert_eq!(lines, ["0: a", "1: a"].into());
}

#[test]
fn what_is_impossible_is_queued_and_said_where_that_is_asked_for() {
    let (shared, node) = node();
    shared.lock().impossible = vec!["tasks[0].parts: it takes 9 nodes at once".to_owned()];
    let plain = shoal(&node.address, &["submit", "-q", "--", "queue"]);
    assert_eq!((plain.code, plain.stderr.as_str()), (0, ""));
    let sent = shoal(&node.address, &["submit", "--allow-impossible", "--nodes", "9", "--", "queue"]);
    assert_eq!(sent.code, 0);
    let said =
        "shoal: queued, but it can start nowhere as things are: tasks[0].parts: it takes 9 nodes at once\n";
    assert_eq!(sent.stderr, said);
    let json = shoal(&node.address, &["submit", "--allow-impossible", "-o", "json", "--", "queue"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["impossible"][0], "tasks[0].parts: it takes 9 nodes at once");
}

#[test]
fn what_nodes_have_of_what_is_counted_is_shown_and_when_a_task_starts_at_the_latest() {
    let (shared, node) = node();
    let plain = shoal(&node.address, &["node", "ls"]).stdout;
    assert!(!plain.contains("COUNTED"), "{plain}");
    shared.lock().counts = [("gpu".to_owned(), (2, 1)), ("tape".to_owned(), (1, 0))].into();
    let list = shoal(&node.address, &["node", "ls"]).stdout;
    assert!(list.contains("COUNTED FREE") && list.contains("gpu 1/2, tape 0/1"), "{list}");
    let json = shoal(&node.address, &["node", "ls", "-o", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["nodes"][0]["counts"], serde_json::json!({"gpu": 2, "tape": 1}));
    assert_eq!(json["nodes"][0]["counts_free"], serde_json::json!({"gpu": 1, "tape": 0}));
    let id = shoal(&node.address, &["submit", "-q", "--", "queue"]).stdout;
    let why = || -> serde_json::Value {
        serde_json::from_str(&shoal(&node.address, &["why", id.trim(), "-o", "json"]).stdout).unwrap()
    };
    assert_eq!(why()["start_in_ms"], serde_json::Value::Null);
    shared.lock().start_in_ms = Some(600_000);
    assert_eq!(why()["start_in_ms"], 600_000);
}
