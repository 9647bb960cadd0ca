//! What an operator's policy lets tasks have beside the usual: users, directories of the host, networks; and that nothing of it is had without.

#![allow(clippy::unwrap_used)]

mod support;

use shoal_container::policy::{MountPolicy, Policy};
use shoal_container::protocol::{Cause, Mount, Net, Request, Root, Start, User};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use support::{TestRunner, shows_other_owners, write_policy};

/// The user of the host that a shared directory belongs to.
const OWNER: u32 = 4242;

#[test]
fn root_inside_owns_the_root_file_system_and_is_nobody_outside() {
    let mut runner = TestRunner::new();
    if !shows_other_owners(runner.dir.path()) {
        return;
    }
    std::fs::write(runner.path("root/etc/secret"), "s3cret").unwrap();
    std::fs::set_permissions(runner.path("root/etc/secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let script = "id -u; stat -c %u:%g /etc/secret; cat /etc/secret; echo; touch /etc/x 2>/dev/null || echo read-only; cat /proc/self/uid_map";
    let start = Start { user: User::ROOT, ..runner.script("a.1", script) };
    let log = runner.output_of(start);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[..4], ["0", "0:0", "s3cret", "read-only"], "{log}");
    let map: Vec<u32> = lines[4].split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert!(map[0] == 0 && map[1] >= 1 << 30 && map[2] == 65536, "{map:?}");
    // Somebody else is not the owner, and what only the owner may read stays closed.
    let start = runner.script("b.1", "stat -c %u /etc/secret; cat /etc/secret 2>/dev/null || echo closed");
    assert!(runner.output_of(start).ends_with("closed\n"));
}

#[test]
fn an_image_is_writable_everywhere_and_stays_as_it_is() {
    let mut runner = TestRunner::new();
    if !shows_other_owners(runner.dir.path()) {
        return;
    }
    let digest = "5".repeat(64);
    let tree = runner.path("images").join(&digest).join("tree");
    std::fs::create_dir_all(tree.parent().unwrap()).unwrap();
    std::fs::rename(runner.path("root"), &tree).unwrap();
    std::fs::remove_dir(tree.join("work")).unwrap();
    let policy = Policy { images_dir: Some(runner.path("images")), ..Policy::default() };
    // On the disk, images belong to the first range of ids that containers have.
    own_all(&tree, policy.users.first);
    std::fs::set_permissions(tree.join("etc"), std::fs::Permissions::from_mode(0o700)).unwrap();
    write_policy(runner.dir.path(), &policy);
    runner.connect();
    let script = "stat -c %u /bin/busybox; echo x >/etc/made && rm /etc/not-executable && ls /etc; mkdir /new && ls -d /new; pwd";
    let image = |start: Start| Start { root: Root::Image(digest.clone()), ..start };
    let start = image(Start { user: User::ROOT, ..runner.script("a.1", script) });
    assert_eq!(runner.output_of(start), "0\nmade\n/new\n/work\n");
    assert!(tree.join("etc/not-executable").exists() && !tree.join("etc/made").exists());
    assert!(!tree.join("new").exists() && !tree.join("work").exists());
    // Another user of the image, and another attempt: nothing of the first is left, and a closed directory is closed.
    let start = image(Start {
        user: User { uid: 1000, gid: 1000 },
        ..runner.script(
            "b.1",
            "ls /etc 2>/dev/null || echo closed; touch /x 2>/dev/null || echo closed; touch /work/x",
        )
    });
    assert_eq!(runner.output_of(start), "closed\nclosed\n");
    // What is written counts towards the private layer's size.
    let mut start =
        image(runner.script("c.1", "dd if=/dev/zero of=/big bs=1M count=8 2>&1 | grep -c 'No space'"));
    start.user = User::ROOT;
    start.limits.disk_bytes = 4 << 20;
    assert_eq!(runner.output_of(start), "1\n");
}

#[test]
fn two_containers_at_once_are_different_users_of_the_host() {
    let mut runner = TestRunner::new();
    let mut owners = Vec::new();
    for id in ["a.1", "b.1"] {
        let start = runner.script(id, "sleep 1000");
        runner.start(start);
        let stub = runner.started(id);
        let task = children(stub);
        let owner = |pid: i32| std::fs::metadata(format!("/proc/{pid}/ns")).map(|m| m.uid());
        // The stub cannot be looked into, so its files are root's whoever it is.
        owners.push(std::fs::metadata(format!("/proc/{}", task[0])).unwrap().uid());
        assert!(owner(stub).is_ok());
        assert_ne!(status_uid(stub), status_uid(task[0]), "stub and task are different users");
        assert!(status_uid(stub) >= 1 << 30);
    }
    assert_ne!(owners[0] >> 16, owners[1] >> 16, "{owners:?}");
    for id in ["a.1", "b.1"] {
        runner.send(&Request::Stop { id: id.into(), grace_ms: 0 });
        runner.end(id);
    }
}

#[test]
fn an_allowed_directory_is_shared_as_its_owner_and_writable_only_where_both_say_so() {
    let mut runner = TestRunner::new();
    if !shows_other_owners(runner.dir.path()) {
        return;
    }
    let shared = shared_directory(&runner, OWNER);
    let policy = |writable| {
        let mount = MountPolicy { path: shared.clone(), writable };
        Policy {
            roots: vec![runner.path("root")],
            mounts: BTreeMap::from([("data".to_owned(), mount)]),
            ..Policy::default()
        }
    };
    let (open, closed) = (policy(true), policy(false));
    let script =
        "cat /mnt/data/input; stat -c %u /mnt/data/input; echo made >/mnt/data/output || echo read-only";
    let with = |runner: &TestRunner, id: &str, read_only| Start {
        mounts: vec![Mount { name: "data".into(), target: "/mnt/data".into(), read_only }],
        ..runner.script(id, script)
    };
    for (id, policy, read_only) in [("a.1", &closed, false), ("b.1", &open, true)] {
        write_policy(runner.dir.path(), policy);
        runner.connect();
        let start = with(&runner, id, read_only);
        let log = runner.output_of(start);
        assert!(log.starts_with("hello\n65534\n") && log.ends_with("read-only\n"), "{id}: {log}");
    }
    write_policy(runner.dir.path(), &open);
    runner.connect();
    let start = with(&runner, "c.1", false);
    assert_eq!(runner.output_of(start), "hello\n65534\n");
    let made = std::fs::metadata(shared.join("output")).unwrap();
    assert_eq!((made.uid(), made.gid()), (OWNER, OWNER), "what a task writes is the owner's");
    // The next one, of other ids, finds it as its own.
    let mut start = runner.script("d.1", "rm /data/output && ls /data");
    start.mounts = vec![Mount { name: "data".into(), target: "/data".into(), read_only: false }];
    assert_eq!(runner.output_of(start), "input\n");
}

#[test]
fn a_directory_of_roots_is_never_writable() {
    let mut runner = TestRunner::new();
    let shared = shared_directory(&runner, 0);
    let mount = MountPolicy { path: shared, writable: true };
    let mounts = BTreeMap::from([("data".to_owned(), mount)]);
    write_policy(
        runner.dir.path(),
        &Policy { roots: vec![runner.path("root")], mounts, ..Policy::default() },
    );
    runner.connect();
    let mut start = runner.script("a.1", "true");
    start.mounts = vec![Mount { name: "data".into(), target: "/data".into(), read_only: false }];
    let cause = runner.run(start).cause;
    assert!(matches!(&cause, Cause::Setup(why) if why.contains("belongs to root")), "{cause:?}");
    let mut start = runner.script("b.1", "cat /data/input");
    start.mounts = vec![Mount { name: "data".into(), target: "/data".into(), read_only: true }];
    assert_eq!(runner.output_of(start), "hello\n");
}

#[test]
fn what_the_policy_does_not_name_is_refused_by_name() {
    let mut runner = TestRunner::new();
    write_policy(runner.dir.path(), &Policy { roots: vec![runner.path("root")], ..Policy::default() });
    runner.connect();
    let mount = |target: &str| vec![Mount { name: "data".into(), target: target.into(), read_only: true }];
    let plain = runner.script("x.1", "true");
    let cases = [
        (Start { net: Net::Host, ..plain.clone() }, "network"),
        (Start { root: Root::Host, ..plain.clone() }, "host's system"),
        (Start { root: Root::Directory("/".into()), ..plain.clone() }, "no root /"),
        (Start { root: Root::Image("a".repeat(64)), ..plain.clone() }, "no images"),
        (Start { mounts: mount("/data"), ..plain.clone() }, "no mount \"data\""),
        (Start { user: User { uid: 65535, gid: 0 }, ..plain.clone() }, "below 65535"),
    ];
    for (number, (start, why)) in cases.into_iter().enumerate() {
        let id = format!("x.{number}");
        runner.start(Start { id: id.clone(), ..start });
        let refusal = runner.refusal(&id);
        assert!(refusal.contains(why), "{why}: {refusal}");
        assert!(!runner.path("attempts").join(&id).exists(), "nothing of it was made");
    }
    let mounts = BTreeMap::from([("data".into(), MountPolicy { path: "/usr".into(), writable: false })]);
    let images_dir = Some(runner.path("images"));
    let policy = Policy { roots: vec![runner.path("root")], mounts, images_dir, ..Policy::default() };
    write_policy(runner.dir.path(), &policy);
    runner.connect();
    for (number, target) in ["data", "/", "/a/../etc", "/proc/x", "/dev", "/sys/fs"].into_iter().enumerate() {
        let id = format!("y.{number}");
        runner.start(Start { id: id.clone(), mounts: mount(target), ..plain.clone() });
        assert!(runner.refusal(&id).contains("target"), "{target}");
    }
    runner.start(Start { id: "z.1".into(), root: Root::Image("../../etc".into()), ..plain });
    assert!(runner.refusal("z.1").contains("hexadecimal"));
}

#[test]
fn a_network_is_the_one_asked_for() {
    let mut runner = TestRunner::new();
    let interfaces =
        "grep -c : /proc/net/dev; cat /sys/class/net/lo/flags 2>/dev/null; ip -o link show lo | grep -c UP";
    let start = runner.script("a.1", interfaces);
    assert_eq!(runner.output_of(start), "1\n1\n");
    let start = Start { net: Net::None, ..runner.script("b.1", &format!("{interfaces} || true")) };
    assert_eq!(runner.output_of(start), "1\n0\n");
    write_policy(
        runner.dir.path(),
        &Policy { roots: vec![runner.path("root")], host_net: true, ..Policy::default() },
    );
    runner.connect();
    let start = Start { net: Net::Host, ..runner.script("c.1", "readlink /proc/self/ns/net") };
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(runner.output_of(start).trim(), own.to_str().unwrap());
}

#[test]
fn a_network_is_lent_again_only_if_it_was_never_used() {
    let mut runner = TestRunner::new();
    let name = "readlink /proc/self/ns/net";
    let first = runner.output("a.1", name);
    assert_eq!(runner.output("b.1", name), first, "nothing was sent, so it is as new");
    let ping =
        "nc -l -p 4000 >/dev/null & sleep 0.2; echo x | nc -w 1 127.0.0.1 4000; readlink /proc/self/ns/net";
    assert_eq!(runner.output("c.1", ping), first);
    assert_ne!(runner.output("d.1", name), first, "packets have passed");
    let second = runner.output("e.1", name);
    let start = Start { root: Root::Host, ..runner.script("f.1", "true") };
    runner.output_of(start);
    assert_ne!(runner.output("g.1", name), second, "it could have been handed to a service of the host");
}

#[test]
fn limits_are_tightened_and_never_loosened() {
    let mut runner = TestRunner::new();
    let own: u64 = runner.output("a.1", "ulimit -n").trim().parse().unwrap();
    let mut start =
        runner.script("b.1", "ulimit -n; ulimit -Hn; ulimit -c; df -k /work | tail -n 1 | awk '{print $2}'");
    start.limits.open_files = 33;
    start.limits.disk_bytes = 1 << 20;
    assert_eq!(runner.output_of(start), "33\n33\n0\n1024\n");
    let mut start = runner.script("c.1", "ulimit -Hn");
    start.limits.open_files = u32::MAX;
    let most: u64 = runner.output_of(start).trim().parse().unwrap();
    assert!(most <= own.max(most_files()), "{most}");
}

fn most_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

fn shared_directory(runner: &TestRunner, owner: u32) -> std::path::PathBuf {
    let shared = runner.path("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("input"), "hello\n").unwrap();
    for path in [&shared, &shared.join("input")] {
        own(path, owner);
    }
    shared
}

fn own(path: &Path, owner: u32) {
    chown(path, Some(owner), Some(owner)).unwrap();
}

fn own_all(path: &Path, owner: u32) {
    std::os::unix::fs::lchown(path, Some(owner), Some(owner)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            own_all(&entry.unwrap().path(), owner);
        }
    }
}

fn children(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn status_uid(pid: i32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
