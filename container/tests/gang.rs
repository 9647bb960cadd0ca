//! The directory that members of a task of several nodes share: the task and who asks the runner for it see the same files, it is bounded, it outlives the runner, and
//! no name of it is on the host.

#![allow(clippy::unwrap_used)]

mod support;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::Signal;
use shoal_container::policy::{MountPolicy, Policy};
use shoal_container::protocol::{Cause, Mount, Request, Root, Start, User};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use support::{TestRunner, write_policy};

/// An ordinary user.
const ORDINARY: u32 = 4321;

/// Of several.
fn member(start: Start) -> Start {
    Start { gang: true, ..start }
}

fn read(directory: &OwnedFd, name: &str) -> String {
    let mut text = String::new();
    let file = openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    File::from(file).read_to_string(&mut text).unwrap();
    text
}

fn write(directory: &OwnedFd, name: &str, text: &str) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::from_raw_mode(0o644)).unwrap();
    File::from(file).write_all(text.as_bytes()).unwrap();
}

const TALK: &str = "cd /run/shoal/gang; echo mine >a; echo told; \
    while [ ! -e b ]; do sleep 0.01; done; cat b; (echo x >b) 2>/dev/null || echo another\\'s; rm -f b 2>/dev/null || echo stays";

/// The task tells, is told, and cannot change what it was told.
fn talks(runner: &mut TestRunner, start: Start) {
    let id = start.id.clone();
    runner.start(member(start));
    runner.started(&id);
    runner.log_contains(&id, "told");
    let directory = runner.gang_directory(&id);
    assert_eq!(read(&directory, "a"), "mine\n");
    // As its server may: it need not be root.
    support::as_user(ORDINARY, || {
        assert_eq!(read(&directory, "a"), "mine\n");
        write(&directory, ".b", "yours\n");
        rustix::fs::renameat(&directory, ".b", &directory, "b").unwrap();
    });
    let (end, log) = (runner.end(&id), runner.log(&id));
    assert_eq!(end.cause, Cause::Code(0), "{log}");
    assert_eq!(log, "told\nyours\nanother's\nstays\n");
    // It lives as long as somebody has it, also without the container.
    assert_eq!(read(&directory, "a"), "mine\n");
}

#[test]
fn a_task_and_its_server_see_the_same_files_whatever_root_and_user_it_has() {
    let mut runner = TestRunner::new();
    for (id, user) in [("a.1", User::NOBODY), ("b.1", User::ROOT), ("c.1", User { uid: 1000, gid: 1000 })] {
        if support::shows_other_owners(runner.dir.path()) || user == User::NOBODY {
            let start = Start { user, ..runner.script(id, TALK) };
            talks(&mut runner, start);
        }
    }
    let mut start = runner.script("d.1", TALK);
    start.root = Root::Host;
    talks(&mut runner, start);
    // A root that has the directory needs no layer for it.
    std::fs::create_dir_all(runner.path("root/run/shoal/gang")).unwrap();
    let start = runner.script("e.1", TALK);
    talks(&mut runner, start);
    assert_eq!(std::fs::read_dir(runner.path("root/run/shoal/gang")).unwrap().count(), 0);
}

#[test]
fn an_ordinary_users_runner_has_it_as_well() {
    let mut runner = TestRunner::of_user(ORDINARY, &[]);
    // Root of the machine is nobody in that file system: who writes there is the user, as its server is.
    let script = "cd /run/shoal/gang; echo mine >a; echo told; while [ ! -e b ]; do sleep 0.01; done; cat b";
    let start = runner.script("a.1", script);
    runner.start(member(start));
    runner.log_contains("a.1", "told");
    let directory = runner.gang_directory("a.1");
    assert_eq!(read(&directory, "a"), "mine\n");
    support::as_user(ORDINARY, || {
        write(&directory, ".b", "yours\n");
        rustix::fs::renameat(&directory, ".b", &directory, "b").unwrap();
    });
    assert_eq!(runner.end("a.1").cause, Cause::Code(0));
    assert_eq!(runner.log("a.1"), "told\nyours\n");
}

#[test]
fn it_has_no_powers_and_is_small() {
    let mut runner = TestRunner::new();
    let script = "cd /run/shoal/gang; grep ' /run/shoal/gang ' /proc/mounts | cut -d ' ' -f 3,4; stat -c %a .; \
        echo '#!/bin/sh' >sh; chmod 755 sh; ./sh 2>&1 | grep -c denied; rm sh; \
        dd if=/dev/zero of=big bs=64k count=64 2>&1 | grep -c 'No space'; stat -c %s big; rm big; \
        i=0; while [ $i -lt 300 ] && touch f$i 2>/dev/null; do i=$((i+1)); done; [ $i -lt 256 ] && echo few; \
        mv /run/shoal/gang /run/shoal/other 2>/dev/null || echo fixed; umount /run/shoal/gang 2>/dev/null || echo mounted";
    let start = member(runner.script("a.1", script));
    let log = runner.output_of(start);
    let lines: Vec<&str> = log.lines().collect();
    for option in ["tmpfs", "rw", "nosuid", "nodev", "noexec"] {
        assert!(lines[0].split([' ', ',']).any(|word| word == option), "{option}: {log}");
    }
    assert_eq!(lines[1..], ["1777", "1", "1", "1048576", "few", "fixed", "mounted"], "{log}");
}

#[test]
fn a_task_of_one_node_has_none_and_nobody_gets_one() {
    let mut runner = TestRunner::new();
    assert_eq!(runner.output("a.1", "ls /run/shoal/gang 2>/dev/null || echo none"), "none\n");
    let (one, other) = (runner.script("b.1", "sleep 1000"), member(runner.script("c.1", "sleep 1000")));
    for start in [one, other] {
        let id = start.id.clone();
        runner.start(start);
        runner.started(&id);
    }
    // No answer but the one that there is.
    for id in ["b.1", "unknown.1"] {
        runner.send(&Request::GangDirectory { id: id.into() });
    }
    runner.gang_directory("c.1");
    runner.signal(Signal::TERM);
    for id in ["b.1", "c.1"] {
        runner.end(id);
    }
}

#[test]
fn a_runner_that_comes_back_hands_out_the_same_directory() {
    let mut runner = TestRunner::new();
    let script =
        "echo before >/run/shoal/gang/a; echo told; while [ ! -e /run/shoal/gang/b ]; do sleep 0.01; done";
    let start = member(runner.script("a.1", script));
    runner.start(start);
    runner.log_contains("a.1", "told");
    drop(runner.gang_directory("a.1"));
    runner.signal(Signal::KILL);
    runner.join();
    let reports = runner.restart();
    assert!(reports.len() == 1 && reports[0].gang && reports[0].end.is_none(), "{reports:?}");
    let directory = runner.gang_directory("a.1");
    assert_eq!(read(&directory, "a"), "before\n");
    write(&directory, "b", "");
    runner.end("a.1");
}

#[test]
fn last_words_can_be_read_until_they_are_forgotten() {
    let mut runner = TestRunner::new();
    let start = member(runner.script("a.1", "echo last >/run/shoal/gang/a"));
    assert_eq!(runner.run(start).cause, Cause::Code(0));
    let reports = runner.connect();
    assert!(reports[0].gang && reports[0].end.is_some(), "{reports:?}");
    let directory = runner.gang_directory("a.1");
    assert_eq!(read(&directory, "a"), "last\n");
    forget(&mut runner, "a.1");
    assert_eq!(runner.connect(), []);
    // A server that never forgets has those of the latest alone.
    for n in 0..70 {
        let start = member(runner.command(&format!("b.{n}"), &["true"]));
        runner.run(start);
    }
    let kept = runner.connect().iter().filter(|report| report.gang).count();
    assert_eq!((kept, held_by(&runner)), (64, 64));
}

fn forget(runner: &mut TestRunner, id: &str) {
    runner.send(&Request::Forget { id: id.to_owned() });
    let done = runner.path("attempts").join(id).join("done");
    support::wait_for("it to be forgotten", || done.exists().then_some(()));
}

/// How many directories without a name the runner has open.
fn held_by(runner: &TestRunner) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", runner.process.id())).unwrap();
    let at = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    at.filter(|path| path.as_os_str() == "/").count()
}

#[test]
fn many_are_handed_out_at_once_each_with_its_own_event() {
    let mut runner = TestRunner::new();
    let ids: Vec<String> = (0..6).map(|n| format!("t{n}.1")).collect();
    for id in &ids {
        let start =
            member(runner.script(id, &format!("echo {id} >/run/shoal/gang/id; echo told; sleep 1000")));
        runner.start(start);
    }
    ids.iter().for_each(|id| runner.log_contains(id, "told"));
    // In one go, and with other events between.
    for id in ids.iter().rev() {
        runner.send(&Request::GangDirectory { id: id.clone() });
        runner.send(&Request::Forget { id: id.clone() });
    }
    for id in ids.iter().rev() {
        let directory = runner.next_gang_directory(id);
        assert_eq!(read(&directory, "id"), format!("{id}\n"));
    }
}

#[test]
fn nothing_of_it_is_on_the_host_and_nothing_is_left() {
    let mut runner = TestRunner::new();
    let mounted = || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.lines().filter(|line| line.contains("shoal/gang")).count()
    };
    let start = member(runner.script("a.1", "touch /run/shoal/gang/a; echo told; sleep 1000"));
    runner.start(start);
    runner.log_contains("a.1", "told");
    assert_eq!(mounted(), 0, "while it lives");
    let directory = runner.gang_directory("a.1");
    let at = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&directory)));
    assert!(openat(CWD, at.unwrap().as_path(), OFlags::PATH, Mode::empty()).is_err(), "no path leads there");
    runner.send(&Request::Stop { id: "a.1".into(), grace_ms: 0 });
    runner.end("a.1");
    assert_eq!(mounted(), 0);
    forget(&mut runner, "a.1");
    assert_eq!(runner.connect(), []);
    assert_eq!(held_by(&runner), 0, "the runner holds it no longer");
}

#[test]
fn no_mount_of_the_operator_covers_it() {
    let mut runner = TestRunner::new();
    let mounts = BTreeMap::from([("data".into(), MountPolicy { path: "/usr".into(), writable: false })]);
    let policy = Policy { roots: vec![runner.path("root")], mounts, ..Policy::default() };
    write_policy(runner.dir.path(), &policy);
    runner.connect();
    let at = |target: &str| vec![Mount { name: "data".into(), target: target.into(), read_only: true }];
    for (number, target) in
        ["/run", "/run//shoal/", "/run/shoal/gang", "/run/shoal/gang/x"].into_iter().enumerate()
    {
        let start = member(runner.script(&format!("x.{number}"), "true"));
        runner.start(Start { mounts: at(target), ..start });
        assert!(runner.refusal(&format!("x.{number}")).contains("/run/shoal/gang"), "{target}");
    }
    let start = member(runner.script("y.1", "ls -d /run/shoal/other/bin /run/shoal/gang"));
    let log = runner.output_of(Start { mounts: at("/run/shoal/other"), ..start });
    assert_eq!(log, "/run/shoal/gang\n/run/shoal/other/bin\n");
    let start = runner.script("z.1", "ls -d /run/bin");
    assert_eq!(
        runner.output_of(Start { mounts: at("/run"), ..start }),
        "/run/bin\n",
        "alone it has no such place"
    );
}
