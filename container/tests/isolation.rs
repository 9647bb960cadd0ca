//! A task sees its container and nothing else, and has no powers in it.

mod support;

use shoal_container::protocol::{Cause, Root, Start};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use support::{TestRunner, wait_for};

#[test]
fn a_task_has_no_capabilities_and_cannot_gain_any() {
    let mut runner = TestRunner::new();
    let cat = runner.command("a.1", &["cat", "/proc/self/status"]);
    let status = runner.output_of(cat);
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(name), "0000000000000000", "{name}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Uid"), "65534 65534 65534 65534");
    assert_eq!(field("Gid"), "65534 65534 65534 65534");
    assert_eq!(field("Groups"), "");
    for name in ["SigBlk", "SigIgn", "SigCgt", "ShdPnd"] {
        assert_eq!(field(name), "0000000000000000", "{name}");
    }
}

#[test]
fn the_root_is_read_only_and_work_tmp_and_shm_are_private_and_writable() {
    let mut runner = TestRunner::new();
    let script = "for d in /work /tmp /dev/shm; do [ -z \"$(ls -A $d)\" ] || echo $d has something; echo x >$d/f || echo $d refused; done
        for d in / /bin /etc /dev /proc /proc/sys/kernel; do (echo x >$d/f) 2>/dev/null && echo wrote to $d; done; true";
    assert_eq!(runner.output("a.1", script), "");
    // A second attempt sees nothing of the first.
    assert_eq!(runner.output("a.2", script), "");
    assert!(!runner.path("root/work/f").exists() && !runner.path("root/tmp/f").exists());
}

#[test]
fn a_full_private_file_system_is_enospc_and_not_an_oom_kill() {
    let mut runner = TestRunner::new();
    let mut start = runner.script("a.1", "dd if=/dev/zero of=/work/big bs=1M count=40; echo code $?");
    start.limits.memory_bytes = 32 << 20;
    let end = runner.run(start);
    let log = runner.log("a.1");
    assert!(log.contains("No space left on device") && log.contains("code 1"), "{log}");
    assert_eq!((end.cause, end.oom_killed), (Cause::Code(0), false));
}

#[test]
fn every_namespace_is_the_containers_own() {
    let mut runner = TestRunner::new();
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let links =
        runner.output("a.1", "for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done");
    for (name, link) in names.iter().zip(links.lines()) {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(link.starts_with(name), "{link}");
        assert_ne!(link, host.to_str().unwrap());
    }
    assert_eq!(runner.output("b.1", "ls /sys/class/net 2>/dev/null; cat /proc/net/dev | grep -c :; ping -c1 -W2 127.0.0.1 >/dev/null 2>&1; ip link show lo | grep -c 'LOOPBACK,UP'"), "1\n1\n");
    let paths =
        runner.output("c.1", "grep -E ':(memory|cpu|pids|):' /proc/self/cgroup | cut -d: -f3 | sort -u");
    assert!(paths.lines().any(|path| path == "/") && !paths.contains("shoal"), "{paths}");
}

#[test]
fn the_only_processes_are_the_stub_and_the_task_and_the_stub_is_out_of_reach() {
    let mut runner = TestRunner::new();
    let script = "ls /proc >/tmp/list; grep -c '^[0-9]' /tmp/list; cat /proc/1/comm
        kill -9 1 2>/dev/null && echo killed
        for f in exe root cwd; do readlink /proc/1/$f 2>/dev/null && echo read $f; done
        ls /proc/1/fd 2>/dev/null && echo listed; cat /proc/1/mem 2>/dev/null && echo mem; cat /proc/1/environ 2>/dev/null && echo environ
        [ \"$(ls /proc/self/fd | wc -l)\" = 4 ] || ls -l /proc/self/fd";
    // The stub, the shell and ls itself.
    let log = runner.output("a.1", script);
    let mut lines = log.lines();
    assert_eq!(lines.next(), Some("3"), "{log}");
    assert_eq!(lines.next(), Some("shoal-stub"), "{log}");
    assert_eq!(lines.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn the_host_cannot_be_reached_from_inside() {
    let mut runner = TestRunner::new();
    let dir = runner.dir.path().display().to_string();
    let script = format!(
        "ls -A {dir} 2>/dev/null && echo saw {dir}
        ls -A / | sort | tr '\\n' ' '; echo; ls -A /dev | sort | tr '\\n' ' '; echo
        cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null; (echo b >/proc/sysrq-trigger) 2>/dev/null && echo sysrq
        mknod /tmp/d b 254 0 2>/dev/null && echo mknod; mount -t tmpfs x /tmp 2>/dev/null && echo mount
        chroot / true 2>/dev/null && echo chroot; hostname evil 2>/dev/null && echo hostname
        (echo core >/proc/sys/kernel/core_pattern) 2>/dev/null && echo core_pattern
        echo x >/dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; cut -d' ' -f1-4 /proc/self/mounts | grep -v -E ' (tmpfs|proc|devpts) ' | grep -v ' / '; ulimit -c"
    );
    let log = runner.output("a.1", &script);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines,
        [
            "bin dev etc proc tmp work ",
            "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero ",
            "4",
            "4",
            "0"
        ],
        "{log}"
    );
}

#[test]
fn a_root_that_lacks_mount_points_or_has_links_for_them_is_left_as_it_is() {
    let mut runner = TestRunner::new();
    let root = runner.path("root");
    for dir in ["proc", "tmp", "work"] {
        std::fs::remove_dir(root.join(dir)).unwrap();
    }
    std::os::unix::fs::symlink("/etc", root.join("tmp")).unwrap();
    std::os::unix::fs::symlink("bin", root.join("sbin")).unwrap();
    std::fs::write(root.join("hello"), "hello\n").unwrap();
    let log = runner.output(
        "a.1",
        "cat /hello; echo x >/tmp/f; ls -d /proc/self; pwd; readlink /sbin; (echo x >/bin/f; echo x >/hello; echo x >/f) 2>/dev/null || echo no",
    );
    assert_eq!(log, "hello\n/proc/self\n/work\nbin\nno\n");
    let left: BTreeSet<String> =
        std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left, ["bin", "dev", "etc", "hello", "sbin", "tmp"].map(str::to_owned).into());
    assert!(!root.join("etc/f").exists());
}

#[test]
fn the_hosts_own_system_is_read_only_and_its_services_are_out_of_reach() {
    let mut runner = TestRunner::new();
    let script = "ls /usr/bin/env; ls -A /run | wc -l; ls -A /sys | wc -l; ls -A /tmp | wc -l; ls -A /work | wc -l
        for d in / /etc /usr /var/tmp /home /opt; do (echo x >$d/shoal-test) 2>/dev/null && echo wrote to $d; done
        echo x >/tmp/f && echo y >/work/f && cat /tmp/f /work/f; pwd; ls /proc >/tmp/list; grep -c '^[0-9]' /tmp/list";
    let start = Start { root: Root::Host, ..host_script(&runner, "a.1", script) };
    let log = runner.output_of(start);
    assert_eq!(log.lines().collect::<Vec<_>>(), ["/usr/bin/env", "0", "0", "0", "0", "x", "y", "/work", "3"]);
}

#[test]
fn a_directory_of_the_host_as_working_directory_is_seen_and_what_is_written_there_stays_private() {
    let mut runner = TestRunner::new();
    // Not under /tmp, which a task has its own of.
    let project = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(project.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(project.path().join("input"), "three words here\n").unwrap();
    let mut start =
        host_script(&runner, "a.1", "pwd; wc -w <input; echo made >output; cat output; rm -f input; ls");
    start.workdir = project.path().to_str().unwrap().to_owned();
    let log = runner.output_of(start);
    assert_eq!(log, format!("{}\n3\nmade\noutput\n", project.path().display()));
    let left: Vec<_> = std::fs::read_dir(project.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["input"]);
}

#[test]
fn nothing_of_the_container_is_mounted_on_the_host() {
    let mut runner = TestRunner::new();
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let start = runner.script("a.1", "sleep 1000");
    runner.start(start);
    runner.started("a.1");
    let during = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let dir = runner.dir.path().to_str().unwrap().to_owned();
    assert!(!during.contains(&dir), "{during}");
    assert!(during.lines().count() <= before + 1, "other tests of this machine may mount, we may not");
    runner.send(&shoal_container::protocol::Request::Stop { id: "a.1".into(), grace_ms: 0 });
    runner.end("a.1");
    wait_for("the groups to be gone", || {
        runner.groups().iter().all(|group| !group.join("a.1").exists()).then_some(())
    });
}

fn host_script(runner: &TestRunner, id: &str, script: &str) -> Start {
    let mut start = runner.script(id, script);
    start.root = Root::Host;
    start.env.insert("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into());
    start
}
