//! The output forms: what `-o json` prints is frozen.

use crate::support::program::{command, shoal_with};
use crate::support::{Node, Shared, shoal};
use serde_json::{Value, json};
use std::io::Read;

fn json_of(node: &Node, args: &[&str]) -> Value {
    let args: Vec<&str> = ["-o", "json"].iter().chain(args).copied().collect();
    let shown = shoal(&node.address, &args);
    serde_json::from_str(&shown.stdout)
        .unwrap_or_else(|why| panic!("{args:?}: {why}: {}{}", shown.stdout, shown.stderr))
}

#[test]
fn a_task_as_json_is_exactly_this() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    let options = "--cpus 0.5 --env A=1 --net none --mount data:/data:ro --run-as 0:7 --open-files 64 --disk 1MiB --io 2MiB --log-max 3MiB \
                   --nodes 2:a=b --gang-end all --exclusive --resource gpu=2";
    let submit = ["submit"].into_iter().chain(options.split(' ')).chain(["--", "exit", "3"]);
    let submitted = json_of(&node, &submit.collect::<Vec<_>>());
    let id = submitted["ids"][0].as_str().unwrap();
    let shown = json_of(&node, &["show", id]);
    let wanted = json!({
        "id": id,
        "spec": {
            "command": ["exit", "3"], "env": {"A": "1"}, "root": "",
            "resources": {"cpu_milli": 500, "memory_bytes": 0},
            "pids_max": 0, "name": "", "user": "ann", "workdir": "", "time_limit_ms": 0, "kill_grace_ms": 0,
            "max_attempts": 0, "on_node_loss": "requeue", "net": "none",
            "mounts": [{"name": "data", "target": "/data", "read_only": true}],
            "labels": [], "run_as": {"uid": 0, "gid": 7}, "open_files_max": 64, "disk_bytes_max": 1 << 20,
            "io_bytes_per_s_max": 2 << 20, "log_bytes_max": 3 << 20, "priority": 0,
            "parts": [{"nodes": 2, "labels": ["a=b"]}], "gang_end": "all", "exclusive": true, "counts": {"gpu": 2}
        },
        "state": "complete",
        "exit": {"code": 3, "signal": null, "oom_killed": false},
        "failure": null,
        "cancel": null,
        "priority": 0,
        "hold": null,
        "moved": null,
        "expected_ms": null,
        "expected_from": null,
        "attempts": [{
            "number": 1, "node_id": "node-1-id", "node_name": "node-1", "started_ms": 1_700_000_000_100_i64,
            "ended_ms": 1_700_000_000_200_i64, "end": "exited", "members": []
        }],
        "submitted_ms": 1_700_000_000_000_i64,
        "ended_ms": 1_700_000_000_200_i64,
        "revision": 3
    });
    assert_eq!(shown, wanted);
}

#[test]
fn what_does_not_apply_is_null_and_kinds_are_words() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    json_of(&node, &["submit", "--", "missing"]);
    let shown = json_of(&node, &["show", "@last"]);
    assert_eq!(
        (&shown["state"], &shown["exit"], &shown["failure"]["kind"]),
        (&json!("failed"), &Value::Null, &json!("not_found"))
    );
    json_of(&node, &["submit", "--", "queue"]);
    let shown = json_of(&node, &["show", "@last"]);
    assert_eq!(
        (&shown["state"], &shown["ended_ms"], &shown["attempts"]),
        (&json!("queued"), &Value::Null, &json!([]))
    );
}

#[test]
fn every_command_with_data_has_its_json() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    shoal_with(&node.address, &["submit", "-f", "-"], "queue\nexit 1\n");
    let list = json_of(&node, &["list"]);
    assert_eq!((list["tasks"].as_array().unwrap().len(), &list["next_page_token"]), (2, &json!("")));
    assert_eq!(json_of(&node, &["show", "@last"])["tasks"].as_array().unwrap().len(), 2);
    assert_eq!(json_of(&node, &["wait", "@failed"])["exit"]["code"], 1);
    let nodes = json_of(&node, &["node", "ls"]);
    assert_eq!(
        (&nodes["nodes"][1]["name"], &nodes["nodes"][1]["free"]["cpu_milli"]),
        (&json!("node-2"), &json!(500))
    );
    let status = json_of(&node, &["status"]);
    assert_eq!(
        (&status["queued"], &status["complete"], &status["voters"]),
        (&json!(1), &json!(1), &json!(2))
    );
    let why = json_of(&node, &["why", "@queued"]);
    assert_eq!((&why["ahead"], &why["nodes"][0]["node_name"]), (&json!(3), &json!("node-1")));
    assert_eq!(json_of(&node, &["cancel", "@queued"])["state"], "canceled");
    assert_eq!(json_of(&node, &["version"])["api"], "shoal.v1");
}

#[test]
fn jsonl_is_one_object_a_line_over_all_pages() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    shoal_with(&node.address, &["submit", "-f", "-"], &"queue\n".repeat(30));
    let listed = shoal(&node.address, &["list", "-o", "jsonl", "--limit", "0"]);
    let ids: Vec<Value> = listed
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids.len(), 30);
}

#[test]
fn wide_shows_full_ids_and_tables_short_ones() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    let id = shoal(&node.address, &["submit", "-q", "--", "queue"]).stdout.trim().to_owned();
    let (table, wide) = (shoal(&node.address, &["list"]), shoal(&node.address, &["list", "-o", "wide"]));
    assert!(!table.stdout.contains(&id) && table.stdout.contains(shoal_client::selector::short(&id)));
    assert!(wide.stdout.contains(&id));
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    // More than a pipe holds.
    shoal_with(&node.address, &["submit", "-f", "-"], &"queue\n".repeat(2000));
    let mut child = command(&node.address, &["list", "-o", "jsonl", "--limit", "0"]).spawn().unwrap();
    let mut first = [0; 10];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(141), ""));
}
