//! A task that does not want to end, and one that wants more than it has.

use super::trial;
use crate::escape::arena::MODES;
use crate::escape::suite::with_arena;
use crate::support::{TestRunner, wait_for};
use libtest_mimic::Trial;
use shoal_container::protocol::{Cause, Request};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("lifetime::daemons_that_forked_twice_end_with_the_task", daemons),
        trial("lifetime::a_stub_that_was_attacked_still_ends_its_task", attacked_stub),
        trial("lifetime::a_dead_stub_takes_all_with_it", dead_stub),
        trial("lifetime::memory_beyond_the_limit_is_not_had_and_said", memory),
        trial("lifetime::memory_in_files_counts_as_memory", memory_in_files),
    ]
}

/// Command lines of the host's processes that contain a text.
fn running(text: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| line.contains(text) && line.contains("sleep"))
        .collect()
}

/// A number of seconds that no other test sleeps.
fn own_number(salt: u32) -> String {
    format!("{}.{salt}", 100_000 + std::process::id())
}

fn daemons() {
    let mut runner = TestRunner::new();
    let number = own_number(1);
    // Ignoring what can be ignored, in sessions of their own, without parents.
    let script = format!(
        "trap '' TERM HUP INT QUIT; for i in 1 2 3 4 5; do (setsid sh -c 'trap \"\" TERM HUP; (setsid sleep {number} >/dev/null 2>&1 &)' &) ; done; while [ $(ps | grep -c '[s]leep {number}') -lt 5 ]; do sleep 0.01; done"
    );
    assert_eq!(runner.output("a.1", &script), "");
    wait_for("all of them to be gone", || running(&number).is_empty().then_some(()));
}

fn attacked_stub() {
    with_arena(|arena| {
        let mut start = arena.start(MODES[0], &[]);
        let program = start.command[0].clone();
        start.command = ["/bin/sh", "-c"].map(str::to_owned).into();
        let names = "signals::kill_or_stop_the_stub signals::queue_a_stop_to_the_stub signals::signal_by_a_pidfd signals::signal_by_a_descriptors_owner signals::change_the_stubs_scheduling process::change_the_stubs_limits process::trace_the_stub";
        start.command.push(format!(
            "trap '' TERM; {program} attack {names}; echo attacked; while :; do sleep 1; done"
        ));
        let id = start.id.clone();
        arena.runner.start(start);
        arena.runner.started(&id);
        arena.runner.log_contains(&id, "attacked");
        arena.runner.send(&Request::Stop { id: id.clone(), grace_ms: 50 });
        assert_eq!(arena.runner.end(&id).cause, Cause::Signal(9), "ended by the grace's SIGKILL");
    });
}

fn dead_stub() {
    let mut runner = TestRunner::new();
    let number = own_number(2);
    let script = format!("trap '' TERM; (setsid sleep {number} &); sleep {number}");
    runner.start(runner.script("a.1", &script));
    let stub = runner.started("a.1");
    wait_for("both to run", || (running(&number).len() >= 2).then_some(()));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(stub).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    assert!(matches!(runner.end("a.1").cause, Cause::Vanished(_)));
    wait_for("all of them to be gone", || running(&number).is_empty().then_some(()));
}

fn memory() {
    let mut runner = TestRunner::new();
    let mut start = runner.script("a.1", "(tail /dev/zero); true");
    start.limits.memory_bytes = 16 << 20;
    let end = runner.run(start);
    assert!(end.oom_killed, "{end:?}");
    assert_eq!(runner.output("b.1", "echo alive"), "alive\n");
}

/// Half of the memory may be files; the other half has no room for as much again.
fn memory_in_files() {
    let mut runner = TestRunner::new();
    let mut start = runner.script("a.1", "for d in /tmp /work /dev/shm; do dd if=/dev/zero of=$d/big bs=1M count=64 2>/dev/null; done; du -skc /tmp/big /work/big /dev/shm/big | tail -n 1");
    start.limits.memory_bytes = 32 << 20;
    let end = runner.run(start);
    let log = runner.log("a.1");
    assert_eq!(end.cause, Cause::Code(0), "{log}");
    let kib: u64 = log.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kib <= 16 << 10, "{kib} KiB in files");
}
