//! Paths that change while a container is made (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881): what was looked at must be what is used.

use super::trial;
use crate::escape::arena::make_canary;
use crate::escape::host::fingerprint;
use crate::support::{TestRunner, slowness};
use libtest_mimic::Trial;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use shoal_container::protocol::Cause;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Containers that are started while the paths change.
const STARTS: u64 = 24;

pub fn trials() -> Vec<Trial> {
    let names = ["dev", "proc", "tmp", "work"];
    names
        .map(|name| {
            trial(&format!("race::{name}_is_swapped_for_a_link_while_containers_start"), move || {
                swap_while_starting(name)
            })
        })
        .into()
}

fn swap_while_starting(name: &str) {
    let mut runner = TestRunner::new();
    let (root, canary) = (runner.path("root"), runner.path("canary"));
    make_canary(&canary);
    let decoy = root.join("decoy");
    std::os::unix::fs::symlink(&canary, &decoy).unwrap();
    let look = look(&canary);
    let names = names_in(&root);
    let before = fingerprint(&canary);
    let stop = AtomicBool::new(false);
    let mut ran = 0;
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| swap(&root.join(name), &decoy, &stop));
        // Also when an assertion fails: the scope waits for the other thread.
        let stopping = Stop(&stop);
        for number in 0..STARTS / slowness() {
            let id = format!("a.{number}");
            let end = runner.run(runner.script(&id, &look));
            let log = runner.log(&id);
            match &end.cause {
                Cause::Code(0) => ran += 1,
                Cause::Setup(_) | Cause::NotFound(_) | Cause::NotExecutable(_) => {}
                other => panic!("{id}: {other:?}: {log}"),
            }
            assert!(!log.contains("ESCAPED"), "{id}: {log}");
        }
        drop(stopping);
        let swaps = swapper.join().unwrap();
        assert!(swaps > STARTS / slowness(), "only {swaps} swaps");
    });
    assert!(ran > 0, "none ran");
    assert_eq!(fingerprint(&canary), before);
    assert_eq!(names_in(&root), names, "something was made in the root's directory");
}

/// What is mounted on a directory goes with it when its owner renames it, so the task may miss something; nothing of the host may be there instead.
fn look(canary: &Path) -> String {
    let canary = canary.display();
    format!(
        "for d in /dev /proc /tmp /work /decoy {canary} /proc/1/root{canary}; do cat $d/secret 2>/dev/null && echo ESCAPED: read by $d; done
        for f in /proc/sys/kernel/core_pattern /decoy/sys/kernel/core_pattern /decoy/sysrq-trigger; do [ -e $f ] && (echo x >$f) 2>/dev/null && echo ESCAPED: wrote $f; done
        for d in / /bin /etc /decoy /tmp /work; do echo x >$d/shoal-escape; done 2>/dev/null
        cat /proc/kcore /decoy/kcore 2>/dev/null | head -c 1 | grep -q . && echo ESCAPED: read the kernel; true"
    )
}

/// All names below a root.
fn names_in(root: &Path) -> BTreeSet<PathBuf> {
    fingerprint(root).into_keys().collect()
}

/// Sets the flag when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Exchanges the two in one step, again and again; how often.
fn swap(one: &Path, other: &Path, stop: &AtomicBool) -> u64 {
    let mut swaps = 0;
    while !stop.load(Ordering::Relaxed) {
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
        swaps += 1;
        std::thread::yield_now();
    }
    swaps
}
