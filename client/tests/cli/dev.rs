//! `shoal dev` where no cluster is needed: what it says and refuses. The whole-cluster tests run it for real.

use crate::support::program::command;
use std::path::Path;

fn dev(dir: &Path, args: &[&str]) -> (i32, String) {
    let mut command = command("", &["dev"]);
    let output = command.args(args).env("SHOAL_DEV_DIR", dir).env("PATH", "").output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn without_a_cluster_each_command_says_how_to_get_one() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["down"][..], &["kill", "node-1"], &["status"], &["pause", "1"]] {
        let (code, said) = dev(dir.path(), args);
        assert!(code == 125 && said.contains("shoal dev up"), "{args:?}: {said}");
    }
    assert_eq!(dev(dir.path(), &["rm"]).0, 0, "what does not exist is deleted already");
}

#[test]
fn a_server_that_ends_at_once_is_told_with_the_end_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let shoald = dir.path().join("shoald");
    std::fs::write(&shoald, "#!/bin/sh\necho \"no etcd here: $*\"\nexit 3\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&shoald, mode).unwrap();
    let place = dir.path().join("dev");
    let (code, said) =
        dev(&place, &["up", "--nodes", "1", "--cpus", "0.5", "--shoald", shoald.to_str().unwrap()]);
    assert_eq!(code, 125);
    assert!(said.contains("node-1 did not come up") && said.contains("exit status: 3"), "{said}");
    assert!(said.contains("no etcd here: --name node-1") && said.contains("--cpus 0.5"), "{said}");
    let (code, said) = dev(&place, &["up", "--nodes", "3", "--shoald", shoald.to_str().unwrap()]);
    assert!(code == 2 && said.contains("other options"), "{said}");
    assert_eq!(dev(&place, &["rm"]).0, 0);
    assert!(!place.exists());
}

#[test]
fn a_missing_server_program_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (code, said) = dev(dir.path(), &["up", "--shoald", "/nonexistent/shoald"]);
    assert!(code == 2 && said.contains("/nonexistent/shoald"), "{said}");
    assert!(dev(dir.path(), &["kill", "node-9"]).1.contains("node-1, node-2, node-3"));
}
