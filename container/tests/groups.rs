//! The control groups: what the kernel holds while a task runs, where the groups are, and that none is left. The same claims on cgroup v1,
//! on hybrid machines and on v2 alone (`make test-v2`).

mod support;

use rustix::process::Signal;
use shoal_container::cgroup::Cgroups;
use shoal_container::protocol::{Cause, Event, Limits, Request};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use support::groups::{Service, joining, unified};
use support::{TestRunner, alive, wait_for};

#[test]
fn limits_are_set_in_the_kernel_while_a_task_runs() {
    let mut runner = TestRunner::new();
    let mut start = runner.script("a.1", "sleep 1000");
    start.limits = Limits::new(1500, 48 << 20, 7);
    runner.start(start);
    let stub = runner.started("a.1").to_string();
    let memory = (48 << 20).to_string();
    let wanted: &[(&str, &str)] = if unified() {
        &[
            ("task/cpu.max", "15000 10000"),
            ("cpu.weight", "59"),
            ("memory.max", &memory),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("pids.max", "8"),
        ]
    } else {
        &[
            ("cpu.cfs_quota_us", "15000"),
            ("cpu.cfs_period_us", "10000"),
            ("cpu.shares", "1536"),
            ("memory.limit_in_bytes", &memory),
            ("pids.max", "8"),
        ]
    };
    for (file, value) in wanted {
        assert_eq!(runner.group_file("a.1", file).as_deref(), Some(*value), "{file}");
    }
    // And the stub with its task are what they hold for; but for the quota of processor time, which is the task's alone.
    let is_held = |list: &Path, alone: bool| {
        let members = std::fs::read_to_string(list).unwrap();
        let has_stub = members.lines().any(|pid| pid == stub);
        let expected = if alone { (1, false) } else { (2, true) };
        assert_eq!((members.lines().count(), has_stub), expected, "{}: {members}", list.display());
    };
    for group in runner.groups() {
        is_held(&group.join("a.1/cgroup.procs"), group.join("a.1/cpu.cfs_quota_us").exists());
    }
    if unified() {
        is_held(&runner.groups()[0].join("a.1/task/cgroup.threads"), true);
    }
}

#[test]
fn reading_and_writing_are_limited_on_the_disk_of_the_attempts_or_refused_where_there_is_none() {
    let mut runner = TestRunner::new();
    let mut start = runner.script("a.1", "sleep 1000");
    start.limits.io_bytes_per_s = 1 << 20;
    runner.start(start);
    let begun = runner.event("start or end", |event| match event {
        Event::Started { .. } => Some(None),
        Event::Ended { end, .. } => Some(Some(end.cause.clone())),
        _ => None,
    });
    match begun {
        None => {
            let held = |file| {
                let find = |top: &PathBuf| {
                    let dirs = std::fs::read_dir(top).into_iter().flatten();
                    dirs.filter_map(|dir| std::fs::read_to_string(dir.ok()?.path().join(file)).ok()).next()
                };
                runner.groups().iter().find_map(find).unwrap_or_default()
            };
            if unified() {
                assert!(held("io.max").contains("rbps=1048576 wbps=1048576"), "{}", held("io.max"));
            } else {
                for file in ["blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"] {
                    assert!(held(file).trim().ends_with(" 1048576"), "{file}: {}", held(file));
                }
            }
            runner.send(&Request::Stop { id: "a.1".into(), grace_ms: 0 });
            assert_eq!(runner.end("a.1").cause, Cause::Signal(9));
        }
        // The directory is on a tmpfs or the like, or the machine has no such controller.
        Some(Cause::Setup(why)) => assert!(why.contains("no single disk") || why.contains("io"), "{why}"),
        Some(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_task_cannot_use_more_cpu_time_than_its_limit() {
    let mut runner = TestRunner::new();
    // A third of a core, by the task's own count of ticks.
    let mut start = runner.script(
        "a.1",
        "(while true; do :; done) & sleep 2; set -- $(cat /proc/$!/stat); echo $(($14 + $15)); kill $!",
    );
    start.limits.cpu_milli = 330;
    let ticks: u64 = runner.output_of(start).trim().parse().unwrap();
    assert!(ticks < 130, "{ticks} ticks of 10 ms in 2 s");
}

#[test]
fn a_stranger_in_a_tasks_group_is_killed_and_does_not_hold_its_end_up() {
    let mut runner = TestRunner::new();
    // On v2 beside the stub, and among the task's processes.
    let places: &[(&str, &str)] = if unified() { &[("a.1", ""), ("b.1", "task")] } else { &[("a.1", "")] };
    for (id, within) in places {
        let start = runner.script(id, "sleep 1000");
        runner.start(start);
        runner.started(id);
        let groups: Vec<PathBuf> = runner.groups().iter().map(|group| group.join(id)).collect();
        let joined: Vec<PathBuf> = groups.iter().map(|group| group.join(within)).collect();
        let mut stranger = joining(&joined, "sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let pid = stranger.id().to_string();
        wait_for("the stranger to join", || {
            let lists = |group: &PathBuf| {
                std::fs::read_to_string(group.join("cgroup.procs"))
                    .is_ok_and(|list| list.lines().any(|l| l == pid))
            };
            groups.iter().all(lists).then_some(())
        });
        runner.send(&Request::Stop { id: (*id).to_owned(), grace_ms: 0 });
        assert_eq!(runner.end(id).cause, Cause::Signal(9));
        assert!(!alive(stranger.id() as i32));
        stranger.wait().unwrap();
        assert!(groups.iter().all(|group| !group.exists()));
    }
}

#[test]
fn groups_can_be_had_while_other_runners_take_theirs_away() {
    let limits = Limits::new(1000, 64 << 20, 8);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let state = tempfile::tempdir().unwrap();
                for _ in 0..200 {
                    let cgroups = Cgroups::prepare(state.path()).unwrap();
                    let group = cgroups.group("a.1");
                    group.create().unwrap();
                    group.limit(&limits).unwrap();
                    group.remove().unwrap();
                    cgroups.remove();
                }
            });
        }
    });
}

/// That one has no part of the task's own, and an upgrade keeps what runs.
#[test]
fn an_attempt_of_v2_that_an_earlier_build_has_started_loses_its_quota_and_is_removed_too() {
    if !unified() {
        return;
    }
    let runner = TestRunner::new();
    let earlier = runner.groups()[0].join("a.1");
    std::fs::create_dir(&earlier).unwrap();
    std::fs::write(earlier.join("cpu.max"), "1000 20000").unwrap();
    let state = runner.path("state").canonicalize().unwrap();
    let group = Cgroups::prepare(&state).unwrap().group("a.1");
    group.kill();
    assert_eq!(runner.group_file("a.1", "cpu.max").as_deref(), Some("max 20000"));
    group.remove().unwrap();
    assert!(!earlier.exists());
}

#[test]
fn the_runner_of_a_service_puts_its_groups_at_the_top() {
    let service = Service::new("plain");
    let mut runner = TestRunner::in_groups(&service.groups, Path::new(""));
    a_task_is_limited(&mut runner);
    end_without_trace(runner);
    assert!(service.leaves().is_empty(), "{:?}", service.leaves());
}

#[test]
fn the_runner_of_a_service_that_its_group_was_delegated_to_stays_in_it() {
    let mut service = Service::new("delegated");
    service.delegate();
    let server = service.process("sleep", &["1000"]);
    // On v1 nothing is delegated.
    let below = if unified() { service.name.clone() } else { PathBuf::new() };
    let mut runner = TestRunner::in_groups(&service.groups, &below);
    a_task_is_limited(&mut runner);
    if unified() {
        // A group that hands controllers down has no processes: those of the service stand beside.
        let beside = std::fs::read_to_string(service.groups[0].join("shoal-host/cgroup.procs")).unwrap();
        for pid in [server, runner.process.id()] {
            assert!(beside.lines().any(|line| line == pid.to_string()), "{pid} in {beside}");
        }
    }
    end_without_trace(runner);
}

#[test]
fn the_next_runner_of_a_delegated_service_finds_what_the_last_one_left() {
    let service = Service::new("adopting");
    service.delegate();
    let below = if unified() { service.name.clone() } else { PathBuf::new() };
    let mut runner = TestRunner::in_groups(&service.groups, &below);
    let start = runner.script("a.1", "sleep 1000");
    runner.start(start);
    runner.started("a.1");
    runner.disconnect();
    runner.signal(Signal::KILL);
    runner.join();
    // As a manager would start it: where the server is, which the first runner has moved.
    let leaf = service.groups[0].join("shoal-host");
    let groups = if unified() { vec![leaf] } else { service.groups.clone() };
    let reports = runner.restart_in(&groups);
    assert!(matches!(&reports[..], [report] if report.id == "a.1" && report.end.is_none()), "{reports:?}");
    runner.send(&Request::Stop { id: "a.1".into(), grace_ms: 0 });
    assert_eq!(runner.end("a.1").cause, Cause::Signal(9));
    end_without_trace(runner);
}

fn a_task_is_limited(runner: &mut TestRunner) {
    let start = runner.script("a.1", "sleep 1000");
    runner.start(start);
    runner.started("a.1");
    assert_eq!(runner.group_file("a.1", "pids.max").as_deref(), Some("65"));
    runner.send(&Request::Stop { id: "a.1".into(), grace_ms: 0 });
    assert_eq!(runner.end("a.1").cause, Cause::Signal(9));
}

fn end_without_trace(mut runner: TestRunner) {
    runner.signal(Signal::TERM);
    assert!(runner.join().success());
    assert_eq!(runner.groups(), Vec::<PathBuf>::new());
}

#[test]
fn a_group_is_used_again_only_with_the_same_limits_and_when_nothing_is_left_in_it() {
    use std::os::unix::fs::MetadataExt;
    if unified() {
        return; // a group of v2 cannot be given another name, so none is kept
    }
    let mut runner = TestRunner::new();
    // The group's inode while an attempt with this memory runs, and its limit then.
    let mut run = |id: &str, memory: u64, grace_ms: u64| {
        let mut start = runner.command(id, &["sleep", "1000"]);
        start.limits.memory_bytes = memory;
        runner.start(start);
        runner.started(id);
        let group = runner.groups().into_iter().map(|group| group.join(id)).next().unwrap();
        let inode = std::fs::metadata(&group).unwrap().ino();
        let limit = runner.group_file(id, "memory.limit_in_bytes").unwrap();
        runner.send(&Request::Stop { id: id.to_owned(), grace_ms });
        runner.end(id);
        assert!(runner.groups().iter().all(|parent| !parent.join(id).exists()), "{id} has a group still");
        assert_eq!(limit, memory.to_string());
        inode
    };
    // With a grace the task ends by a signal of its own; without, it is killed, and its group has no quota any more.
    let first = run("a.1", 64 << 20, 5000);
    assert_eq!(run("b.1", 64 << 20, 0), first);
    let unlimited = run("c.1", 64 << 20, 5000);
    assert_ne!(unlimited, first);
    let other = run("d.1", 32 << 20, 5000);
    assert_ne!(other, unlimited);
    assert_eq!(run("e.1", 32 << 20, 5000), other);
    let end = {
        let mut start = runner.script("f.1", "tail /dev/zero");
        start.limits.memory_bytes = 32 << 20;
        runner.run(start)
    };
    assert!(end.oom_killed);
    let mut start = runner.script("g.1", "true");
    start.limits.memory_bytes = 32 << 20;
    let end = runner.run(start);
    assert_eq!((end.cause, end.oom_killed), (Cause::Code(0), false), "another's kill is not its own");
    end_without_trace(runner);
}
