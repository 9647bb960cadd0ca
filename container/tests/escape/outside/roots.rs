//! Root file systems made to lead the runner out: links, files and pipes where it mounts (CVE-2026-41579 of runc and CVE-2026-47766 of crun: /dev as a
//! link; CVE-2026-88264 and -88265 of crun: /dev/console and /dev/null as links; CVE-2025-31133 and CVE-2025-62161: a mask that is a link).
//! Each container either is refused with a reason or runs as it should, and nothing outside of it changes.

use super::trial;
use crate::escape::arena::make_canary;
use crate::escape::host::fingerprint;
use crate::support::TestRunner;
use libtest_mimic::Trial;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use shoal_container::protocol::{Cause, Start};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

type Make = fn(root: &Path, canary: &Path);

const TREES: &[(&str, Make)] = &[
    ("dev_is_an_absolute_link_out", |root, canary| replace(root, "dev", canary)),
    ("dev_is_a_relative_link_out", |root, canary| replace(root, "dev", &up(canary))),
    ("dev_is_a_link_inside", |root, _| replace(root, "dev", Path::new("etc"))),
    ("dev_is_a_link_to_itself", |root, _| replace(root, "dev", Path::new("dev"))),
    ("dev_is_a_file", |root, _| file(root, "dev")),
    ("dev_null_is_a_link_out", |root, canary| link(root, "dev/null", &canary.join("null"))),
    ("dev_null_is_a_link_to_a_setting", |root, _| {
        link(root, "dev/null", Path::new("/proc/sys/kernel/core_pattern"))
    }),
    ("dev_null_is_a_file", |root, _| fs::write(root.join("dev/null"), "x").unwrap()),
    ("dev_ptmx_is_a_link_out", |root, canary| link(root, "dev/ptmx", &canary.join("ptmx"))),
    ("dev_console_is_a_link_out", |root, canary| link(root, "dev/console", &canary.join("console"))),
    ("dev_pts_is_a_link_out", |root, canary| link(root, "dev/pts", canary)),
    ("dev_shm_is_a_link_out", |root, canary| link(root, "dev/shm", canary)),
    ("dev_fd_is_a_link_out", |root, canary| link(root, "dev/fd", canary)),
    ("proc_is_a_link_to_the_root", |root, _| replace(root, "proc", Path::new("/"))),
    ("proc_is_a_link_out", |root, canary| replace(root, "proc", canary)),
    ("proc_is_a_file", |root, _| file(root, "proc")),
    ("proc_is_a_pipe", |root, _| pipe(root, "proc")),
    ("proc_is_made_up", made_up_proc),
    ("tmp_is_a_link_out", |root, canary| replace(root, "tmp", canary)),
    ("tmp_is_a_pipe", |root, _| pipe(root, "tmp")),
    ("work_is_a_link_out", |root, canary| replace(root, "work", canary)),
    ("work_is_a_link_to_etc", |root, _| replace(root, "work", Path::new("/etc"))),
    ("work_is_a_file", |root, _| file(root, "work")),
    ("work_is_a_pipe", |root, _| pipe(root, "work")),
    ("run_is_an_absolute_link_out", |root, canary| replace_run(root, "run", canary)),
    ("run_is_a_relative_link_out", |root, canary| replace_run(root, "run", &up(canary))),
    ("run_is_a_link_inside", |root, _| replace_run(root, "run", Path::new("/etc"))),
    ("run_is_a_file", |root, _| fs::write(root.join("run"), "x").unwrap()),
    ("run_is_a_pipe", |root, _| {
        mknodat(CWD, root.join("run"), FileType::Fifo, Mode::from_bits_truncate(0o666), 0).unwrap();
    }),
    ("run_shoal_is_a_link_out", |root, canary| replace_run(root, "run/shoal", canary)),
    ("run_shoal_gang_is_a_link_out", |root, canary| replace_run(root, "run/shoal/gang", canary)),
    ("everything_is_a_link_out", |root, canary| {
        ["dev", "proc", "tmp", "work"].iter().for_each(|name| replace(root, name, canary));
        replace_run(root, "run", canary);
    }),
];

/// Says what is wrong in the container; nothing if it is as it should be.
pub const LOOK: &str = "
    [ \"$(sed -n 's/^Pid:.//p' /proc/self/status)\" -gt 1 ] || echo ESCAPED: no real /proc
    grep -q '^[^ ]* /proc proc ' /proc/self/mounts || echo ESCAPED: /proc is not mounted
    [ -c /dev/null ] && echo x >/dev/null && [ -z \"$(cat /dev/null)\" ] || echo ESCAPED: /dev/null is something else
    for d in /tmp /work /dev/shm /run/shoal/gang; do [ -z \"$(ls -A $d)\" ] || echo ESCAPED: $d shows something; echo x >$d/shoal-escape || echo $d refused; done
    (echo x >/shoal-escape) 2>/dev/null && echo ESCAPED: wrote to the root
    (echo x >/proc/sys/kernel/core_pattern) 2>/dev/null && echo ESCAPED: wrote a setting; true";

pub fn trials() -> Vec<Trial> {
    TREES.iter().map(|(name, make)| trial(&format!("root::{name}"), || start_in(*make))).collect()
}

fn start_in(make: Make) {
    let mut runner = TestRunner::new();
    let (root, canary) = (runner.path("root"), runner.path("canary"));
    make_canary(&canary);
    make(&root, &canary);
    let before = (fingerprint(&canary), fingerprint(&root));
    let start = runner.script("a.1", LOOK);
    // As a member of several, which has one mount more.
    let end = runner.run(Start { gang: true, ..start });
    let log = runner.log("a.1");
    match &end.cause {
        // It runs, and nothing is wrong in it; or its program was not found, since the root has none.
        Cause::Code(0) => assert_eq!(log, "", "the container is not as it should be"),
        Cause::Setup(why) => assert!(!why.is_empty()),
        other => panic!("{other:?}: {log}"),
    }
    assert_eq!(
        (fingerprint(&canary), fingerprint(&root)),
        before,
        "something changed outside of the container ({:?})",
        end.cause
    );
}

fn link(root: &Path, name: &str, target: &Path) {
    symlink(target, root.join(name)).unwrap();
}

fn replace(root: &Path, name: &str, target: &Path) {
    fs::remove_dir(root.join(name)).unwrap();
    link(root, name, target);
}

/// Where the directory of a task of several nodes is mounted.
fn replace_run(root: &Path, name: &str, target: &Path) {
    let at = root.join(name);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    symlink(target, at).unwrap();
}

fn file(root: &Path, name: &str) {
    fs::remove_dir(root.join(name)).unwrap();
    fs::write(root.join(name), "x").unwrap();
}

fn pipe(root: &Path, name: &str) {
    fs::remove_dir(root.join(name)).unwrap();
    mknodat(CWD, root.join(name), FileType::Fifo, Mode::from_bits_truncate(0o666), 0).unwrap();
}

/// The way from inside of a root to a path of the host, for whoever follows it on the host.
fn up(path: &Path) -> std::path::PathBuf {
    let mut relative = std::path::PathBuf::from("../".repeat(20));
    relative.push(path.strip_prefix("/").unwrap());
    relative
}

/// Files where the runner writes and masks, in case it takes this for the kernel's (CVE-2025-52881).
fn made_up_proc(root: &Path, canary: &Path) {
    for dir in
        ["proc/self/fd", "proc/thread-self", "proc/sys/kernel", "proc/1", "proc/keys", "proc/timer_list"]
    {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for name in
        ["proc/self/oom_score_adj", "proc/thread-self/oom_score_adj", "proc/kcore", "proc/sysrq-trigger"]
    {
        symlink(canary.join("null"), root.join(name)).unwrap();
    }
    fs::write(root.join("proc/sys/kernel/core_pattern"), "x").unwrap();
}
