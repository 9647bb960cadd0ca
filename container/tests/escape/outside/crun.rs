//! Conformance with an oracle: what a task sees of itself, of its mounts and of its descriptors, here and under crun with an equal bundle. Ours may be
//! stricter than the oracle, never looser. Without crun (`SHOAL_CRUN`, or in PATH) the comparison is skipped, and said to be.

use super::trial;
use crate::support::TestRunner;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Separates what the script prints.
const MARK: &str = "----";
/// Attributes of a mount that take something away.
const STRICT: [&str; 4] = ["ro", "nosuid", "nodev", "noexec"];
/// Fields of a process' status that must be the same.
const SAME: [&str; 8] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Groups"];
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub fn trials() -> Vec<Trial> {
    vec![trial("crun::a_task_has_no_more_than_under_the_oracle", compare)]
}

/// What a task saw.
struct Sight {
    status: BTreeMap<String, String>,
    mounts: BTreeMap<String, BTreeSet<String>>,
    descriptors: Vec<String>,
}

fn compare() {
    let Some(crun) = find_crun() else {
        println!("skipped  the comparison with crun: it is not installed (PATH, SHOAL_CRUN)");
        return;
    };
    let mut runner = TestRunner::new();
    // Descriptor 3 is the list's own.
    let script = format!(
        "cat /proc/self/status; echo {MARK}; cat /proc/self/mountinfo; echo {MARK}; ls /proc/self/fd"
    );
    let ours = parse(&runner.output("a.1", &script));
    let theirs = parse(&run_crun(&crun, runner.dir.path(), &script));
    for field in SAME {
        assert_eq!(ours.status.get(field), theirs.status.get(field), "{field}");
    }
    assert_eq!(ours.descriptors, theirs.descriptors);
    for (point, strict) in &theirs.mounts {
        let Some(here) = ours.mounts.get(point) else {
            // A mask of something that this kernel lacks, or a place that we do not have at all.
            assert!(!MASKED.contains(&point.as_str()), "{point} is covered under the oracle alone");
            continue;
        };
        let looser: Vec<_> = strict.difference(here).collect();
        assert!(looser.is_empty(), "{point} has {looser:?} under the oracle alone; here {here:?}");
    }
}

fn find_crun() -> Option<PathBuf> {
    let named = std::env::var_os("SHOAL_CRUN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named
        .into_iter()
        .chain(std::env::split_paths(&path).map(|dir| dir.join("crun")))
        .find(|path| path.is_file())
}

/// In a mount namespace of its own without the second hierarchy, where there are two: crun refuses such machines.
fn run_crun(crun: &Path, dir: &Path, script: &str) -> String {
    let bundle = dir.join("bundle");
    std::fs::create_dir(&bundle).unwrap();
    std::fs::write(bundle.join("config.json"), config(&dir.join("root"), script).to_string()).unwrap();
    let name = format!("shoal-escape-{}", std::process::id());
    let command =
        "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$0\" --root \"$1\" run --bundle \"$2\" \"$3\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", command])
        .args([crun, &dir.join("crun"), &bundle, Path::new(&name)])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "crun: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An equal bundle: as our containers are.
fn config(root: &Path, script: &str) -> Value {
    let none: [&str; 0] = [];
    let tmpfs = |at: &str, options: &[&str]| json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": options});
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 65534, "gid": 65534},
            "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/bin"],
            "cwd": "/work",
            "capabilities": {"bounding": none, "effective": none, "permitted": none, "inheritable": none, "ambient": none},
            "noNewPrivileges": true
        },
        "root": {"path": root, "readonly": true},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            tmpfs("/dev", &["nosuid", "noexec", "mode=755"]),
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            tmpfs("/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777"]),
            tmpfs("/tmp", &["nosuid", "nodev", "mode=1777"]),
            tmpfs("/work", &["nosuid", "nodev", "mode=0777"])
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}, {"type": "cgroup"}],
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
                "syscalls": [{"names": ["bpf", "keyctl"], "action": "SCMP_ACT_ERRNO"}]}
        }
    })
}

fn parse(text: &str) -> Sight {
    let parts: Vec<&str> = text.split(&format!("{MARK}\n")).collect();
    let [status, mounts, descriptors] = parts.as_slice() else { panic!("not three parts: {text}") };
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    let mount = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let options = fields.get(5)?.split(',').filter(|option| STRICT.contains(option)).map(str::to_owned);
        Some(((*fields.get(4)?).to_owned(), options.collect()))
    };
    Sight {
        status: status.lines().filter_map(field).collect(),
        mounts: mounts.lines().filter_map(mount).collect(),
        descriptors: descriptors.split_whitespace().map(str::to_owned).collect(),
    }
}
