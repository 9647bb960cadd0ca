use super::check::Check;
use super::spec::{spec_from_wire, spec_to_wire, specs_from_wire, stored_bytes};
use super::{limits, request_id};
use crate::v1;
use proptest::prelude::*;
use shoal_core::spec::{OnNodeLoss, TaskSpec};
use tonic_types::FieldViolation;

fn minimal() -> v1::TaskSpec {
    v1::TaskSpec { command: vec!["true".into()], ..v1::TaskSpec::default() }
}

fn convert(wire: v1::TaskSpec) -> Result<TaskSpec, Vec<FieldViolation>> {
    specs_from_wire(vec![wire]).map(|mut specs| specs.remove(0))
}

/// The field and description of the only violation.
fn refused(change: impl FnOnce(&mut v1::TaskSpec)) -> (String, String) {
    let mut wire = minimal();
    change(&mut wire);
    let violations = convert(wire).expect_err("must be refused");
    assert_eq!(violations.len(), 1, "{violations:?}");
    (violations[0].field.clone(), violations[0].description.clone())
}

#[test]
fn what_is_not_given_gets_its_default() {
    let spec = convert(minimal()).expect("a command is enough");
    assert_eq!((spec.root.as_str(), spec.workdir.as_str()), ("default", "/work"));
    assert_eq!((spec.resources.cpu_milli, spec.resources.memory_bytes), (1000, 512 << 20));
    assert_eq!((spec.pids_max, spec.max_attempts), (1024, 3));
    assert_eq!((spec.kill_grace_ms, spec.time_limit_ms), (10_000, 0));
    assert_eq!(spec.on_node_loss, OnNodeLoss::Requeue);
}

#[test]
fn a_violation_names_field_limit_and_value() {
    let (field, text) = refused(|wire| {
        wire.resources = Some(v1::Resources { cpu_milli: 2_000_000, memory_bytes: 0 });
    });
    assert_eq!(field, "tasks[0].resources.cpu_milli");
    assert_eq!(text, "must be between 10 and 1024000, was 2000000");
}

#[test]
fn each_limit_is_held() {
    let words = |count: usize| vec!["x".to_owned(); count];
    assert_eq!(refused(|wire| wire.command.clear()).0, "tasks[0].command");
    assert_eq!(refused(|wire| wire.command = words(4097)).0, "tasks[0].command");
    assert_eq!(refused(|wire| wire.command = vec![String::new()]).0, "tasks[0].command[0]");
    assert_eq!(refused(|wire| wire.command.push("a\0b".into())).0, "tasks[0].command[1]");
    assert_eq!(refused(|wire| wire.command.push("x".repeat(128 * 1024))).0, "tasks[0].command[1]");
    assert_eq!(refused(|wire| wire.command = vec!["x".repeat(100_000); 3]).0, "tasks[0]");
    assert_eq!(refused(|wire| wire.command = vec!["\u{1}".repeat(50_000)]).0, "tasks[0]");
    for name in ["", "A=B", "A\0", "SHOAL_TASK"] {
        let (field, _) = refused(|wire| drop(wire.env.insert(name.into(), "1".into())));
        assert!(field.starts_with("tasks[0].env["), "{field}");
    }
    assert_eq!(refused(|wire| wire.name = "n".repeat(129)).0, "tasks[0].name");
    assert_eq!(refused(|wire| wire.name = "a\nb".into()).0, "tasks[0].name");
    assert_eq!(refused(|wire| wire.user = "u".repeat(65)).0, "tasks[0].user");
    for path in ["work", "/a/../b", "/a\0"] {
        assert_eq!(refused(|wire| wire.workdir = path.into()).0, "tasks[0].workdir");
    }
    for root in ["Upper", "a/b", "ü"] {
        assert_eq!(refused(|wire| wire.root = root.into()).0, "tasks[0].root");
    }
    assert_eq!(refused(|wire| wire.pids_max = 65_537).0, "tasks[0].pids_max");
    assert_eq!(refused(|wire| wire.time_limit_ms = u64::MAX).0, "tasks[0].time_limit_ms");
    assert_eq!(refused(|wire| wire.kill_grace_ms = 3_600_001).0, "tasks[0].kill_grace_ms");
    assert_eq!(refused(|wire| wire.max_attempts = 101).0, "tasks[0].max_attempts");
    assert_eq!(refused(|wire| wire.on_node_loss = 9).0, "tasks[0].on_node_loss");
    assert_eq!(
        refused(|wire| wire.resources = Some(v1::Resources { cpu_milli: 0, memory_bytes: 1 })).0,
        "tasks[0].resources.memory_bytes"
    );
}

#[test]
fn all_violations_are_told_but_not_more_than_twenty() {
    let bad = v1::TaskSpec { max_attempts: 101, pids_max: u32::MAX, ..v1::TaskSpec::default() };
    let two = specs_from_wire(vec![minimal(), bad.clone()]).expect_err("the second is bad");
    let fields: Vec<_> = two.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["tasks[1].command", "tasks[1].pids_max", "tasks[1].max_attempts"]);
    let many = specs_from_wire(vec![bad; 100]).expect_err("all are bad");
    assert_eq!(many.len(), limits::VIOLATIONS_MAX);
}

#[test]
fn a_request_has_one_to_a_thousand_tasks() {
    for count in [0, 1001] {
        let violations = specs_from_wire(vec![minimal(); count]).expect_err("out of range");
        assert_eq!(violations[0].field, "tasks");
    }
    assert_eq!(specs_from_wire(vec![minimal(); 1000]).expect("in range").len(), 1000);
}

#[test]
fn a_request_id_is_a_uuid_or_absent() {
    assert_eq!(request_id("").expect("absent is fine"), None);
    assert!(request_id("0192d000-0000-7000-8000-000000000001").expect("a UUID").is_some());
    for text in ["x", "00000000-0000-0000-0000-000000000000", "0192d000"] {
        assert_eq!(request_id(text).expect_err("not a UUID")[0].field, "request_id");
    }
}

#[test]
fn the_counted_size_is_what_json_takes() {
    for word in ["", "plain", "qu\"ote\\", "\u{1}\u{1f}\t\n", "häß\u{7f}"] {
        let json = serde_json::to_string(word).expect("a string").len();
        assert!(stored_bytes(word) >= json, "{word:?}: {} < {json}", stored_bytes(word));
    }
}

prop_compose! {
    fn any_spec()(
        command in prop::collection::vec(".{0,12}", 0..4),
        env in prop::collection::hash_map("[A-Z=\u{0}]{0,4}", ".{0,6}", 0..3),
        texts in (".{0,8}", ".{0,8}", ".{0,8}", ".{0,8}"),
        resources in prop::option::of((any::<u32>(), any::<u64>())),
        numbers in (any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<i32>()),
    ) -> v1::TaskSpec {
        v1::TaskSpec {
            command, env,
            root: texts.0, name: texts.1, user: texts.2, workdir: texts.3,
            resources: resources.map(|(cpu_milli, memory_bytes)| v1::Resources { cpu_milli, memory_bytes }),
            pids_max: numbers.0, time_limit_ms: numbers.1, kill_grace_ms: numbers.2,
            max_attempts: numbers.3, on_node_loss: numbers.4,
        }
    }
}

prop_compose! {
    fn good_spec()(
        command in prop::collection::vec("[^\u{0}]{1,12}", 1..4),
        env in prop::collection::hash_map("[A-R][A-Z_]{0,4}", "[^\u{0}]{0,6}", 0..3),
        texts in ("[a-z0-9._-]{1,64}", "[a-z ]{0,8}", "[a-z]{0,8}", "/[a-z/]{0,8}"),
        resources in (10..=1_024_000u32, (4u64 << 20)..=(64 << 40)),
        numbers in (1..=65_536u32, 0..=limits::TIME_LIMIT_MS.max, 1..=3_600_000u64, 1..=100u32, 1..=2i32),
    ) -> v1::TaskSpec {
        v1::TaskSpec {
            command, env,
            root: texts.0, name: texts.1, user: texts.2, workdir: texts.3,
            resources: Some(v1::Resources { cpu_milli: resources.0, memory_bytes: resources.1 }),
            pids_max: numbers.0, time_limit_ms: numbers.1, kill_grace_ms: numbers.2,
            max_attempts: numbers.3, on_node_loss: numbers.4,
        }
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_what_passes_passes_again(wire in any_spec()) {
        if let Ok(spec) = convert(wire) {
            prop_assert_eq!(convert(spec_to_wire(&spec)).expect("was fine once"), spec);
        }
    }

    #[test]
    fn a_good_spec_round_trips(wire in good_spec()) {
        let mut check = Check::new();
        let spec = spec_from_wire(wire.clone(), "task", &mut check);
        let spec = check.finish(spec).expect("all within limits");
        prop_assert_eq!(spec_to_wire(&spec), wire);
    }
}
