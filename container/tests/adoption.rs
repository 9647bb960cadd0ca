//! Containers outlive the server and the runner; no end is lost with a connection or a process, and nothing is left when the runner ends.

mod support;

use rustix::process::Signal;
use shoal_container::protocol::{Cause, Event, Report, Request};
use std::process::Stdio;
use support::{TestRunner, alive, wait_for};

fn ends(reports: &[Report]) -> Vec<(&str, Option<&Cause>)> {
    let mut ends: Vec<_> =
        reports.iter().map(|r| (r.id.as_str(), r.end.as_ref().map(|e| &e.cause))).collect();
    ends.sort_by_key(|(id, _)| *id);
    ends
}

#[test]
fn a_server_that_comes_back_is_told_what_runs_and_what_ended() {
    let mut runner = TestRunner::new();
    let (long, short) = (runner.script("long.1", "sleep 1000"), runner.script("short.1", "exit 4"));
    runner.start(long);
    runner.started("long.1");
    assert_eq!(runner.run(short).cause, Cause::Code(4));
    runner.disconnect();
    let reports = runner.connect();
    assert_eq!(ends(&reports), [("long.1", None), ("short.1", Some(&Cause::Code(4)))]);
    runner.send(&Request::Stop { id: "long.1".into(), grace_ms: 0 });
    assert_eq!(runner.end("long.1").cause, Cause::Signal(9));
}

#[test]
fn a_forgotten_end_is_not_told_again_and_its_log_stays() {
    let mut runner = TestRunner::new();
    runner.output("a.1", "echo kept");
    runner.send(&Request::Forget { id: "a.1".into() });
    let dir = runner.path("attempts/a.1");
    wait_for("the marker", || dir.join("done").exists().then_some(()));
    assert_eq!(ends(&runner.connect()), []);
    assert!(!dir.join("status").exists());
    assert_eq!(runner.log("a.1"), "kept\n");
}

#[test]
fn an_id_starts_once_and_never_again() {
    let mut runner = TestRunner::new();
    let start = runner.script("a.1", "echo once; read x < /dev/zero; exit 2");
    runner.start(start.clone());
    runner.log_contains("a.1", "once");
    runner.start(start.clone());
    assert!(runner.refusal("a.1").contains("started already"));
    runner.send(&Request::Stop { id: "a.1".into(), grace_ms: 0 });
    let end = runner.end("a.1");
    // A repeated start after the end is answered with that end.
    assert_eq!(runner.run(start.clone()), end);
    runner.send(&Request::Forget { id: "a.1".into() });
    runner.start(start);
    assert!(runner.refusal("a.1").contains("forgotten"));
    assert_eq!(runner.log("a.1"), "once\n");
}

#[test]
fn what_cannot_be_an_attempt_is_refused_and_leaves_nothing() {
    let mut runner = TestRunner::new();
    for id in ["../escape", "", ".hidden", "a/b"] {
        let start = runner.script(id, "true");
        runner.start(start);
        assert!(runner.refusal(id).contains("an id has"));
    }
    let mut start = runner.script("a.1", "true");
    start.workdir = "relative".into();
    runner.start(start);
    assert!(runner.refusal("a.1").contains("absolute"));
    assert_eq!(std::fs::read_dir(runner.path("attempts")).unwrap().count(), 0);
}

#[test]
fn the_fence_is_answered_when_all_are_dead() {
    let mut runner = TestRunner::new();
    let mut stubs = Vec::new();
    for id in ["a.1", "b.1", "c.1"] {
        let start = runner.script(id, "trap '' TERM; (setsid sleep 1000 &); while true; do sleep 1; done");
        runner.start(start);
        stubs.push(runner.started(id));
    }
    runner.send(&Request::KillAll);
    runner.event("all dead", |event| matches!(event, Event::AllDead).then_some(()));
    assert!(stubs.iter().all(|stub| !alive(*stub)));
    for id in ["a.1", "b.1", "c.1"] {
        let cause = runner.end(id).cause;
        assert!(matches!(&cause, Cause::Vanished(why) if why.contains("fence")), "{cause:?}");
    }
    runner.send(&Request::KillAll);
    runner.event("all dead", |event| matches!(event, Event::AllDead).then_some(()));
}

#[test]
fn a_task_outlives_its_runner_and_the_next_one_adopts_it() {
    let mut runner = TestRunner::new();
    for id in ["stops.1", "ends.1", "dies.1"] {
        let start =
            runner.script(id, "trap 'exit 21' TERM; echo ready; until [ -f /work/go ]; do sleep 0.05; done");
        runner.start(start);
    }
    let ending = runner.script("early.1", "sleep 0.3; exit 6");
    runner.start(ending);
    runner.started("early.1");
    let stubs: Vec<i32> = ["stops.1", "ends.1", "dies.1"].map(|id| runner.started(id)).into();
    for id in ["stops.1", "ends.1", "dies.1"] {
        runner.log_contains(id, "ready");
    }
    runner.disconnect();
    runner.signal(Signal::KILL);
    runner.join();
    assert!(stubs.iter().all(|stub| alive(*stub)));
    // One ends while nobody looks; one loses its stub.
    let status = runner.path("attempts/early.1/status");
    wait_for("a status", || std::fs::read_to_string(&status).ok()?.contains("cause").then_some(()));
    rustix::process::kill_process(rustix::process::Pid::from_raw(stubs[2]).unwrap(), Signal::KILL).unwrap();
    wait_for("the stub to die", || (!alive(stubs[2])).then_some(()));

    let reports = runner.restart();
    let told = ends(&reports);
    assert!(matches!(told[0], ("dies.1", Some(Cause::Vanished(_)))), "{told:?}");
    assert_eq!(told[1..], [("early.1", Some(&Cause::Code(6))), ("ends.1", None), ("stops.1", None)]);
    runner.send(&Request::Stop { id: "stops.1".into(), grace_ms: 10_000 });
    assert_eq!(runner.end("stops.1").cause, Cause::Code(21));
    runner.send(&Request::Stop { id: "ends.1".into(), grace_ms: 0 });
    assert_eq!(runner.end("ends.1").cause, Cause::Signal(9));
}

#[test]
fn a_runner_told_to_end_leaves_no_process_no_group_and_no_socket() {
    for request in [None, Some(Request::Shutdown)] {
        let mut runner = TestRunner::new();
        let start = runner.script("a.1", "trap '' TERM; (setsid sleep 1000 &); while true; do sleep 1; done");
        runner.start(start);
        let stub = runner.started("a.1");
        assert!(!runner.groups().is_empty());
        match &request {
            Some(request) => runner.send(request),
            None => runner.signal(Signal::TERM),
        }
        assert!(runner.join().success());
        assert!(!alive(stub));
        assert_eq!(runner.groups(), Vec::<std::path::PathBuf>::new());
        assert!(!runner.path("state/runner.sock").exists());
        assert_eq!(std::fs::read_to_string(runner.path("state/runner.pid")).unwrap(), "");
    }
}

#[test]
fn a_runner_without_server_and_tasks_ends_by_itself() {
    let mut runner = TestRunner::with_arguments(&["--idle-seconds", "1"]);
    runner.output("a.1", "true");
    runner.disconnect();
    assert!(runner.join().success());
    assert_eq!(ends(&runner.restart()), [("a.1", Some(&Cause::Code(0)))]);
}

#[test]
fn a_second_runner_for_the_same_directory_is_refused() {
    let runner = TestRunner::new();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_shoal-runner"))
        .args(["--state-dir".as_ref(), runner.path("state").as_os_str()])
        .args(["--attempts-dir".as_ref(), runner.path("attempts").as_os_str()])
        .args(["--policy".as_ref(), runner.path("policy.json").as_os_str()])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&format!("another runner ({})", runner.process.id())), "{said}");
}

#[test]
fn a_server_that_never_reads_holds_nothing_up() {
    let mut runner = TestRunner::new();
    let id = "x".repeat(100);
    // Each is refused with an answer of its own size: sooner or later more than the runner keeps for a reader that does not come.
    let mut sent = 0;
    while runner.try_send(&Request::Forget { id: id.clone() }) {
        sent += 1;
        assert!(sent < 200_000, "the runner keeps without bound");
    }
    runner.connect();
    assert_eq!(runner.output("a.1", "echo served"), "served\n");
}

#[test]
fn a_new_connection_replaces_a_stuck_one_and_ends_are_told_on_it() {
    let mut runner = TestRunner::new();
    let start = runner.script("a.1", "sleep 1000");
    runner.start(start);
    runner.started("a.1");
    runner.connect();
    runner.send(&Request::Stop { id: "a.1".into(), grace_ms: 0 });
    assert_eq!(runner.end("a.1").cause, Cause::Signal(9));
}

#[test]
fn an_attempt_whose_directory_was_removed_is_told_when_all_of_it_is_dead() {
    let mut runner = TestRunner::new();
    let start = runner.script("gone.1", "echo ready; sleep 1000");
    runner.start(start);
    let stub = runner.started("gone.1");
    runner.log_contains("gone.1", "ready");
    runner.disconnect();
    runner.signal(Signal::KILL);
    runner.join();
    std::fs::remove_dir_all(runner.path("attempts/gone.1")).unwrap();
    let reports = runner.restart();
    let cause = match ends(&reports)[..] {
        [("gone.1", Some(cause))] => cause.clone(),
        [("gone.1", None)] => runner.end("gone.1").cause,
        ref told => panic!("{told:?}"),
    };
    assert!(matches!(cause, Cause::Vanished(_)), "{cause:?}");
    assert_eq!(runner.group_file("gone.1", "cgroup.procs"), None, "told before all of it was dead");
    // Its parent is dead: who reaps it is not ours.
    wait_for("the stub to be reaped", || (!alive(stub)).then_some(()));
    runner.send(&Request::Forget { id: "gone.1".into() });
    runner.send(&Request::Forget { id: "gone.1".into() });
    assert!(runner.refusal("gone.1").contains("forgotten already"));
}
