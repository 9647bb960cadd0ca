//! `list`, `show`, `log`, `cancel`, `wait`, `why`: and the selectors that they share.

use crate::support::program::shoal_with;
use crate::support::{Node, Shared, shoal};
use shoal_proto::v1::State;

fn node() -> (Shared, Node) {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    (shared, node)
}

fn submit(node: &Node, lines: &str) -> Vec<String> {
    let sent = shoal_with(&node.address, &["submit", "-q", "-f", "-"], lines);
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    sent.stdout.lines().map(str::to_owned).collect()
}

fn names(node: &Node, selector: &str) -> Vec<String> {
    let shown = shoal(&node.address, &["show", selector, "-o", "name"]);
    shown.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn each_selector_names_its_tasks() {
    let (shared, node) = node();
    let old = submit(&node, "exit 1\nexit 0\n");
    let ids = submit(&node, "queue\nhold\nexit 2\nmissing\n");
    let other = shoal(&node.address, &["submit", "-q", "--user", "bob", "--", "queue"]);
    assert_eq!(other.code, 0);
    let set = |selector: &str| {
        let mut names = names(&node, selector);
        names.sort();
        names
    };
    let sorted = |ids: &[&String]| {
        let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(names(&node, "@last"), ids);
    assert_eq!(set("@mine"), sorted(&[&ids[0], &ids[1]]));
    assert_eq!(set("@queued"), [ids[0].clone()]);
    assert_eq!(set("@running"), [ids[1].clone()]);
    assert_eq!(set("@failed"), sorted(&[&old[0], &ids[2], &ids[3]]));
    let short = shoal_client::selector::short(&ids[0]);
    assert_eq!(names(&node, &format!("{short},{}", ids[1])), ids[..2]);
    assert_eq!(names(&node, &format!("{short},{}", ids[0])), ids[..1], "each task once");
    assert_eq!(shared.lock().tasks.len(), 7);
}

#[test]
fn show_says_what_a_task_is_expected_to_take_and_how_that_is_known() {
    let (shared, node) = node();
    let ids = submit(&node, "queue\nqueue\n");
    shared.change(|world| {
        world.update(&ids[0], |task| (task.expected_ms, task.expected_from) = (722_000, 34));
    });
    let shown = shoal(&node.address, &["show", &ids[0]]).stdout;
    assert!(shown.contains("expected   about 12 m   (learned from 34 runs of this name)\n"), "{shown}");
    let json = shoal(&node.address, &["show", &ids[0], "-o", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["expected_ms"], &json["expected_from"]), (&722_000.into(), &34.into()));
    let unknown = shoal(&node.address, &["show", &ids[1]]).stdout;
    assert!(!unknown.contains("expected"), "{unknown}");
}

#[test]
fn priorities_and_holds_are_changed_and_shown() {
    let (_shared, node) = node();
    let ids = submit(&node, "queue\nhold\n");
    let short = shoal_client::selector::short(&ids[0]).to_owned();
    let edited = shoal(&node.address, &["edit", &ids[0], "--priority", "high"]);
    assert_eq!(
        (edited.code, edited.stdout.as_str()),
        (0, format!("{short} queued, priority high\n").as_str())
    );
    let held = shoal(&node.address, &["hold", "@queued", "--reason", "the mirror is down"]);
    assert_eq!((held.code, held.stdout.as_str()), (0, format!("{short} held\n").as_str()));
    let shown = shoal(&node.address, &["show", &ids[0]]).stdout;
    assert!(shown.contains("priority   high   (was normal)"), "{shown}");
    let line = shown.lines().find(|line| line.starts_with("held ")).unwrap_or_default();
    assert!(line.contains("by ") && line.ends_with(": the mirror is down"), "{shown}");
    assert!(shoal(&node.address, &["list"]).stdout.contains("the mirror is down"));
    assert_eq!(names(&node, "@held"), ids[..1]);
    let running = shoal(&node.address, &["hold", &ids[1]]);
    assert_eq!(running.code, 125, "{}", running.stderr);
    assert!(
        running.stderr.contains("cannot hold task") && running.stderr.contains("waits"),
        "{}",
        running.stderr
    );
    let released = shoal(&node.address, &["release", "@held"]);
    assert_eq!((released.code, released.stdout.as_str()), (0, format!("{short} queued\n").as_str()));
    assert_eq!(names(&node, "@held"), [""; 0]);
    let bad = shoal(&node.address, &["edit", &ids[0], "--priority", "soon"]);
    assert_eq!(bad.code, 2);
    assert!(bad.stderr.contains("low, normal, high, urgent, or a number from 1 to 1000"), "{}", bad.stderr);
}

#[test]
fn nodes_are_drained_and_locked_and_the_queue_is_paused() {
    let (shared, node) = node();
    let said = |arguments: &[&str]| {
        let done = shoal(&node.address, arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {}", done.stderr);
        done.stdout
    };
    let me = std::env::var("USER").unwrap_or_default();
    let drained = said(&["node", "drain", "node-1", "--reason", "a new disk", "--wait"]);
    assert!(
        drained.starts_with("node-1 drained by ") && drained.ends_with(": a new disk\n"),
        "{drained} {me}"
    );
    let locked = said(&["node", "lock", "node-2", "--for", "2h"]);
    assert!(locked.starts_with("node-2 locked by ") && locked.ends_with(" for 2h0m\n"), "{locked}");
    let list = said(&["node", "ls"]);
    assert!(list.contains("drained: node-1 by ") && list.contains("locked: node-2 by "), "{list}");
    shared.change(|world| world.locks.get_mut("node-2").unwrap().by = "bob".to_owned());
    let refused = shoal(&node.address, &["node", "drain", "node-2"]);
    assert_eq!(refused.code, 125);
    assert!(refused.stderr.contains("node node-2 is locked by bob"), "{}", refused.stderr);
    let lock: serde_json::Value =
        serde_json::from_str(&said(&["node", "lock", "node-1", "--for", "1m", "-o", "json"])).unwrap();
    assert_eq!((&lock["left_ms"], &lock["reason"]), (&60_000.into(), &"".into()));
    assert_eq!(said(&["node", "resume", "node-1"]), "node-1 takes tasks again\n");
    assert_eq!(said(&["node", "unlock", "node-2", "--force"]), "node-2 takes tasks again\n");
    let paused = said(&["queue", "pause", "--reason", "the mirror", "--for", "10m"]);
    assert!(
        paused.starts_with("queue paused by ") && paused.ends_with(" for 10m0s: the mirror\n"),
        "{paused}"
    );
    assert!(said(&["status"]).contains("queue paused by "));
    assert_eq!(said(&["queue", "resume"]), "queue resumed\n");
    assert!(!said(&["status"]).contains("queue paused"));
}

#[test]
fn stdin_is_a_list_of_ids() {
    let (shared, node) = node();
    let ids = submit(&node, "queue\nqueue\n");
    let canceled = shoal_with(&node.address, &["cancel", "-", "--reason", "enough"], &ids.join("\n"));
    assert_eq!(canceled.code, 0, "{}", canceled.stderr);
    for task in &shared.lock().tasks {
        let cancel = task.cancel.clone().unwrap();
        assert_eq!(
            (task.state(), cancel.reason.as_str(), cancel.by.as_str()),
            (State::Canceled, "enough", "ann")
        );
    }
    assert_eq!(shoal(&node.address, &["cancel", "@last"]).code, 0, "to cancel again is fine");
}

#[test]
fn a_task_that_has_ended_otherwise_cannot_be_canceled_and_the_others_are() {
    let (shared, node) = node();
    let ids = submit(&node, "exit 0\nqueue\n");
    let canceled = shoal(&node.address, &["cancel", &ids[0], &ids[1]]);
    assert_eq!(canceled.code, 125);
    assert!(canceled.stderr.contains("has ended already"), "{}", canceled.stderr);
    assert_eq!(shared.lock().task(&ids[1]).unwrap().state(), State::Canceled);
}

#[test]
fn a_word_that_names_several_tasks_is_refused_where_one_is_wanted() {
    let (_shared, node) = node();
    submit(&node, "queue\nqueue\n");
    let log = shoal(&node.address, &["log", "@last"]);
    assert_eq!(log.code, 125);
    assert!(log.stderr.contains("@last names 2 tasks"), "{}", log.stderr);
    let none = shoal(&node.address, &["show", "@failed"]);
    assert!(none.code == 125 && none.stderr.contains("no task of ann matches"), "{}", none.stderr);
    assert_eq!(shoal(&node.address, &["show", "@nobody"]).code, 2);
}

#[test]
fn list_pages_filters_and_limits() {
    let (_shared, node) = node();
    let ids = submit(&node, &"exit 0\nqueue\n".repeat(20));
    let list = |args: &[&str]| {
        let args: Vec<&str> = ["list", "-o", "name"].iter().chain(args).copied().collect();
        let listed = shoal(&node.address, &args);
        assert_eq!(listed.code, 0, "{}", listed.stderr);
        listed.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let newest: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(list(&["--limit", "0"]), newest);
    assert_eq!(list(&["--limit", "9"]), newest[..9]);
    assert_eq!(list(&["--limit", "0", "--oldest-first"]), ids);
    assert_eq!(list(&["--state", "queued", "--limit", "0"]).len(), 20);
    assert!(list(&["--user", "bob"]).is_empty());
    let more = shoal(&node.address, &["list", "-n", "3"]);
    assert!(more.stderr.contains("there are more") && more.stdout.lines().count() == 4);
}

#[test]
fn wait_prints_nothing_and_leaves_with_the_highest_code() {
    let (_shared, node) = node();
    submit(&node, "exit 0\nexit 9\nexit 4\n");
    let waited = shoal(&node.address, &["wait", "@last"]);
    assert_eq!((waited.code, waited.stdout.as_str()), (9, ""));
    assert_eq!(waited.stderr.lines().count(), 2, "{}", waited.stderr);
    submit(&node, "hold\n");
    let late = shoal(&node.address, &["wait", "@last", "--timeout", "200ms"]);
    assert_eq!(late.code, 124);
    assert!(late.stderr.contains("0 of 1 tasks have ended"), "{}", late.stderr);
}

#[test]
fn log_shows_all_or_the_last_lines_of_any_attempt() {
    let (shared, node) = node();
    let id = submit(&node, "hold\n").remove(0);
    shared.change(|world| {
        world.write(&id, b"one\ntwo\nthree\n");
        world.lose(&id);
        world.start(&id, "node-2");
        world.write(&id, b"four\n");
    });
    let log = |args: &[&str]| {
        let args: Vec<&str> = ["log", &id].iter().chain(args).copied().collect();
        let log = shoal(&node.address, &args);
        assert_eq!(log.code, 0, "{}", log.stderr);
        log.stdout
    };
    assert_eq!(log(&[]), "four\n");
    assert_eq!(log(&["--attempt", "1"]), "one\ntwo\nthree\n");
    assert_eq!(log(&["--attempt", "1", "-n", "2"]), "two\nthree\n");
    assert_eq!(log(&["-n", "0"]), "");
}

#[test]
fn why_gives_one_sentence_and_each_nodes_reason() {
    let (_shared, node) = node();
    submit(&node, "queue\n");
    let why = shoal(&node.address, &["why", "@last"]);
    assert_eq!(why.code, 0);
    assert!(why.stdout.contains("queued: no node has 64 free cpus"), "{}", why.stdout);
    assert!(why.stdout.contains("3 queued before it") && why.stdout.contains("node-1: 0.5 of 2 cpus free"));
    let status = shoal(&node.address, &["status"]);
    assert!(status.stdout.contains("no node has 64 free cpus"), "{}", status.stdout);
    assert!(status.stdout.contains("two voters tolerate no loss"));
}
