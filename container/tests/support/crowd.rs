//! A task of many busy processes with little of a core, which is what makes everybody in its quota of processor time late.

use super::{TestRunner, alive, slowness, wait_for};
use rustix::process::Signal;
use shoal_container::deadline::{DeadlinePage, boottime_ns};
use shoal_container::protocol::{Cause, Limits, Start};

/// Fifty processes that all want a whole core from when `ready` is written. Until then they wait, or the first of them would keep the last from being made.
const SCRIPT: &str = "mkfifo /tmp/go; for i in $(seq 50); do (read go </tmp/go; while :; do :; done) & done; \
     : >/tmp/go; echo ready; wait";

/// Time to start, and for all of them to be busy.
const DEADLINE_NS: u64 = 4_000_000_000;

/// The crowd, on a twentieth of a core.
pub fn crowd(runner: &TestRunner, id: &str) -> Start {
    let start = runner.script(id, SCRIPT);
    Start { limits: Limits { cpu_milli: 50, ..start.limits }, ..start }
}

/// Runs the crowd past its deadline while the runner is stopped; how late its stub died, which was then all that kept the deadline.
pub fn lateness_ms(runner: &mut TestRunner, id: &str) -> u64 {
    let path = runner.path(&format!("deadline-of-{id}"));
    let page = DeadlinePage::create(&path).unwrap();
    if let Some(user) = runner.user {
        std::os::unix::fs::chown(&path, Some(user), Some(user)).unwrap();
    }
    let advance = || page.advance_to(boottime_ns() + DEADLINE_NS * slowness());
    advance();
    runner.start(Start { deadline_page: path, ..crowd(runner, id) });
    let stub = runner.started(id);
    // On a busy machine it takes long until all of them are there.
    wait_for("the crowd", || {
        advance();
        runner.log(id).contains("ready").then_some(())
    });
    runner.signal(Signal::STOP);
    wait_for("the stub to die", || (!alive(stub)).then_some(()));
    let late_ns = boottime_ns().checked_sub(page.read()).expect("died before its deadline");
    runner.signal(Signal::CONT);
    let cause = runner.end(id).cause;
    assert!(matches!(&cause, Cause::Vanished(why) if why.contains("deadline")), "{cause:?}");
    println!("{id}: {} us past the deadline", late_ns / 1_000);
    late_ns / 1_000_000
}
