//! The bundle: what the OCI runtime specification calls the configuration of a container, with the same content as one of Shoal's.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// The seccomp allow-list itself, from whose text the names are taken: the two cannot differ.
const ALLOWED: [&str; 2] = [
    include_str!("../../../src/seccomp/list/allowed.rs"),
    include_str!("../../../src/seccomp/list/x86_64.rs"),
];
/// Allowed whatever their arguments here, where Shoal looks at some of them: the cheaper for the runtime.
const ALLOWED_HERE: [&str; 5] = ["ioctl", "personality", "socket", "socketpair", "unshare"];
const NAMESPACES: [&str; 7] = ["mount", "pid", "uts", "ipc", "network", "cgroup", "user"];
/// Flags of `clone` that make namespaces.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// Of the host, far above what accounts have.
const USERS_FIRST: u32 = 1 << 30;
const USERS_COUNT: u32 = 65536;
const NOBODY: u32 = 65534;
const MEMORY_BYTES: u64 = 64 << 20;
const ENOSYS: u32 = 38;

/// A container that runs `command` in `root`. It names no control group, so the runtime makes one named as the container is.
pub fn config(root: &Path, command: &[String]) -> Value {
    let ids = json!([{ "containerID": 0, "hostID": USERS_FIRST, "size": USERS_COUNT }]);
    json!({
        "ociVersion": "1.0.2",
        "hostname": "bench",
        "root": { "path": root, "readonly": true },
        "process": {
            "user": { "uid": NOBODY, "gid": NOBODY },
            "args": command,
            "env": ["PATH=/bin"],
            "cwd": "/work",
            "capabilities": { "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [] },
            "noNewPrivileges": true,
            "oomScoreAdj": 500,
            "rlimits": [
                { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
                { "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024 }
            ]
        },
        "mounts": mounts(),
        "linux": {
            "uidMappings": ids.clone(),
            "gidMappings": ids,
            "namespaces": NAMESPACES.map(|kind| json!({ "type": kind })),
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/kmsg", "/proc/latency_stats",
                "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "resources": {
                "memory": { "limit": MEMORY_BYTES, "swap": MEMORY_BYTES },
                "cpu": { "shares": 1024, "quota": 10_000, "period": 10_000 },
                "pids": { "limit": 64 }
            },
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": ENOSYS,
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [
                    { "names": names(), "action": "SCMP_ACT_ALLOW" },
                    {
                        "names": ["clone"],
                        "action": "SCMP_ACT_ALLOW",
                        "args": [{ "index": 0, "value": CLONE_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }]
                    }
                ]
            }
        }
    })
}

fn mounts() -> Value {
    let tmpfs = |at: &str, options: &[&str]| json!({ "destination": at, "type": "tmpfs", "source": "tmpfs", "options": options });
    let work = format!("uid={NOBODY}");
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
        tmpfs("/dev", &["nosuid", "noexec", "mode=755", "size=65536k"]),
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        },
        tmpfs("/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=32m"]),
        tmpfs("/tmp", &["nosuid", "nodev", "mode=1777", "size=32m"]),
        tmpfs("/work", &["nosuid", "nodev", "mode=755", "size=32m", &work]),
    ])
}

/// Those on the list: the words behind `SYS_` in its text.
fn names() -> BTreeSet<String> {
    let words = ALLOWED.iter().flat_map(|text| text.split("libc::SYS_").skip(1));
    let names = words
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default());
    names.chain(ALLOWED_HERE).filter(|name| *name != "clone3").map(str::to_owned).collect()
}
