//! An image's life in the store: once, whole, by its digest, and gone when it is removed.

use super::archive::{Tar, sha256};
use super::support::{busybox_root, wait_for, write_policy};
use super::world::World;
use shoal_container::image::{Caps, DESCRIPTION, Outcome};
use shoal_container::policy::Policy;
use shoal_container::protocol::{Cause, Request, Root, Unpack, User};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn an_image_is_unpacked_once() {
    let mut world = World::new();
    let archive = Tar::new().file("a", b"x").end();
    let first = world.good(&archive);
    let mark = world.tree(&first).join("mark");
    std::fs::write(&mark, "").unwrap();
    assert_eq!(world.good(&archive), first);
    // By its digest it is found without an archive.
    let known = world.unpack_expecting(b"", Caps::default(), Some(first.digest.clone()));
    assert_eq!(known, Outcome::Unpacked(first));
    assert!(mark.exists(), "the tree that was there has stayed");
}

#[test]
fn another_image_than_the_one_asked_for_is_refused() {
    let mut world = World::new();
    let archive = Tar::new().file("a", b"x").end();
    let expected = sha256(b"another");
    let outcome = world.unpack_expecting(&archive, Caps::default(), Some(expected.clone()));
    let Outcome::Failed(why) = outcome else { panic!("{outcome:?}") };
    let digest = sha256(&archive);
    assert_eq!(why, format!("the image must be sha256:{expected}, was sha256:{digest}"));
    assert!(!world.images().join(digest).exists());
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn a_removed_image_is_gone_and_can_come_again() {
    let mut world = World::new();
    let archive = Tar::new().file("a/b/c", b"x").end();
    let unpacked = world.good(&archive);
    assert_eq!(world.remove(&unpacked.digest), None);
    assert!(!world.images().join(&unpacked.digest).exists());
    assert_eq!(world.remove(&unpacked.digest), None, "to remove it again is fine");
    assert!(world.remove("../attempts").unwrap().contains("64 hexadecimal digits"));
    assert_eq!(world.good(&archive), unpacked);
}

#[test]
fn what_a_dead_runner_left_unfinished_is_swept() {
    let mut world = World::new();
    let whole = world.good(&Tar::new().file("a", b"x").end());
    let images = world.images();
    std::fs::create_dir_all(images.join(".staging-1/tree/deep/er")).unwrap();
    std::fs::create_dir_all(images.join(format!(".removing-{}", sha256(b"x")))).unwrap();
    std::fs::create_dir_all(images.join(sha256(b"half")).join("tree")).unwrap();
    world.runner.disconnect();
    world.runner.process.kill().unwrap();
    world.runner.process.wait().unwrap();
    world.runner.restart();
    wait_for("the sweep", || world.leftovers().is_empty().then_some(()));
    wait_for("the half one to go", || (!images.join(sha256(b"half")).exists()).then_some(()));
    assert!(images.join(&whole.digest).join(DESCRIPTION).exists());
}

#[test]
fn a_store_is_closed_to_all_but_root() {
    let mut world = World::new();
    world.good(&Tar::new().file("a", b"x").end());
    assert_eq!(world.images().metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn without_a_store_there_are_no_images() {
    let mut world = World::new();
    let policy = Policy { images_dir: None, ..world.policy.clone() };
    write_policy(world.runner.dir.path(), &policy);
    world.runner.connect();
    let outcome = world.unpack(&Tar::new().file("a", b"x").end(), Caps::default());
    assert_eq!(outcome, Outcome::Failed("the policy of this node has no images".to_owned()));
}

#[test]
fn only_a_regular_file_is_an_archive() {
    let mut world = World::new();
    std::os::unix::fs::symlink("/etc/passwd", world.runner.path("link")).unwrap();
    for (path, words) in [("link", "symbolic links"), ("root", "no regular file"), ("gone", "No such file")] {
        let blob = world.runner.path(path);
        let unpack = Unpack { id: path.to_owned(), blob, expected: None, caps: Caps::default() };
        world.runner.send(&Request::Unpack(Box::new(unpack)));
        let outcome = world.answer(path);
        assert!(matches!(&outcome, Outcome::Failed(why) if why.contains(words)), "{path}: {outcome:?}");
    }
}

/// The archive of a directory, as `tar -c .` writes it.
fn pack(dir: &Path, below: &str, tar: Tar) -> Tar {
    let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    entries.into_iter().fold(tar, |tar, entry| {
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            return pack(&entry.path(), &format!("{name}/"), tar.dir(&name));
        }
        if kind.is_symlink() {
            return tar.symlink(&name, std::fs::read_link(entry.path()).unwrap().to_str().unwrap());
        }
        let header = super::archive::Header { mode: 0o755, ..super::archive::Header::new(&name, b'0') };
        tar.entry(header, &std::fs::read(entry.path()).unwrap())
    })
}

#[test]
fn a_task_runs_in_an_image_and_writes_to_its_own_copy_alone() {
    let mut world = World::new();
    busybox_root(&world.runner.path("busybox"));
    let archive = pack(&world.runner.path("busybox"), "", Tar::new()).file("etc/hello", b"hello\n").end();
    let unpacked = world.good(&archive);
    for (id, user) in [("root.1", User::ROOT), ("nobody.1", User::NOBODY)] {
        let script =
            "cat /etc/hello; id -u; if [ $(id -u) = 0 ]; then echo mine >/etc/hello && cat /etc/hello; fi";
        let mut start = world.runner.script(id, script);
        start.root = Root::Image(unpacked.digest.clone());
        start.user = user;
        let end = world.runner.run(start);
        let log = world.runner.log(id);
        assert_eq!(end.cause, Cause::Code(0), "{log}");
        let expected = if user == User::ROOT { "hello\n0\nmine\n" } else { "hello\n65534\n" };
        assert_eq!(log, expected);
    }
    assert_eq!(std::fs::read(world.tree(&unpacked).join("etc/hello")).unwrap(), b"hello\n");
}
