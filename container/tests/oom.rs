//! Lack of memory: the kernel's kill of one process ends the whole task, says so, and is never taken for a result of the task's own. On v2 the
//! kernel does that, on v1 the stub.

mod support;

use rustix::process::Signal;
use shoal_container::protocol::{Cause, Limits, Start};
use std::time::{Duration, Instant};
use support::{TestRunner, slowness};

/// More than a shell needs, and soon used up.
const SMALL_BYTES: u64 = 16 << 20;

fn small(runner: &TestRunner, id: &str, script: &str) -> Start {
    let start = runner.script(id, script);
    Start { limits: Limits { memory_bytes: SMALL_BYTES, ..start.limits }, ..start }
}

#[test]
fn the_parent_of_a_process_killed_for_lack_of_memory_has_no_say_in_the_result() {
    let mut runner = TestRunner::new();
    // The parent ends so soon after its child that only a count says what came first.
    for round in 0..10 {
        let start = small(&runner, &format!("a-{round}.1"), "tail /dev/zero; exit 3");
        let end = runner.run(start);
        assert_eq!((end.cause, end.oom_killed), (Cause::Signal(9), true), "round {round}");
    }
    let start = small(&runner, "b.1", "exit 3");
    let end = runner.run(start);
    assert_eq!((end.cause, end.oom_killed), (Cause::Code(3), false));
}

#[test]
fn one_process_killed_for_lack_of_memory_takes_all_of_the_task_with_it() {
    let mut runner = TestRunner::new();
    let start = small(&runner, "a.1", "(tail /dev/zero; sleep 1000) & (setsid sleep 1000 &) ; sleep 1000");
    let end = runner.run(start);
    assert_eq!((end.cause, end.oom_killed), (Cause::Signal(9), true));
}

/// It took up to 16 s: the stub followed each of the hints that its own looks raised, and used up the tenth of a core that the killed one waited for.
#[test]
fn a_task_with_little_of_a_core_ends_soon_after_it_was_killed_for_lack_of_memory() {
    let mut runner = TestRunner::new();
    for round in 0..5 {
        let start = runner.command(&format!("a-{round}.1"), &["tail", "/dev/zero"]);
        let limits = Limits { cpu_milli: 100, memory_bytes: 32 << 20, ..start.limits };
        let begin = Instant::now();
        let end = runner.run(Start { limits, ..start });
        assert_eq!((end.cause, end.oom_killed), (Cause::Signal(9), true), "round {round}");
        // It needs some 100 ms of processor time to use its memory up.
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(5 * slowness()), "round {round}: it took {took:?}");
    }
}

#[test]
fn a_task_that_dies_for_lack_of_memory_leaves_its_neighbour_alone() {
    let mut runner = TestRunner::new();
    let neighbour = small(&runner, "b.1", "echo ready; while test ! -e /work/end; do sleep 0.05; done");
    runner.start(neighbour);
    runner.log_contains("b.1", "ready");
    let start = small(&runner, "a.1", "tail /dev/zero");
    assert!(runner.run(start).oom_killed);
    runner.send(&shoal_container::protocol::Request::Stop { id: "b.1".into(), grace_ms: 0 });
    let end = runner.end("b.1");
    assert_eq!((end.cause, end.oom_killed), (Cause::Signal(9), false));
}

#[test]
fn too_little_memory_to_start_is_a_launch_that_failed_and_never_a_tasks_result() {
    let mut runner = TestRunner::new();
    // The kernel keeps the arguments of a program in its memory.
    let argument = "x".repeat(120 << 10);
    let mut refused = 0;
    for (pages, arguments) in
        [(256, 0), (256, 4), (256, 6), (256, 7), (288, 7), (320, 7), (512, 7), (1024, 7)]
    {
        let id = format!("a-{pages}-{arguments}.1");
        let mut command = vec!["true"];
        command.extend(std::iter::repeat_n(argument.as_str(), arguments));
        let mut start = runner.command(&id, &command);
        start.limits = Limits { memory_bytes: pages * 4096, ..start.limits };
        match runner.run(start).cause {
            Cause::Code(0) => {}
            // A stub that is killed with its container has not seen the program begin, and does not claim that it has not.
            Cause::Setup(why) | Cause::Vanished(why) => {
                assert!(why.contains("memory"), "{pages} pages: {why}");
                refused += 1;
            }
            // Linux before 6.8 says this too when it has no page for them; they are far from too long.
            Cause::NotExecutable(why) if why.contains("Argument list too long") => refused += 1,
            other => panic!("{pages} pages, {arguments} long arguments: {other:?}"),
        }
    }
    assert!(refused > 0, "no limit was too small");
}

#[test]
fn that_memory_was_short_is_known_after_the_runner_is_another() {
    let mut runner = TestRunner::new();
    let start = small(&runner, "a.1", "tail /dev/zero; exit 3");
    let end = runner.run(start);
    runner.disconnect();
    runner.signal(Signal::KILL);
    runner.join();
    let reports = runner.restart();
    assert!(matches!(&reports[..], [report] if report.end.as_ref() == Some(&end)), "{reports:?}");
}
