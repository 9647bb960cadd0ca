//! Kill means dead: also for what is frozen or stopped; and what nobody can kill is said to live, by name, until it is dead.

#![allow(clippy::unwrap_used)]

mod support;

use rustix::process::Signal;
use shoal_container::deadline::{DeadlinePage, boottime_ns};
use shoal_container::policy::{MountPolicy, Policy};
use shoal_container::protocol::{Cause, Event, Mount, Request};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::crowd::crowd;
use support::groups::{hierarchies, joining, unified};
use support::{TestRunner, alive, slowness, wait_for, write_policy};

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A freezer group of v1 with a process of somebody else's in it.
struct Freezer {
    group: PathBuf,
    other: Child,
}

impl Freezer {
    fn new(name: &str) -> Option<Freezer> {
        let top = hierarchies().into_iter().find(|mount| mount.ends_with("freezer"))?;
        let group = top.join(format!("shoal-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        let groups = [group.clone()];
        let other = joining(&groups, "sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let freezer = Freezer { group, other };
        let pid = freezer.other.id().to_string();
        wait_for("the other process to join", || {
            freezer.list().lines().any(|line| line == pid).then_some(())
        });
        Some(freezer)
    }

    fn list(&self) -> String {
        std::fs::read_to_string(self.group.join("cgroup.procs")).unwrap()
    }

    /// Takes all processes of an attempt in.
    fn take(&self, runner: &TestRunner, id: &str) {
        for pid in runner.group_file(id, "cgroup.procs").unwrap().lines() {
            std::fs::write(self.group.join("cgroup.procs"), pid).unwrap();
        }
    }

    fn set(&self, state: &str) {
        std::fs::write(self.group.join("freezer.state"), state).unwrap();
        wait_for(state, || (self.state() == state).then_some(()));
    }

    fn state(&self) -> String {
        std::fs::read_to_string(self.group.join("freezer.state")).unwrap().trim().to_owned()
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = std::fs::write(self.group.join("freezer.state"), "THAWED");
        let _ = self.other.kill();
        let _ = self.other.wait();
        let _ = std::fs::remove_dir(&self.group);
    }
}

#[test]
fn many_processes_with_little_of_a_core_die_soon() {
    let mut runner = TestRunner::new();
    let start = crowd(&runner, "a.1");
    runner.start(start);
    runner.log_contains("a.1", "ready");
    let begin = Instant::now();
    runner.send(&Request::Stop { id: "a.1".into(), grace_ms: 0 });
    // Said by the stub, which is in time for that as well.
    assert_eq!(runner.end("a.1").cause, Cause::Signal(9));
    // Their ends alone take some 25 ms of processor time, of which they would get 50 in a second.
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(1500 * slowness()), "it took {took:?}");
}

#[test]
fn a_frozen_task_is_killed_and_what_else_is_frozen_stays_so() {
    let Some(freezer) = Freezer::new("stop") else {
        println!("skipped: there is no freezer hierarchy of v1 here; v2 kills what is frozen");
        return;
    };
    let mut runner = TestRunner::new();
    let start = runner.script("a.1", "sleep 1000 & sleep 1000");
    runner.start(start);
    let stub = runner.started("a.1");
    freezer.take(&runner, "a.1");
    freezer.set("FROZEN");
    runner.send(&Request::Stop { id: "a.1".into(), grace_ms: 0 });
    let cause = runner.end("a.1").cause;
    assert!(matches!(&cause, Cause::Vanished(why) if why.contains("did not end")), "{cause:?}");
    assert!(!alive(stub));
    assert_eq!(freezer.state(), "FROZEN");
    assert_eq!(freezer.list().trim(), freezer.other.id().to_string());
}

#[test]
fn a_frozen_task_does_not_outlive_its_deadline() {
    let Some(freezer) = Freezer::new("deadline") else {
        println!("skipped: there is no freezer hierarchy of v1 here; v2 kills what is frozen");
        return;
    };
    let mut runner = TestRunner::new();
    let page = DeadlinePage::create(&runner.path("page")).unwrap();
    page.advance_to(boottime_ns() + 2_000_000_000 * slowness());
    let mut start = runner.script("a.1", "sleep 1000");
    start.deadline_page = runner.path("page");
    runner.start(start);
    let stub = runner.started("a.1");
    freezer.take(&runner, "a.1");
    freezer.set("FROZEN");
    wait_for("the stub to die", || (!alive(stub)).then_some(()));
    let late_ms = boottime_ns().saturating_sub(page.read()) / 1_000_000;
    assert!(late_ms < 250 * slowness(), "{late_ms} ms past the deadline");
    assert!(matches!(runner.end("a.1").cause, Cause::Vanished(_)));
}

#[test]
fn a_group_of_v2_that_is_frozen_is_killed() {
    if !unified() {
        println!("skipped: this machine has no limits in cgroup v2");
        return;
    }
    let mut runner = TestRunner::new();
    let start = runner.script("a.1", "sleep 1000");
    runner.start(start);
    let stub = runner.started("a.1");
    std::fs::write(runner.groups()[0].join("a.1/cgroup.freeze"), "1").unwrap();
    runner.send(&Request::Stop { id: "a.1".into(), grace_ms: 0 });
    assert!(matches!(runner.end("a.1").cause, Cause::Vanished(_)));
    assert!(!alive(stub));
}

#[test]
fn a_stopped_stub_is_killed_all_the_same() {
    let mut runner = TestRunner::new();
    let start = runner.script("a.1", "sleep 1000");
    runner.start(start);
    let stub = runner.started("a.1");
    let pid = rustix::process::Pid::from_raw(stub).unwrap();
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    runner.send(&Request::Stop { id: "a.1".into(), grace_ms: 100 });
    assert!(matches!(runner.end("a.1").cause, Cause::Vanished(_)));
}

/// A file system of its own in a file, which can be frozen: then whoever writes to it sleeps in the kernel until it is thawed.
struct Disk {
    mount: PathBuf,
}

impl Disk {
    fn new(dir: &Path) -> Option<Disk> {
        let (image, mount) = (dir.join("disk.img"), dir.join("disk"));
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(16 << 20).unwrap();
        std::fs::create_dir(&mount).unwrap();
        let [image, path] = [&image, &mount].map(|path| path.to_str().unwrap());
        let mounted = run("mkfs.ext4", &["-q", "-F", image]) && run("mount", &["-o", "loop", image, path]);
        mounted.then(|| Disk { mount })
    }

    fn set_frozen(&self, frozen: bool) {
        let option = if frozen { "--freeze" } else { "--unfreeze" };
        assert!(run("fsfreeze", &[option, self.mount.to_str().unwrap()]), "fsfreeze {option}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let path = self.mount.to_str().unwrap().to_owned();
        let _ = run("fsfreeze", &["--unfreeze", &path]);
        // The last process that had a file open may be a moment from gone.
        wait_for("the disk to be free", || run("umount", &[&path]).then_some(()));
    }
}

#[test]
fn what_cannot_be_killed_is_reported_stays_alive_and_ends_when_it_can() {
    // Outlives the runner, which has it mounted in its containers.
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(dir.path()) else {
        println!("skipped: no file system on a loop device can be made here");
        return;
    };
    let mut runner = TestRunner::new();
    let mounts = [("disk".to_owned(), MountPolicy { path: disk.mount.clone(), writable: true })];
    let policy = Policy { roots: vec![runner.path("root")], mounts: mounts.into(), ..Policy::default() };
    write_policy(runner.dir.path(), &policy);
    // The owner whose place the task takes.
    std::os::unix::fs::chown(&disk.mount, Some(12345), Some(12345)).unwrap();
    runner.connect();
    let mut start = runner.script("a.1", "echo ready; while true; do echo x >>/mnt/file || exit 1; done");
    start.mounts = vec![Mount { name: "disk".into(), target: "/mnt".into(), read_only: false }];
    std::fs::create_dir_all(runner.path("root/mnt")).unwrap();
    runner.start(start);
    let stub = runner.started("a.1");
    wait_for("the task to write", || disk.mount.join("file").exists().then_some(()));
    disk.set_frozen(true);
    runner.send(&Request::Stop { id: "a.1".into(), grace_ms: 0 });
    let stuck = |event: &Event| match event {
        Event::Stuck { id, why } if id == "a.1" => Some(why.clone()),
        _ => None,
    };
    let why = runner.event("report of being stuck", stuck);
    assert!(why.contains("cannot be woken (state D"), "{why}");
    assert!(alive(stub));
    let reports = runner.connect();
    assert!(matches!(&reports[..], [report] if report.id == "a.1" && report.end.is_none()), "{reports:?}");
    assert_eq!(runner.event("report to the next server", stuck), why);
    // A neighbour is none the worse.
    runner.output("b.1", "true");
    disk.set_frozen(false);
    assert!(matches!(runner.end("a.1").cause, Cause::Vanished(_) | Cause::Signal(9)));
    assert!(!alive(stub));
    drop(runner);
}
