//! The attempt's directory with its log, if someone could swap what is in it for links (CVE-2026-6959: the host's agent followed a link in place of a log's
//! pipe, and read and wrote files of the host). A task cannot reach it; the runner must not follow such links all the same.

use super::trial;
use crate::escape::arena::make_canary;
use crate::escape::host::fingerprint;
use crate::support::{TestRunner, wait_for};
use libtest_mimic::Trial;
use shoal_container::protocol::{Cause, Request};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("logs::a_link_in_place_of_an_attempts_directory_is_not_followed", link_for_directory),
        trial("logs::links_in_place_of_log_and_status_are_not_followed_after_a_restart", links_at_restart),
        trial("logs::links_swapped_in_while_the_task_runs_are_not_followed", links_while_running),
        trial("logs::a_flood_ends_at_the_cap", flood),
        trial("logs::nobody_else_can_read_them", private),
    ]
}

fn link_for_directory() {
    let mut runner = TestRunner::new();
    let canary = runner.path("canary");
    make_canary(&canary);
    let before = fingerprint(&canary);
    symlink(&canary, runner.path("attempts/a.1")).unwrap();
    runner.start(runner.script("a.1", "echo x"));
    assert!(!runner.refusal("a.1").is_empty());
    assert_eq!(fingerprint(&canary), before);
}

fn links_at_restart() {
    let mut runner = TestRunner::new();
    let canary = runner.path("canary");
    make_canary(&canary);
    let before = fingerprint(&canary);
    runner.signal(rustix::process::Signal::TERM);
    runner.join();
    for (id, names) in [("a.1", ["log", "status"]), ("b.1", ["status", "done"])] {
        let dir = runner.path("attempts").join(id);
        fs::create_dir(&dir).unwrap();
        names.iter().for_each(|name| symlink(canary.join(name), dir.join(name)).unwrap());
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        runner.path("attempts/a.1/index"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    runner.restart();
    runner.start(runner.script("a.1", "echo x"));
    runner.send(&Request::Forget { id: "a.1".into() });
    assert_eq!(runner.output("c.1", "echo alive"), "alive\n", "the runner goes on");
    assert_eq!(fingerprint(&canary), before);
}

fn links_while_running() {
    let mut runner = TestRunner::new();
    let canary = runner.path("canary");
    make_canary(&canary);
    let before = fingerprint(&canary);
    runner.start(runner.script(
        "a.1",
        "echo first; while [ ! -e /tmp/go ]; do sleep 0.01; [ -e /proc/1 ] && echo more; done",
    ));
    runner.started("a.1");
    runner.log_contains("a.1", "first");
    let dir = runner.path("attempts/a.1");
    for name in ["log", "status"] {
        fs::rename(dir.join(name), dir.join(format!("{name}.real"))).unwrap();
        symlink(canary.join(name), dir.join(name)).unwrap();
    }
    let real = dir.join("log.real");
    let length = fs::metadata(&real).unwrap().len();
    wait_for("more output in the real log", || (fs::metadata(&real).unwrap().len() > length).then_some(()));
    runner.send(&Request::Stop { id: "a.1".into(), grace_ms: 0 });
    runner.end("a.1");
    runner.send(&Request::Forget { id: "a.1".into() });
    assert_eq!(runner.output("b.1", "echo alive"), "alive\n", "the runner goes on");
    assert_eq!(fingerprint(&canary), before);
}

fn flood() {
    /// For the line that says that it was cut, and a record or two beside it.
    const MARKER_BYTES: u64 = 4096;
    let mut runner = TestRunner::new();
    let mut start = runner.script("a.1", "yes | head -c 20000000");
    start.log_bytes_max = 1 << 20;
    let end = runner.run(start);
    assert_eq!((end.cause, end.log_truncated), (Cause::Code(0), true));
    let entries = fs::read_dir(runner.path("attempts/a.1")).unwrap();
    let bytes: u64 = entries
        .map(|entry| entry.unwrap().metadata().unwrap())
        .map(|metadata| (metadata.blocks() * 512).min(metadata.len()))
        .sum();
    assert!(bytes <= (1 << 20) + 2 * MARKER_BYTES, "{bytes} bytes on disk");
}

/// Other users of the host; a server that is not root is of the files' group.
fn private() {
    let mut runner = TestRunner::new();
    runner.output("a.1", "echo x");
    let mode = |name: &str| fs::metadata(runner.path(name)).unwrap().mode() & 0o777;
    assert_eq!(mode("attempts/a.1") & 0o007, 0);
    assert_eq!(mode("attempts/a.1/log") & 0o007, 0);
    assert_eq!(mode("attempts/a.1/status") & 0o007, 0);
    assert_eq!(mode("state/runner.sock") & 0o007, 0);
}
