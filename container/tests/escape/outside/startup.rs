//! Requests that would lead a start out: working directories and programs by way of descriptors that the runner has (CVE-2024-21626, and
//! CVE-2026-55686 for links as working directories), and the runner's own program (CVE-2019-5736).

use super::trial;
use crate::escape::arena::{Arena, MODES, Mode};
use crate::escape::attempt::Outcome;
use crate::escape::suite::with_arena_of;
use crate::support::slowness;
use libtest_mimic::Trial;
use shoal_container::protocol::Cause;

/// A runner has no more descriptors than this at rest.
const DESCRIPTORS: u64 = 40;

/// The numbers of descriptors that are tried: fewer where each start takes long.
fn descriptors() -> impl Iterator<Item = u64> {
    0..DESCRIPTORS / slowness()
}

/// What is looked at from a working directory.
const LOOKS: [&str; 4] = [
    "process::leaked_working_directory",
    "process::inherited_descriptors",
    "files::climb_above_the_root",
    "files::read_a_file_of_the_host",
];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("start::in_a_working_directory_by_a_descriptor", || {
            let ways = descriptors().flat_map(|fd| ["self", "1"].map(|who| format!("/proc/{who}/fd/{fd}")));
            working_directories(&ways.collect::<Vec<_>>());
        }),
        trial("start::in_a_working_directory_that_leads_out", || {
            let ways = [
                "/proc/1/root",
                "/proc/1/cwd",
                "/proc/self/root",
                "/proc/self/cwd",
                "/work/../../../..",
                "/work/../proc/self/fd/4",
                "/evil/link-to-canary",
                "/evil/link-to-descriptor",
                "/dev/fd/5",
                "//",
                "/proc/self/task/1/cwd",
            ];
            working_directories(&ways.map(str::to_owned));
        }),
        trial("start::of_a_program_by_a_descriptor", || {
            let ways = descriptors().map(|fd| format!("/proc/self/fd/{fd}"));
            programs(&ways.chain((0..10).map(|fd| format!("/dev/fd/{fd}"))).collect::<Vec<_>>());
        }),
        trial("start::of_the_runners_own_program", || {
            let ways = ["/proc/self/exe", "/proc/1/exe", "/proc/thread-self/exe", "/evil/runs-itself"];
            programs(&ways.map(str::to_owned));
        }),
    ]
}

/// In a directory root, under a runner of root's and one of an ordinary user's.
fn under_both(action: impl Fn(&mut Arena, Mode)) {
    let name = |rootless| if rootless { "rootless_directory" } else { "directory_nobody" };
    for rootless in [false, true] {
        let mode = MODES.into_iter().find(|mode| mode.name == name(rootless)).unwrap();
        with_arena_of(rootless, |arena| {
            action(arena, mode);
            arena.assert_host_unchanged();
        });
    }
}

/// A start in each of these is refused, or is inside.
fn working_directories(ways: &[String]) {
    under_both(|arena, mode| {
        for way in ways {
            match arena.attack(mode, &LOOKS, |start| start.workdir.clone_from(way)) {
                Err(why) => {
                    let refused = ["NotExecutable", "Setup", "must"].iter().any(|word| why.contains(word));
                    assert!(refused && !why.contains("ESCAPED"), "{way}: {why}");
                }
                Ok(results) => {
                    assert_eq!(results.outcomes.len(), LOOKS.len(), "{way}: {}", results.text);
                    let all_held =
                        results.outcomes.values().all(|outcome| matches!(outcome, Outcome::Held(_)));
                    assert!(all_held, "{way}: {}", results.text);
                }
            }
        }
    });
}

/// None of these is a program of the root. What is executed all the same is the runner's own, which then says that it does not know its arguments.
fn programs(ways: &[String]) {
    under_both(|arena, mode| {
        for way in ways {
            let mut start = arena.start(mode, &["--no-such-option"]);
            start.command[0].clone_from(way);
            let id = start.id.clone();
            let end = arena.runner.run(start);
            let log = arena.runner.log(&id);
            let refused = matches!(end.cause, Cause::NotFound(_) | Cause::NotExecutable(_) | Cause::Setup(_));
            assert!(refused && log.is_empty(), "{way} was executed: {:?}: {log}", end.cause);
        }
    });
}
