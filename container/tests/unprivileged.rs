//! A server that is an ordinary user in front of a runner that an administrator has started: it can do its work, and it cannot make the runner
//! touch what is not its own.
#![allow(unsafe_code, clippy::unwrap_used)]

mod support;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use shoal_container::deadline::DeadlinePage;
use shoal_container::protocol::{Cause, Request};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use support::{TestRunner, wait_for};

/// Nobody else's on any machine of ours, and without an entry in /etc/passwd.
const SERVER: u32 = 54_321;
const STRANGER: u32 = 54_322;

/// A runner for this server, reachable by it; its deadline page is the server's.
fn runner() -> TestRunner {
    let runner = TestRunner::with_arguments(&["--server-user", "54321:54321"]);
    std::fs::set_permissions(runner.dir.path(), Permissions::from_mode(0o711)).unwrap();
    chown(runner.path("deadline"), Some(SERVER), Some(SERVER)).unwrap();
    let home = runner.path("home");
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(SERVER), Some(SERVER)).unwrap();
    runner
}

/// Does something as another user, in a thread of its own: to the kernel, credentials are a thread's.
fn as_user<T: Send>(id: u32, action: impl FnOnce() -> T + Send) -> T {
    let begin = move || {
        // SAFETY: no memory is touched but the empty list; past the C library, so that other threads keep what they are.
        let became = unsafe {
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) == 0
                && libc::syscall(libc::SYS_setresgid, id, id, id) == 0
                && libc::syscall(libc::SYS_setresuid, id, id, id) == 0
        };
        assert!(became, "{}", io::Error::last_os_error());
        action()
    };
    std::thread::scope(|scope| scope.spawn(begin).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[test]
fn an_ordinary_user_runs_reads_and_removes_its_attempts() {
    let mut runner = runner();
    as_user(SERVER, || {
        runner.connect();
        assert_eq!(runner.output("t.1", "echo hello; id -u"), "hello\n65534\n");
        let dir = runner.path("attempts/t.1");
        assert!(std::fs::remove_dir_all(&dir).is_err(), "not before it is forgotten");
        assert_eq!(runner.log("t.1"), "hello\n65534\n");
        runner.send(&Request::Forget { id: "t.1".into() });
        wait_for("the directory to be the server's", || {
            (dir.metadata().unwrap().uid() == SERVER).then_some(())
        });
        assert!(dir.join("done").exists());
        std::fs::remove_dir_all(&dir).unwrap();
    });
}

#[test]
fn nobody_else_can_connect() {
    let mut runner = runner();
    let socket = runner.path("state/runner.sock");
    let refused = as_user(STRANGER, || UnixStream::connect(&socket).unwrap_err());
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    // Even if the file's mode were loosened by mistake: the runner asks the kernel who it is, and keeps the connection it has.
    std::fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    as_user(STRANGER, || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        assert_eq!(io::Read::read(&mut stream, &mut [0]).unwrap_or(0), 0, "the runner hangs up");
    });
    assert_eq!(runner.output("t.1", "echo still here"), "still here\n");
}

#[test]
fn a_server_that_may_not_write_in_an_attempt_cannot_swap_its_files() {
    let mut runner = runner();
    let target = runner.path("target");
    std::fs::write(&target, "root's").unwrap();
    as_user(SERVER, || {
        runner.connect();
        let start = runner.script("t.1", "echo begun; while [ ! -e /tmp/x ]; do sleep 0.01; done");
        runner.start(start);
        runner.log_contains("t.1", "begun");
        let dir = runner.path("attempts/t.1");
        for name in ["log", "log.index", "status"] {
            assert!(std::fs::remove_file(dir.join(name)).is_err(), "{name}");
            assert!(std::fs::rename(dir.join(name), runner.path("home/x")).is_err(), "{name}");
            assert!(std::fs::File::options().append(true).open(dir.join(name)).is_err(), "{name}");
        }
        assert!(std::fs::rename(&dir, runner.path("attempts/t.2")).is_err());
        assert!(std::fs::rename(&dir, runner.path("home/t.1")).is_err());
        assert!(symlink(&target, dir.join("done")).is_err());
        // What it puts in the way of a later attempt stops that, and is not followed.
        symlink(runner.path("home"), runner.path("attempts/t.3")).unwrap();
        std::fs::create_dir(runner.path("attempts/t.4")).unwrap();
        symlink(&target, runner.path("attempts/t.4/status")).unwrap();
        for id in ["t.3", "t.4"] {
            let start = runner.script(id, "true");
            runner.start(start);
            assert!(runner.refusal(id).contains("started before"));
        }
        runner.send(&Request::Stop { id: "t.1".into(), grace_ms: 0 });
        runner.end("t.1");
    });
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "root's");
    assert_eq!(std::fs::read_dir(runner.path("home")).unwrap().count(), 0);
}

#[test]
fn a_runner_that_comes_back_opens_nothing_that_the_server_made() {
    let mut runner = runner();
    let target = runner.path("target");
    std::fs::write(&target, "root's").unwrap();
    as_user(SERVER, || {
        let attempts = runner.path("attempts");
        for name in ["link.1", "pipe.1", "own.1"] {
            std::fs::create_dir(attempts.join(name)).unwrap();
        }
        symlink(&target, attempts.join("link.1/status")).unwrap();
        mknodat(CWD, attempts.join("pipe.1/status"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        std::fs::write(attempts.join("own.1/status"), "{}").unwrap();
        symlink(&target, attempts.join("own.1/done.new")).unwrap();
        symlink("/", attempts.join("root.1")).unwrap();
    });
    runner.disconnect();
    runner.signal(rustix::process::Signal::KILL);
    runner.join();
    runner.process = support::spawn(runner.dir.path(), &["--server-user", "54321:54321"]);
    let known = runner.connect();
    assert!(known.is_empty(), "{known:?}");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "root's");
    assert_eq!(std::fs::read_to_string(runner.path("attempts/own.1/status")).unwrap(), "{}");
}

#[test]
fn an_attempt_forgotten_before_a_crash_is_handed_over_after_it() {
    let mut runner = runner();
    runner.output("t.1", "true");
    let dir = runner.path("attempts/t.1");
    // As if the runner had ended between the two steps.
    std::fs::rename(dir.join("status"), dir.join("done")).unwrap();
    runner.disconnect();
    runner.signal(rustix::process::Signal::KILL);
    runner.join();
    runner.process = support::spawn(runner.dir.path(), &["--server-user", "54321:54321"]);
    let known = runner.connect();
    assert!(known.is_empty(), "a control group that was kept is no attempt: {known:?}");
    assert_eq!(dir.metadata().unwrap().uid(), SERVER);
}

#[test]
fn a_deadline_page_is_the_servers_own_plain_file() {
    let mut runner = runner();
    let make = |name: &str, owner: u32| {
        let path = runner.path(name);
        drop(DeadlinePage::create(&path).unwrap());
        chown(&path, Some(owner), None).unwrap();
        path
    };
    let foreign = make("home/foreign", 0);
    let link = runner.path("home/link");
    symlink(make("home/page", SERVER), &link).unwrap();
    let pipe = runner.path("home/pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    chown(&pipe, Some(SERVER), None).unwrap();
    let short = runner.path("home/short");
    std::fs::write(&short, "x").unwrap();
    chown(&short, Some(SERVER), None).unwrap();
    let pages: [&Path; 6] =
        [&foreign, &link, &pipe, &short, Path::new("/dev/zero"), Path::new("/etc/passwd")];
    for (number, page) in pages.into_iter().enumerate() {
        let id = format!("page.{number}");
        let mut start = runner.script(&id, "echo ran");
        start.deadline_page = page.to_owned();
        let end = runner.run(start);
        assert!(
            matches!(&end.cause, Cause::Setup(why) if why.contains("deadline page")),
            "{page:?}: {end:?}"
        );
    }
    assert_eq!(runner.output("t.1", "echo ran"), "ran\n");
}

#[test]
fn directories_that_the_server_can_change_are_refused_at_the_start() {
    let runner = runner();
    let home = runner.path("home");
    let refused = |arguments: [&Path; 6]| {
        let runner = std::process::Command::new(env!("CARGO_BIN_EXE_shoal-runner"))
            .args(["--server-user", "54321:54321"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(!runner.status.success());
        let said = String::from_utf8(runner.stderr).unwrap();
        assert!(said.contains("the server's user can change"), "{said}");
    };
    let (state, attempts, policy) = (runner.path("s2"), runner.path("a2"), runner.path("policy.json"));
    let (s, a, p) = (Path::new("--state-dir"), Path::new("--attempts-dir"), Path::new("--policy"));
    refused([s, &home.join("state"), a, &attempts, p, &policy]);
    refused([s, &state, a, &home.join("attempts"), p, &policy]);
    std::fs::copy(&policy, home.join("policy.json")).unwrap();
    refused([s, &state, a, &attempts, p, &home.join("policy.json")]);
    let rooted = runner.path("rooted.json");
    let root = home.join("inner/root");
    std::fs::write(&rooted, format!(r#"{{"roots": [{root:?}]}}"#)).unwrap();
    std::fs::create_dir_all(&root).unwrap();
    refused([s, &state, a, &attempts, p, &rooted]);
    std::fs::write(&rooted, format!(r#"{{"images_dir": {:?}}}"#, home.join("images/trees"))).unwrap();
    refused([s, &state, a, &attempts, p, &rooted]);
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 2, "nothing was made there");
}
