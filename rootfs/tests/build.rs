//! The default root: the same everywhere, static only, complete enough for a shell.

#![allow(clippy::unwrap_used)] // a test's helper may panic like the test itself

use shoal_rootfs::{Error, Manifest, build, ensure_from, find_busybox};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

fn busybox() -> PathBuf {
    find_busybox().expect("these tests need a static busybox: apt-get install busybox-static")
}

/// All that can be seen of a tree but its owner and inode numbers, by an independent walk.
fn facts(root: &Path) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let mut facts = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_symlink() {
            path.read_link().unwrap().to_string_lossy().into_owned().into_bytes()
        } else if metadata.is_dir() {
            open.extend(path.read_dir().unwrap().map(|item| item.unwrap().path()));
            Vec::new()
        } else {
            std::fs::read(&path).unwrap()
        };
        let name = path.strip_prefix(root).unwrap().to_path_buf();
        facts.insert(name, (metadata.mode(), metadata.mtime(), content));
    }
    facts
}

#[test]
fn two_builds_are_identical() {
    let dir = tempfile::tempdir().unwrap();
    let first = build(&busybox(), &dir.path().join("one")).unwrap();
    let second = build(&busybox(), &dir.path().join("two")).unwrap();
    assert_eq!(first.digest(), second.digest());
    let facts_one = facts(&dir.path().join("one"));
    assert_eq!(facts_one, facts(&dir.path().join("two")));
    assert_eq!(facts_one.len(), first.entries);
    assert_eq!(Manifest::scan(&dir.path().join("one")).unwrap(), first);
}

#[test]
fn a_shell_runs_in_the_tree_and_finds_its_applets_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    build(&busybox(), &root).unwrap();
    for place in ["bin/sh", "sbin/sh", "usr/bin/sh", "usr/sbin/sh"] {
        let output = Command::new(root.join(place)).args(["-c", "echo ok"]).output().unwrap();
        assert_eq!(output.stdout, b"ok\n", "{place}");
    }
    for applet in ["ls", "cat", "sha256sum", "wc", "sleep", "env", "true", "false"] {
        assert_eq!(root.join("bin").join(applet).read_link().unwrap(), Path::new("busybox"), "{applet}");
    }
}

#[test]
fn nobody_is_65534_and_temporary_directories_are_sticky() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    build(&busybox(), &root).unwrap();
    let passwd = std::fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(passwd.lines().any(|line| line.starts_with("nobody:x:65534:65534:")), "{passwd}");
    for place in ["tmp", "var/tmp"] {
        assert_eq!(root.join(place).metadata().unwrap().permissions().mode() & 0o7777, 0o1777, "{place}");
    }
    for mount_point in ["proc", "dev", "tmp", "work"] {
        assert_eq!(root.join(mount_point).read_dir().unwrap().count(), 0, "{mount_point} is empty");
    }
}

#[test]
fn nothing_in_the_tree_is_setuid() {
    let dir = tempfile::tempdir().unwrap();
    build(&busybox(), &dir.path().join("root")).unwrap();
    assert!(facts(&dir.path().join("root")).values().all(|(mode, _, _)| mode & 0o6000 == 0));
}

#[test]
fn a_dynamic_busybox_is_refused_with_what_to_type() {
    // This test's own executable: dynamic on every glibc target.
    let dir = tempfile::tempdir().unwrap();
    let dynamic = std::env::current_exe().unwrap();
    let error = build(&dynamic, &dir.path().join("root")).unwrap_err();
    assert!(matches!(error, Error::Dynamic { .. }), "{error}");
    assert!(error.to_string().contains("apt-get install busybox-static"), "{error}");
    assert!(!dir.path().join("root").exists(), "nothing is left behind");
}

#[test]
fn a_script_is_not_a_busybox() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("busybox");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    assert!(matches!(build(&script, &dir.path().join("root")), Err(Error::NotElf { .. })));
}

#[test]
fn build_does_not_touch_what_exists() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(build(&busybox(), dir.path()), Err(Error::Exists { .. })));
}

#[test]
fn ensure_builds_once_and_then_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("roots/default");
    let first = ensure_from(&busybox(), &out).unwrap();
    let inode = out.metadata().unwrap().ino();
    let record = std::fs::read_to_string(dir.path().join("roots/default.manifest")).unwrap();
    assert_eq!(record, first.text());
    assert_eq!(ensure_from(&busybox(), &out).unwrap(), first);
    assert_eq!(out.metadata().unwrap().ino(), inode, "the tree is the same one");
}

#[test]
fn ensure_repairs_a_damaged_tree_and_keeps_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("default");
    let first = ensure_from(&busybox(), &out).unwrap();
    std::fs::write(out.join("etc/passwd"), "root::0:0::/:/bin/sh\n").unwrap();
    std::fs::create_dir(dir.path().join("default.building")).unwrap();
    assert_eq!(ensure_from(&busybox(), &out).unwrap(), first);
    assert_eq!(Manifest::scan(&out).unwrap(), first);
    assert!(dir.path().join("default.previous/etc/passwd").exists());
    assert!(!dir.path().join("default.building").exists());
}
