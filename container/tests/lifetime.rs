//! A container ends when it must: by stop, time limit or deadline, with all of its processes, and its limits hold until then.

mod support;

use shoal_container::deadline::{DeadlinePage, boottime_ms, boottime_ns};
use shoal_container::protocol::{Cause, Limits, Request};
use support::crowd::lateness_ms;
use support::{TestRunner, alive, slowness, wait_for};

/// What the promises allow between a deadline and the last sign of life.
const DEADLINE_SLACK_MS: u64 = 250;

fn stop(runner: &mut TestRunner, id: &str, grace_ms: u64) {
    runner.send(&Request::Stop { id: id.into(), grace_ms });
}

#[test]
fn a_task_that_ignores_sigterm_is_killed_when_the_grace_is_over() {
    let mut runner = TestRunner::new();
    let start = runner.script("a.1", "trap '' TERM; echo ready; while true; do sleep 1; done");
    runner.start(start);
    runner.log_contains("a.1", "ready");
    let from = boottime_ms();
    stop(&mut runner, "a.1", 400);
    assert_eq!(runner.end("a.1").cause, Cause::Signal(9));
    let took = boottime_ms() - from;
    assert!((400..400 + 1000 * slowness()).contains(&took), "{took} ms");
}

#[test]
fn a_handler_of_sigterm_runs_and_its_own_code_is_reported() {
    let mut runner = TestRunner::new();
    let start =
        runner.script("a.1", "trap 'echo bye; exit 33' TERM; echo ready; while true; do sleep 0.05; done");
    runner.start(start);
    runner.log_contains("a.1", "ready");
    stop(&mut runner, "a.1", 10_000);
    assert_eq!(runner.end("a.1").cause, Cause::Code(33));
    assert!(runner.log("a.1").ends_with("bye\n"));
}

#[test]
fn a_second_stop_can_shorten_the_grace_and_none_at_all_kills_at_once() {
    let mut runner = TestRunner::new();
    for (id, first) in [("a.1", Some(60_000)), ("b.1", None)] {
        let start = runner.script(id, "trap '' TERM; echo ready; while true; do sleep 1; done");
        runner.start(start);
        runner.log_contains(id, "ready");
        let from = boottime_ms();
        if let Some(grace_ms) = first {
            stop(&mut runner, id, grace_ms);
        }
        stop(&mut runner, id, 0);
        assert_eq!(runner.end(id).cause, Cause::Signal(9));
        assert!(boottime_ms() - from < 1000 * slowness());
    }
}

#[test]
fn what_a_task_leaves_behind_dies_with_it() {
    let mut runner = TestRunner::new();
    let script = "for i in 1 2 3; do (setsid sh -c 'trap \"\" TERM HUP; while true; do sleep 1000; done' >/dev/null 2>&1 &) ; done; echo left; exit 5";
    let start = runner.script("a.1", script);
    runner.start(start);
    let stub = runner.started("a.1");
    assert_eq!(runner.end("a.1").cause, Cause::Code(5));
    assert!(!alive(stub));
    // A group with a process in it cannot be removed.
    assert!(runner.groups().iter().all(|group| !group.join("a.1").exists()));
}

#[test]
fn a_storm_of_orphans_is_reaped() {
    let mut runner = TestRunner::new();
    let script = "i=0; while [ $i -lt 200 ]; do (true & ) ; i=$((i+1)); done
        until ls /proc >/tmp/list; [ $(grep -c '^[0-9]' /tmp/list) = 3 ]; do :; done";
    let mut start = runner.script("a.1", script);
    start.time_limit_ms = 10_000 * slowness();
    // The stub, the shell and ls; a zombie would be one more.
    assert_eq!(runner.run(start).cause, Cause::Code(0), "{}", runner.log("a.1"));
}

#[test]
fn the_time_limit_stops_a_task_and_is_the_cause_whatever_the_task_answers() {
    let mut runner = TestRunner::new();
    let mut start = runner.script("a.1", "trap 'exit 0' TERM; while true; do sleep 0.05; done");
    start.time_limit_ms = 300;
    start.kill_grace_ms = 5_000;
    let from = boottime_ms();
    assert_eq!(runner.run(start).cause, Cause::TimeLimit);
    assert!((300..300 + 1700 * slowness()).contains(&(boottime_ms() - from)));
    let mut start = runner.script("b.1", "trap '' TERM; while true; do sleep 1; done");
    start.time_limit_ms = 100;
    start.kill_grace_ms = 100;
    assert_eq!(runner.run(start).cause, Cause::TimeLimit);
}

#[test]
fn a_fork_bomb_stays_within_its_processes_and_the_stub_is_not_counted() {
    let mut runner = TestRunner::new();
    let mut one = runner.command("one.1", &["true"]);
    one.limits = Limits { pids_max: 1, ..one.limits };
    assert_eq!(runner.run(one).cause, Cause::Code(0));
    let mut start = runner.script("bomb.1", "bomb() { bomb | bomb & }; bomb; while true; do sleep 1; done");
    start.limits = Limits { pids_max: 20, ..start.limits };
    runner.start(start);
    runner.started("bomb.1");
    assert_eq!(runner.group_file("bomb.1", "pids.max").unwrap(), "21");
    wait_for("the limit to refuse a fork", || {
        let refused =
            runner.group_file("bomb.1", "pids.events")?.strip_prefix("max ")?.parse::<u64>().ok()?;
        (refused > 0).then_some(())
    });
    stop(&mut runner, "bomb.1", 0);
    runner.end("bomb.1");
}

#[test]
fn past_the_deadline_nothing_is_executed() {
    let mut runner = TestRunner::new();
    DeadlinePage::create(&runner.path("past")).unwrap();
    let mut start = runner.script("a.1", "echo ran");
    start.deadline_page = runner.path("past");
    let cause = runner.run(start).cause;
    assert!(matches!(&cause, Cause::Vanished(why) if why.contains("deadline")), "{cause:?}");
    assert_eq!(runner.log("a.1"), "");
}

#[test]
fn a_deadline_that_is_not_advanced_kills_in_time_even_when_the_runner_is_stopped() {
    let mut runner = TestRunner::new();
    for (id, stopped) in [("a.1", false), ("b.1", true)] {
        let page = DeadlinePage::create(&runner.path(id)).unwrap();
        page.advance_to(boottime_ns() + 500_000_000 * slowness());
        let mut start = runner.script(
            id,
            "trap '' TERM; (setsid sh -c 'while true; do sleep 1; done' &); while true; do sleep 1; done",
        );
        start.deadline_page = runner.path(id);
        runner.start(start);
        let stub = runner.started(id);
        if stopped {
            runner.signal(rustix::process::Signal::STOP);
        }
        wait_for("the stub to die", || (!alive(stub)).then_some(()));
        let late = boottime_ns().saturating_sub(page.read()) / 1_000_000;
        assert!(boottime_ns() >= page.read(), "died before its deadline");
        assert!(late < DEADLINE_SLACK_MS * slowness(), "{late} ms past the deadline");
        runner.signal(rustix::process::Signal::CONT);
        let cause = runner.end(id).cause;
        assert!(matches!(&cause, Cause::Vanished(why) if why.contains("deadline")), "{cause:?}");
    }
}

/// The stub is not in their quota of processor time, so it needs neither their turn nor the runner's help.
#[test]
fn a_crowd_of_busy_processes_does_not_outlive_its_deadline() {
    let mut runner = TestRunner::new();
    let late = lateness_ms(&mut runner, "a.1");
    assert!(late < DEADLINE_SLACK_MS * slowness(), "{late} ms past the deadline");
}

#[test]
fn a_deadline_that_never_comes_is_no_trouble() {
    let mut runner = TestRunner::new();
    runner.page.advance_to(u64::MAX);
    let mut start = runner.script("a.1", "sleep 0.1; exit 2");
    start.time_limit_ms = u64::MAX;
    assert_eq!(runner.run(start).cause, Cause::Code(2));
}

#[test]
fn a_deadline_that_is_advanced_keeps_the_task_alive() {
    let mut runner = TestRunner::new();
    let page = DeadlinePage::create(&runner.path("moving")).unwrap();
    page.advance_to(boottime_ns() + 400_000_000 * slowness());
    let mut start = runner.script("a.1", &format!("sleep {}; exit 9", slowness()));
    start.deadline_page = runner.path("moving");
    runner.start(start);
    runner.started("a.1");
    page.advance_to(boottime_ns() + 60_000_000_000);
    assert_eq!(runner.end("a.1").cause, Cause::Code(9));
}
