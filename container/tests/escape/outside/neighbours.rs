//! Two containers of one node: neither sees, signals or starves the other.

use super::trial;
use crate::escape::arena::{Arena, MODES};
use crate::escape::suite::with_arena;
use crate::support::TestRunner;
use libtest_mimic::Trial;
use shoal_container::protocol::Request;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("neighbours::files_processes_and_network_are_apart", apart),
        trial("neighbours::one_cannot_take_all_inotify_instances", || starve("inotify")),
        trial("neighbours::one_cannot_take_all_epoll_instances", || starve("epoll")),
        trial("neighbours::have_users_of_their_own", users),
    ]
}

fn apart() {
    let mut runner = TestRunner::new();
    let victim = "for d in /tmp /work /dev/shm; do echo secret >$d/secret; done; (while :; do echo secret | nc -l -p 7777; done) & mkfifo /tmp/p; echo ready; sleep 1000";
    runner.start(runner.script("v.1", victim));
    let stub = runner.started("v.1");
    runner.log_contains("v.1", "ready");
    let script = format!(
        "ls -A /tmp /work /dev/shm | grep secret && echo saw its files
        nc -w 1 127.0.0.1 7777 </dev/null 2>/dev/null && echo reached its port
        cat /proc/net/tcp /proc/net/tcp6 /proc/net/unix 2>/dev/null | grep -c ':1E61' | grep -v '^0$' && echo saw its port
        ps | grep -v grep | grep -e 7777 -e 'sleep 1000' && echo saw its processes
        kill -9 {stub} 2>/dev/null && echo signalled its stub
        ls /proc/{stub} 2>/dev/null && echo saw its stub
        for i in $(seq 2 200); do [ -e /proc/$i ] && [ $i != $$ ] && grep -q 'sleep.1000' /proc/$i/cmdline 2>/dev/null && echo saw $i; done
        kill -9 -1 2>/dev/null; true"
    );
    // The last line ends the attacker as well.
    let end = runner.run(runner.script("a.1", &script));
    assert_eq!(runner.log("a.1"), "", "{end:?}");
    assert!(crate::support::alive(stub), "the victim lives");
    runner.send(&Request::Stop { id: "v.1".into(), grace_ms: 0 });
    runner.end("v.1");
}

/// Starts a container that takes all it can get and keeps it; its id and how much that was.
fn hold(arena: &mut Arena, what: &str) -> (String, usize) {
    let start = arena.start(MODES[0], &["hold", what]);
    let id = start.id.clone();
    arena.runner.start(start);
    arena.runner.started(&id);
    arena.runner.log_contains(&id, "\n");
    let count = arena.runner.log(&id).trim().rsplit_once(' ').unwrap().1.parse().unwrap();
    (id, count)
}

/// The kernel counts these by user, and a user namespace's also for whoever made it.
fn starve(what: &'static str) {
    with_arena(|arena| {
        let (first, taken) = hold(arena, what);
        let (second, left) = hold(arena, what);
        let here = if what == "inotify" {
            rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).is_ok()
        } else {
            rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).is_ok()
        };
        for id in [first, second] {
            arena.runner.send(&Request::Stop { id: id.clone(), grace_ms: 0 });
            arena.runner.end(&id);
        }
        assert!(taken > 0, "a task may have some");
        assert!(left > 0, "the first took {taken} {what} instances and left none to the second");
        assert!(here, "two containers took {taken} and {left} {what} instances and left none to the host");
    });
}

/// The ids of two containers' tasks on the host differ, and are nobody's.
fn users() {
    let mut runner = TestRunner::new();
    let uids = ["a.1", "b.1"].map(|id| {
        runner.start(runner.script(id, "sleep 1000"));
        let stub = runner.started(id);
        let children = std::fs::read_to_string(format!("/proc/{stub}/task/{stub}/children")).unwrap();
        let child = children.split_whitespace().next().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap();
        status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse::<u32>().ok())
            .unwrap()
    });
    for id in ["a.1", "b.1"] {
        runner.send(&Request::Stop { id: id.into(), grace_ms: 0 });
        runner.end(id);
    }
    assert_ne!(uids[0], uids[1], "one user for both: what the kernel counts or allows by user is shared");
    assert!(uids.iter().all(|uid| *uid > 65535), "{uids:?} are ids of the host's own");
}
