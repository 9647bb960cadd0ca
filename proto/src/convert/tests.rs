use super::check::Check;
use super::spec::{spec_from_wire, spec_to_wire, specs_from_wire, stored_bytes};
use super::{limits, request_id};
use crate::v1;
use proptest::prelude::*;
use shoal_core::priority::Priority;
use shoal_core::spec::{Net, OnNodeLoss, TaskSpec};
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

fn mount(name: &str, target: &str) -> v1::Mount {
    v1::Mount { name: name.into(), target: target.into(), read_only: false }
}

#[test]
fn what_is_not_chosen_is_the_usual() {
    let spec = convert(minimal()).expect("a command is enough");
    assert_eq!((spec.net, spec.mounts.len(), spec.run_as), (Net::Loopback, 0, None));
    assert_eq!((spec.open_files_max, spec.disk_bytes_max), (0, 0));
    assert_eq!((spec.io_bytes_per_s_max, spec.log_bytes_max), (0, 0));
}

#[test]
fn each_choice_is_held_to_its_limit() {
    let said = |change: fn(&mut v1::TaskSpec)| {
        let (field, text) = refused(change);
        format!("{}: {text}", field.strip_prefix("tasks[0].").unwrap_or(&field))
    };
    assert_eq!(
        said(|wire| wire.net = 7),
        "net: must be 0 (default), 1 (loopback), 2 (none) or 3 (host), was 7"
    );
    assert_eq!(
        said(|wire| wire.run_as = Some(v1::RunAs { uid: 0, gid: 65_535 })),
        "run_as.gid: must be at most 65534, was 65535"
    );
    assert_eq!(
        said(|wire| wire.open_files_max = 3),
        "open_files_max: must be 0 (the usual) or between 16 and 1048576, was 3"
    );
    assert_eq!(
        said(|wire| wire.disk_bytes_max = (256 << 20) + 1),
        "disk_bytes_max: must be at most 268435456, half of the task's memory, was 268435457"
    );
    assert_eq!(said(|wire| wire.io_bytes_per_s_max = 1).split(':').next(), Some("io_bytes_per_s_max"));
    assert_eq!(said(|wire| wire.log_bytes_max = 1).split(':').next(), Some("log_bytes_max"));
}

#[test]
fn parts_and_counts_are_held_to_their_limits() {
    let said = |change: fn(&mut v1::TaskSpec)| {
        let (field, text) = refused(change);
        format!("{}: {text}", field.strip_prefix("tasks[0].").unwrap_or(&field))
    };
    assert_eq!(
        said(|wire| wire.parts = vec![part((60, vec![])), part((5, vec![]))]),
        "parts: must be between 1 and 64 nodes in all, was 65"
    );
    assert_eq!(
        said(|wire| wire.parts = vec![part((u32::MAX, vec![])); 2]),
        "parts: must be between 1 and 64 nodes in all, was 8589934590"
    );
    assert_eq!(said(|wire| wire.parts = vec![part((1, vec![])); 9]), "parts: must be at most 8 parts, was 9");
    assert_eq!(
        said(|wire| wire.parts = vec![part((0, vec![]))]),
        "parts[0].nodes: must be at least 1, was 0"
    );
    assert_eq!(
        refused(|wire| wire.parts = vec![part((2, vec!["a b".into()]))]).0,
        "tasks[0].parts[0].labels[0]"
    );
    assert_eq!(
        said(|wire| wire.gang_end = 4),
        "gang_end: must be 0 (default), 1 (first_failure), 2 (all) or 3 (lead), was 4"
    );
    assert_eq!(
        said(|wire| wire.counts.extend([("gpu".into(), 1_000_001)])),
        "counts[\"gpu\"]: must be between 1 and 1000000, was 1000001"
    );
    assert_eq!(refused(|wire| wire.counts.extend([("gpu".into(), 0)])).0, "tasks[0].counts[\"gpu\"]");
    assert_eq!(
        said(|wire| wire.counts.extend([("GPU".into(), 1)])),
        "counts[\"GPU\"]: must be named by a lower-case letter, then lower-case letters, digits, '-' and '_', at most 32 characters"
    );
    assert_eq!(
        said(|wire| wire.counts = (0..17).map(|n| (format!("n{n}"), 1)).collect()),
        "counts: must be at most 16 names, was 17"
    );
}

#[test]
fn parts_of_one_node_in_all_are_no_parts() {
    let one = |labels: &[&str], all: &[&str]| {
        let texts = |of: &[&str]| of.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>();
        let parts = vec![part((1, texts(labels)))];
        let gang_end = v1::GangEnd::Lead.into();
        convert(v1::TaskSpec { parts, labels: texts(all), gang_end, ..minimal() })
    };
    let spec = one(&["gpu", "b"], &["a", "b"]).expect("fine");
    assert_eq!((spec.nodes(), spec.parts.len(), spec.gang_end.is_usual()), (1, 0, true));
    assert_eq!(spec.labels, ["a", "b", "gpu"]);
    let many: Vec<String> = (0..16).map(|n| format!("l{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(one(&["gpu"], &many).expect_err("too many")[0].field, "tasks[0].parts[0].labels");
    let two = v1::TaskSpec { parts: vec![part((1, vec!["gpu".into()])), part((1, vec![]))], ..minimal() };
    assert_eq!(convert(two).expect("fine").nodes(), 2);
}

#[test]
fn members_are_shown_with_their_ends() {
    use shoal_core::gang::Member;
    use shoal_core::task::{Exit, ExitHow, Task};
    use shoal_core::transition::{Outcome, Transition, apply};
    let parts = vec![part((3, vec![]))];
    let spec = convert(v1::TaskSpec { parts, ..minimal() }).expect("fine");
    let node = |n| shoal_core::id::NodeId(uuid::Uuid::from_u128(n));
    let member = |n| Member { node: node(n), node_name: format!("n{n}"), address: "a".into(), end: None };
    let id = shoal_core::id::TaskId(uuid::Uuid::from_u128(9));
    let wall = shoal_core::time::WallMs(1);
    let steal = Transition::Steal {
        node: node(1),
        node_name: "n1".into(),
        tick: Default::default(),
        members: vec![member(1), member(2), member(3)],
    };
    let mut task = apply(&Task::new(id, spec, (0, 1), wall), &steal, wall).expect("queued");
    let exit = Outcome::Exited(Exit { how: ExitHow::Code(3), oom_killed: false });
    task =
        apply(&task, &Transition::Finish { node: node(2), attempt: 1, outcome: exit }, wall).expect("runs");
    task = apply(&task, &Transition::Lose { node: node(3), attempt: 1 }, wall).expect("runs");
    let wire = super::task::task_to_wire(&task, 7);
    let members = &wire.attempts[0].members;
    let ends: Vec<_> = members.iter().map(|m| (m.node_name.as_str(), m.end.as_str())).collect();
    assert_eq!(ends, [("n1", ""), ("n2", "exit 3"), ("n3", "node lost")]);
    let codes: Vec<_> = members.iter().map(|m| m.exit.and_then(|exit| exit.how)).collect();
    assert_eq!(codes, [None, Some(v1::exit::How::Code(3)), None]);
}

#[test]
fn a_mount_has_a_name_and_a_place_of_its_own() {
    for name in ["", "a/b", "ü"] {
        assert_eq!(refused(|wire| wire.mounts = vec![mount(name, "/d")]).0, "tasks[0].mounts[0].name");
    }
    for target in
        ["", "d", "/d/../etc", "/", "/.", "/d/./e", "/proc", "//proc/self", "/dev/shm", "/sys", "/d\0"]
    {
        let (field, text) = refused(|wire| wire.mounts = vec![mount("d", target)]);
        assert_eq!(field, "tasks[0].mounts[0].target", "{target:?}: {text}");
    }
    let twice = |wire: &mut v1::TaskSpec| wire.mounts = vec![mount("a", "/d/e"), mount("b", "/d//e/")];
    assert_eq!(refused(twice).0, "tasks[0].mounts[1].target");
    let many = |count| {
        move |wire: &mut v1::TaskSpec| {
            wire.mounts = (0..count).map(|n| mount("d", &format!("/d{n}"))).collect();
        }
    };
    assert_eq!(refused(many(17)).0, "tasks[0].mounts");
    let mut fine = minimal();
    many(16)(&mut fine);
    assert_eq!(convert(fine).expect("as many as may be").mounts.len(), 16);
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
    fn any_choices()(
        net in any::<i32>(),
        mounts in prop::collection::vec(("[a-z/]{0,4}", "[a-z./]{0,8}", any::<bool>()), 0..4),
        run_as in prop::option::of(any::<(u32, u32)>()),
        priority in any::<u32>(),
        labels in prop::collection::vec("[a-z=. ]{0,8}", 0..4),
        limits in any::<(u32, u64, u64, u64)>(),
        parts in prop::collection::vec((0..=3u32, prop::collection::vec("[a-z=]{0,3}", 0..2)), 0..4),
        counts in prop::collection::hash_map("[a-zA-Z]{0,3}", 0..=2u32, 0..3),
        gang_end in any::<i32>(),
    ) -> v1::TaskSpec {
        let chosen = v1::TaskSpec { priority, labels, counts, gang_end, ..choices(net, mounts, run_as, limits) };
        v1::TaskSpec { parts: parts.into_iter().map(part).collect(), ..chosen }
    }
}

prop_compose! {
    /// Within the limits of a task of the least memory.
    fn good_choices()(
        net in 1..=3i32,
        mounts in prop::collection::btree_map("/mnt/[a-z]{1,8}", ("[a-z]{1,4}", any::<bool>()), 0..4),
        run_as in prop::option::of((0..=65_534u32, 0..=65_534u32)),
        priority in 1..=1000u32,
        labels in prop::collection::btree_set("[a-z]{1,8}(=[a-z0-9.]{1,8})?", 0..4),
        limits in (16..=1_048_576u32, (64u64 << 10)..=(2 << 20), (64u64 << 10)..=(1 << 40), (4u64 << 10)..=(1 << 40)),
        parts in prop::collection::vec((2..=8u32, prop::collection::btree_set("[a-z]{1,3}", 0..2)), 0..=8),
        counts in prop::collection::hash_map("[a-z][a-z0-9_-]{0,31}", 1..=1_000_000u32, 0..=16),
        (gang_end, exclusive) in (1..=3i32, any::<bool>()),
    ) -> v1::TaskSpec {
        let gang_end = if parts.is_empty() { 0 } else { gang_end };
        let parts = parts.into_iter().map(|(nodes, labels)| part((nodes, labels.into_iter().collect()))).collect();
        let mounts = mounts.into_iter().map(|(target, (name, read_only))| (name, target, read_only));
        let labels = labels.into_iter().collect();
        let chosen = v1::TaskSpec { priority, labels, counts, gang_end, exclusive, ..choices(net, mounts.collect(), run_as, limits) };
        v1::TaskSpec { parts, ..chosen }
    }
}

fn part((nodes, labels): (u32, Vec<String>)) -> v1::GangPart {
    v1::GangPart { nodes, labels }
}

fn choices(
    net: i32,
    mounts: Vec<(String, String, bool)>,
    run_as: Option<(u32, u32)>,
    limits: (u32, u64, u64, u64),
) -> v1::TaskSpec {
    let mount = |(name, target, read_only)| v1::Mount { name, target, read_only };
    v1::TaskSpec {
        net,
        mounts: mounts.into_iter().map(mount).collect(),
        run_as: run_as.map(|(uid, gid)| v1::RunAs { uid, gid }),
        open_files_max: limits.0,
        disk_bytes_max: limits.1,
        io_bytes_per_s_max: limits.2,
        log_bytes_max: limits.3,
        ..v1::TaskSpec::default()
    }
}

prop_compose! {
    fn any_spec()(
        command in prop::collection::vec(".{0,12}", 0..4),
        env in prop::collection::hash_map("[A-Z=\u{0}]{0,4}", ".{0,6}", 0..3),
        texts in (".{0,8}", ".{0,8}", ".{0,8}", ".{0,8}"),
        resources in prop::option::of((any::<u32>(), any::<u64>())),
        numbers in (any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<i32>()),
        choices in any_choices(),
    ) -> v1::TaskSpec {
        v1::TaskSpec {
            command, env,
            root: texts.0, name: texts.1, user: texts.2, workdir: texts.3,
            resources: resources.map(|(cpu_milli, memory_bytes)| v1::Resources { cpu_milli, memory_bytes }),
            pids_max: numbers.0, time_limit_ms: numbers.1, kill_grace_ms: numbers.2,
            max_attempts: numbers.3, on_node_loss: numbers.4,
            ..choices
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
        choices in good_choices(),
    ) -> v1::TaskSpec {
        v1::TaskSpec {
            command, env,
            root: texts.0, name: texts.1, user: texts.2, workdir: texts.3,
            resources: Some(v1::Resources { cpu_milli: resources.0, memory_bytes: resources.1 }),
            pids_max: numbers.0, time_limit_ms: numbers.1, kill_grace_ms: numbers.2,
            max_attempts: numbers.3, on_node_loss: numbers.4,
            ..choices
        }
    }
}

#[test]
fn no_priority_is_the_normal_one() {
    assert_eq!(limits::PRIORITY.default, u64::from(Priority::NORMAL.number()));
    assert_eq!((super::priority::text(0), super::priority::parse("normal")), ("normal".to_owned(), Ok(500)));
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
