//! A runner that an ordinary user has started, without any help of root's: containers all the same, and no promise that is not kept.
#![allow(clippy::unwrap_used)]

mod support;

use rustix::process::Signal;
use shoal_container::protocol::{Cause, Request, Root, User};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use support::crowd::lateness_ms;
use support::groups::{Service, unified};
use support::{TestRunner, alive, slowness, spawn_as, spawn_with_ids, wait_for};

/// Nobody else's on any machine of ours: not in /etc/passwd, nor in /etc/subuid.
const USER: u32 = 54_323;

fn runner() -> TestRunner {
    TestRunner::of_user(USER, &[])
}

/// A field of /proc/PID/status, as the host sees it.
fn status_field(pid: i32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_task_runs_confined_and_belongs_to_the_user_outside() {
    let mut runner = runner();
    let script = "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t' ' '; \
        ls /dev | tr '\\n' ' '; echo $$; echo x > /dev/null && head -c 4 /dev/zero | wc -c; ls /proc/1/fd >/dev/null 2>&1 || echo hidden";
    let output = runner.output("t.1", script);
    let expected =
        ["0", "CapBnd: 0000000000000000", "CapEff: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"];
    for line in expected {
        assert!(output.lines().any(|l| l == line), "{line:?} in {output}");
    }
    assert!(output.contains("full null ptmx pts random shm") && output.contains("\n4\n"), "{output}");
    let log = runner.path("attempts/t.1/log").metadata().unwrap();
    assert_eq!(log.uid(), USER, "the log is the user's");
}

#[test]
fn outside_a_task_is_the_user_and_nobody_more() {
    let mut runner = runner();
    let start = runner.script("t.1", "while :; do sleep 0.1; done");
    runner.start(start);
    let stub = runner.started("t.1");
    let id = format!("{USER} {USER} {USER} {USER}");
    assert_eq!(
        (status_field(stub, "Uid"), status_field(stub, "CapEff")),
        (id, "0000000000000020".to_owned())
    );
    runner.send(&Request::Stop { id: "t.1".into(), grace_ms: 0 });
    assert_eq!(runner.end("t.1").cause, Cause::Signal(9));
    assert!(!alive(stub));
}

#[test]
fn what_is_not_enforced_is_said() {
    let runner = runner();
    assert!(runner.unenforced.iter().any(|word| word == "ids"), "{:?}", runner.unenforced);
    // On cgroup v1 nothing is ever delegated; on v2 it depends on where this test runs, and then the groups are there to be seen.
    let limits = ["memory", "cpu", "pids"];
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        for word in limits {
            assert!(runner.unenforced.iter().any(|it| it == word), "{word} in {:?}", runner.unenforced);
        }
    }
}

#[test]
fn in_a_group_that_was_delegated_to_the_user_limits_hold_and_the_stub_is_in_time() {
    if !unified() {
        println!("skipped: on cgroup v1 nothing is delegated");
        return;
    }
    let service = Service::new("rootless");
    service.delegate_to(USER);
    let mut runner = TestRunner::of_user_in(&service, USER);
    for word in ["memory", "cpu", "pids"] {
        assert!(runner.unenforced.iter().all(|it| it != word), "{word} in {:?}", runner.unenforced);
    }
    let start = runner.script("t.1", "sleep 1000");
    runner.start(start);
    let stub = runner.started("t.1").to_string();
    for (file, value) in [("task/cpu.max", "10000 10000"), ("memory.max", "67108864"), ("pids.max", "65")] {
        assert_eq!(runner.group_file("t.1", file).as_deref(), Some(value), "{file}");
    }
    assert_eq!(runner.group_file("t.1", "cgroup.threads").as_deref(), Some(stub.as_str()));
    assert_eq!(runner.group_file("t.1", "cgroup.procs").unwrap().lines().count(), 2);
    let late = lateness_ms(&mut runner, "t.2");
    assert!(late < 250 * slowness(), "{late} ms past the deadline");
    let big = runner.script("t.3", "tail /dev/zero; exit 3");
    let end = runner.run(big);
    assert_eq!((end.cause, end.oom_killed), (Cause::Signal(9), true));
    runner.send(&Request::Shutdown);
    assert!(runner.join().success());
    assert_eq!(runner.groups(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn an_operator_who_requires_limits_gets_them_or_no_runner() {
    let free = runner();
    let lacking: Vec<&String> =
        free.unenforced.iter().filter(|word| !["ids", "groups", "io"].contains(&word.as_str())).collect();
    if lacking.is_empty() {
        TestRunner::of_user(USER, &["--require-limits"]);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["", "state", "attempts"] {
        let path = dir.path().join(name);
        let _ = std::fs::create_dir(&path);
        std::os::unix::fs::chown(&path, Some(USER), Some(USER)).unwrap();
    }
    support::write_policy(dir.path(), &shoal_container::policy::Policy::default());
    let mut runner = spawn_as(USER, dir.path(), &["--require-limits"]);
    let status = wait_for("the runner to refuse", || runner.try_wait().unwrap());
    assert!(!status.success());
}

#[test]
fn the_roots_and_users_of_a_runner_with_root_work_as_far_as_there_are_ids() {
    let mut runner = runner();
    let mut host = runner.script("host.1", "test -d /usr && ! touch /usr/x 2>/dev/null && echo sealed");
    host.root = Root::Host;
    host.env.insert("PATH".into(), "/usr/bin:/bin".into());
    assert_eq!(runner.output_of(host), "sealed\n");
    let mut root =
        runner.script("root.1", "touch /tmp/mine /work/mine && ! touch /mine 2>/dev/null && id -u");
    root.user = User::ROOT;
    assert_eq!(runner.output_of(root), "0\n");
}

#[test]
fn a_task_cannot_read_what_only_root_may() {
    let mut runner = runner();
    let mut start = runner.script("t.1", "cat /etc/shadow 2>/dev/null || echo refused");
    start.root = Root::Host;
    start.env.insert("PATH".into(), "/usr/bin:/bin".into());
    assert_eq!(runner.output_of(start), "refused\n");
}

#[test]
fn a_runner_that_comes_back_adopts_and_stops_what_runs() {
    let mut runner = runner();
    let start = runner.script("t.1", "echo begun; while :; do sleep 0.1; done");
    runner.start(start);
    let stub = runner.started("t.1");
    runner.log_contains("t.1", "begun");
    runner.disconnect();
    runner.signal(Signal::KILL);
    runner.join();
    assert!(alive(stub));
    runner.process = spawn_as(USER, runner.dir.path(), &[]);
    let known = runner.connect();
    assert_eq!(known.iter().map(|report| report.id.as_str()).collect::<Vec<_>>(), ["t.1"]);
    runner.send(&Request::Stop { id: "t.1".into(), grace_ms: 100 });
    assert!(matches!(runner.end("t.1").cause, Cause::Signal(_)));
    wait_for("the stub to be gone", || (!alive(stub)).then_some(()));
}

#[test]
fn the_deadline_holds_without_root() {
    let mut runner = runner();
    let start = runner.script("t.1", "while :; do sleep 0.1; done");
    let page = runner.path("short");
    let short = shoal_container::deadline::DeadlinePage::create(&page).unwrap();
    std::os::unix::fs::chown(&page, Some(USER), Some(USER)).unwrap();
    short.advance_to(shoal_container::deadline::boottime_ns() + 1_000_000_000);
    runner.start(shoal_container::protocol::Start { deadline_page: page, ..start });
    let end = runner.end("t.1");
    assert!(matches!(end.cause, Cause::Vanished(_)), "{end:?}");
}

#[test]
fn a_network_of_its_own_needs_no_root() {
    let mut runner = runner();
    let links = runner.output("t.1", "cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '");
    assert_eq!(links, "lo\n");
}

/// Whether ids can be mapped for ordinary users here; what needs it is left out otherwise, and says so.
fn has_newuidmap() -> bool {
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&dirs).any(|dir| dir.join("newuidmap").is_file());
    if !found {
        eprintln!("left out: there is no newuidmap; apt-get install uidmap");
    }
    found
}

/// The keeper of a runner's user namespace.
fn keeper(runner: &TestRunner) -> Option<i32> {
    let text = std::fs::read_to_string(runner.path("state/keeper.pid")).ok()?;
    text.split(' ').next()?.parse().ok()
}

#[test]
fn with_ids_of_its_own_tasks_are_users_apart_and_a_later_runner_still_reaches_them() {
    if !has_newuidmap() {
        return;
    }
    // One for the user's own containers to unpack in, and two for tasks.
    const FIRST: u32 = 1 << 29;
    let mut runner = TestRunner::of_user_with_ids(USER, &format!("{FIRST}:196608"));
    assert!(runner.unenforced.iter().all(|word| word != "ids"), "{:?}", runner.unenforced);
    let stubs = ["t.1", "t.2"].map(|id| {
        let start = runner.script(id, "echo begun as $(id -u); while :; do sleep 0.1; done");
        runner.start(start);
        let stub = runner.started(id);
        runner.log_contains(id, "begun as 65534");
        stub
    });
    let users = stubs.map(|stub| status_field(stub, "Uid"));
    let stub_of = |slot: u32| (FIRST + slot * 65536 + 65535).to_string();
    assert!(users[0].starts_with(&stub_of(1)) && users[1].starts_with(&stub_of(2)), "{users:?}");
    let kept = keeper(&runner).expect("a process stays in the namespace");
    runner.disconnect();
    runner.signal(Signal::KILL);
    runner.join();
    runner.process = spawn_with_ids(USER, runner.dir.path());
    assert_eq!(runner.connect().len(), 2);
    assert_eq!(keeper(&runner), Some(kept), "the same namespace");
    for id in ["t.1", "t.2"] {
        runner.send(&Request::Stop { id: id.into(), grace_ms: 100 });
        assert!(matches!(runner.end(id).cause, Cause::Signal(_)));
    }
    assert_eq!(runner.output("t.3", "echo fresh"), "fresh\n");
    runner.send(&Request::Shutdown);
    runner.join();
    wait_for("the keeper to end", || (!alive(kept)).then_some(()));
}
