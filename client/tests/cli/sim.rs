//! `shoal sim`: simulates without any node, and says what is wrong with what it was given.

use crate::support::program::shoal;
use serde_json::Value;

#[test]
fn policies_are_compared_without_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("x.svg");
    let args = ["sim", "--seeds", "1", "--hours", "5", "--policy", "easy:100,shoal", "-o", "json", "--svg"];
    let out = shoal("", &[&args[..], &[picture.to_str().unwrap()]].concat());
    assert_eq!((out.code, out.stderr.as_str()), (0, ""));
    let rows: Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!(rows["policies"][0]["policy"], "easy aging=100/h");
    assert!(rows["policies"][1]["measures"]["by_width"][3]["p95_h"].is_number());
    assert!(std::fs::read_to_string(picture).unwrap().starts_with("<svg"));
}

#[test]
fn a_record_is_replayed_and_a_bad_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.jsonl");
    let path_text = path.to_str().unwrap();
    std::fs::write(&path, "{\"arrival_ms\": 5, \"nodes\": 2, \"service_ms\": 3600000}\n").unwrap();
    let out = shoal("", &["sim", "--replay", path_text, "--policy", "shoal"]);
    assert!(out.stdout.lines().nth(1).unwrap().starts_with("shoal   1.0 "), "{}", out.stdout);
    std::fs::write(&path, "\n{\"nodes\": 2}\n").unwrap();
    let out = shoal("", &["sim", "--replay", path_text]);
    assert_eq!(out.code, 2);
    assert!(out.stderr.contains("why: line 2: not a recorded job: missing field"), "{}", out.stderr);
}

#[test]
fn an_unknown_policy_is_wrong_usage() {
    let out = shoal("", &["sim", "--policy", "fifo"]);
    assert_eq!(out.code, 2);
    assert!(out.stderr.contains("wanted workers, dispatcher"));
}
