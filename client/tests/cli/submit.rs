//! `shoal submit`.

use crate::support::program::shoal_with;
use crate::support::{Node, Shared, shoal};
use std::collections::HashSet;
use uuid::Uuid;

fn node() -> (Shared, Node) {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    (shared, node)
}

#[test]
fn quiet_prints_the_full_id_only() {
    let (shared, node) = node();
    let sent = shoal(&node.address, &["submit", "-q", "--name", "n", "--env", "A=1", "--", "queue"]);
    let world = shared.lock();
    assert_eq!((sent.code, sent.stdout.trim(), sent.stderr.as_str()), (0, world.tasks[0].id.as_str(), ""));
    let spec = world.tasks[0].spec.clone().unwrap();
    assert_eq!((spec.name.as_str(), spec.env["A"].as_str()), ("n", "1"));
}

#[test]
fn the_environment_gives_defaults_and_the_option_wins() {
    let (shared, node) = node();
    let run = |args: &[&str]| {
        let mut command = crate::support::program::command(&node.address, args);
        assert!(command.env("SHOAL_MEMORY", "64MiB").status().unwrap().success());
    };
    run(&["submit", "--", "queue"]);
    run(&["submit", "--memory", "1GiB", "--", "queue"]);
    let memory: Vec<u64> = shared
        .lock()
        .tasks
        .iter()
        .map(|task| task.spec.clone().unwrap().resources.unwrap().memory_bytes)
        .collect();
    assert_eq!(memory, [64 << 20, 1 << 30]);
}

#[test]
fn thousands_of_lines_go_in_batches_and_come_back_in_order() {
    let (shared, node) = node();
    let lines: String = (0..2500).map(|n| format!("echo {n}\n")).collect();
    let sent = shoal_with(&node.address, &["submit", "--file", "-", "-q"], &lines);
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    let ids: Vec<&str> = sent.stdout.lines().collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 2500);
    let world = shared.lock();
    assert_eq!(world.submits.iter().map(|submit| submit.tasks.len()).collect::<Vec<_>>(), [1000, 1000, 500]);
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(world.task(id).unwrap().spec.as_ref().unwrap().command[1], number.to_string());
    }
}

#[test]
fn a_lost_answer_queues_nothing_twice() {
    let (shared, node) = node();
    shared.lock().lose_answers = 2;
    let sent = shoal(&node.address, &["submit", "-q", "--", "queue"]);
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    let world = shared.lock();
    assert_eq!((world.tasks.len(), world.submits.len()), (1, 3));
    assert!(world.submits.iter().all(|submit| submit.request_id == world.submits[0].request_id));
}

#[test]
fn the_same_request_id_names_the_same_tasks() {
    let (shared, node) = node();
    let request = Uuid::now_v7().to_string();
    let lines: String = (0..1100).map(|_| "queue\n").collect();
    let args = ["submit", "--file", "-", "-q", "--request-id", &request];
    let (first, second) =
        (shoal_with(&node.address, &args, &lines), shoal_with(&node.address, &args, &lines));
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(shared.lock().tasks.len(), 1100);
}

#[test]
fn a_dry_run_checks_and_queues_nothing() {
    let (shared, node) = node();
    let fine = shoal(&node.address, &["submit", "--dry-run", "--", "queue"]);
    assert_eq!((fine.code, fine.stdout.as_str()), (0, ""));
    let bad = shoal(&node.address, &["submit", "--dry-run", "--pids", "70000", "--", "queue"]);
    assert_eq!(bad.code, 125);
    assert!(bad.stderr.contains("tasks[0].pids_max must be between 1 and 65536"), "{}", bad.stderr);
    assert!(shared.lock().tasks.is_empty());
}

#[test]
fn waiting_leaves_with_the_highest_code() {
    let (_shared, node) = node();
    let sent = shoal_with(&node.address, &["submit", "--wait", "-f", "-"], "exit 3\nexit 0\nexit 2\n");
    assert_eq!(sent.code, 3, "{}", sent.stderr);
    assert_eq!(sent.stdout.lines().count(), 3);
}

#[test]
fn a_bad_line_submits_nothing_and_is_named() {
    let (shared, node) = node();
    let sent = shoal_with(&node.address, &["submit", "-f", "-"], "queue\n{\"comand\": \"x\"}\n");
    assert_eq!(sent.code, 2);
    assert!(sent.stderr.contains("stdin:2: unknown field `comand`"), "{}", sent.stderr);
    assert!(shared.lock().submits.is_empty());
    assert_eq!(shoal_with(&node.address, &["submit", "-f", "-"], "# none\n").code, 2);
    assert_eq!(shoal(&node.address, &["submit", "-f", "/nonexistent"]).code, 2);
}
