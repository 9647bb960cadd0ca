//! What the server and the runner say to each other over the runner's unix stream socket: frames of a 4-byte big-endian length
//! and that many bytes of JSON, one [`Request`] or [`Event`] each. The runner serves one connection at a time; a new one
//! replaces the old. Ends are reported again in each `Welcome` until they are forgotten, so no end is ever lost with a connection.

use crate::image::{Caps, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Bumped when a change is not understood by the other side.
pub const VERSION: u32 = 2;
/// A frame is never longer than this.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// From the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First on each connection; answered by [`Event::Welcome`].
    Hello {
        /// [`VERSION`] of the server.
        version: u32,
    },
    /// Starts an attempt. An id starts at most once, ever: its directory is made exclusively before anything runs.
    Start(Box<Start>),
    /// SIGTERM to all processes of the attempt, then SIGKILL when `grace_ms` have passed. Again with a shorter grace is allowed.
    Stop {
        /// The attempt.
        id: String,
        /// From SIGTERM to SIGKILL; 0 is SIGKILL at once.
        grace_ms: u64,
    },
    /// The end of this attempt is recorded in the store: everything but its log may go.
    Forget {
        /// The attempt.
        id: String,
    },
    /// Kills every attempt at once; answered by [`Event::AllDead`] when none is left alive (the fence).
    KillAll,
    /// Kills every attempt, then ends the runner.
    Shutdown,
    /// Asks for the directory of an attempt that was started with [`Start::gang`]; answered by [`Event::GangDirectory`], or not at all where there is none any more.
    /// One that has ended has it until it is forgotten, so that its last words can be read.
    GangDirectory {
        /// The attempt.
        id: String,
    },
    /// Unpacks an image into the store; answered by [`Event::Unpacked`]. One that is there already is answered at once.
    Unpack(Box<Unpack>),
    /// Removes an image from the store; answered by [`Event::ImageRemoved`]. Whoever asks knows that no attempt uses it.
    RemoveImage {
        /// 64 hexadecimal digits.
        digest: String,
    },
}

/// An archive to unpack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpack {
    /// Names the request in its answer.
    pub id: String,
    /// The archive. Opened with the rights of the user at the other end of the connection, not with the runner's.
    pub blob: PathBuf,
    /// What its digest must come out as, if that is known.
    pub expected: Option<String>,
    /// What it may cost; the runner has limits of its own.
    #[serde(default)]
    pub caps: Caps,
}

/// Where the attempt's root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// A directory, mounted read-only, with a private writable layer over what a task may write to.
    Directory(PathBuf),
    /// An imported image by the digest of its content (64 hexadecimal digits), found in the runner's image store; all of it may be written to, in
    /// a private layer.
    Image(String),
    /// The host's own system, read-only.
    Host,
}

/// What an attempt sees of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Net {
    /// A network of its own, with nothing but a loopback interface.
    #[default]
    Loopback,
    /// A network of its own, without even that.
    None,
    /// The host's; needs the operator's policy.
    Host,
}

/// A directory of the host, shown to an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Its name in the operator's policy, which knows the directory.
    pub name: String,
    /// Where the attempt sees it: absolute, inside the root.
    pub target: String,
    /// Even if the policy lets tasks write to it.
    pub read_only: bool,
}

/// A user inside of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id, below 65535.
    pub uid: u32,
    /// Group id, below 65535.
    pub gid: u32,
}

impl User {
    /// The customary user `nobody`: owns nothing.
    pub const NOBODY: User = User { uid: 65534, gid: 65534 };
    /// Root, inside: owns what its root file system says that root owns, and has no capability.
    pub const ROOT: User = User { uid: 0, gid: 0 };
}

impl Default for User {
    fn default() -> User {
        User::NOBODY
    }
}

/// Hard limits of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Thousandths of a core, as a CFS quota and as weight.
    pub cpu_milli: u32,
    /// Bytes of memory; swap is not available to a task.
    pub memory_bytes: u64,
    /// Processes and threads at once, the stub not counted.
    pub pids_max: u32,
    /// Open files of each process; 0 is the runner's own usual limit, which no task exceeds.
    #[serde(default)]
    pub open_files: u32,
    /// Bytes that the attempt may write to its private layer (/tmp, /work and, in an image, everywhere); 0 is half of its memory, which is also
    /// the most: the layer is in memory.
    #[serde(default)]
    pub disk_bytes: u64,
    /// Bytes a second read from, and as many written to, the disk that holds the attempts' directories; 0 is no limit.
    #[serde(default)]
    pub io_bytes_per_s: u64,
}

impl Limits {
    /// These three, and the usual for the rest.
    pub const fn new(cpu_milli: u32, memory_bytes: u64, pids_max: u32) -> Limits {
        Limits { cpu_milli, memory_bytes, pids_max, open_files: 0, disk_bytes: 0, io_bytes_per_s: 0 }
    }
}

/// How to start an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// `TASKUUID.NUMBER`; names the attempt's directory and cgroup.
    pub id: String,
    /// Program (looked up in the PATH of `env`, inside the root) and arguments.
    pub command: Vec<String>,
    /// The complete environment.
    pub env: BTreeMap<String, String>,
    /// Absolute, inside the root.
    pub workdir: String,
    /// The root file system.
    pub root: Root,
    /// The host name inside.
    pub hostname: String,
    /// Who the task is, inside.
    #[serde(default)]
    pub user: User,
    /// Its network.
    #[serde(default)]
    pub net: Net,
    /// What it sees of the host beside its root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// It is one of several, and has a directory that it shares with the others ([`crate::GANG_DIRECTORY`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gang: bool,
    /// Hard limits.
    pub limits: Limits,
    /// From exec to SIGTERM; 0 is none.
    pub time_limit_ms: u64,
    /// From that SIGTERM to SIGKILL.
    pub kill_grace_ms: u64,
    /// Bytes of log kept.
    pub log_bytes_max: u64,
    /// The page with the deadline (see [`crate::deadline`]).
    pub deadline_page: PathBuf,
}

/// From the runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The answer to `Hello`: every attempt that has not been forgotten.
    Welcome {
        /// [`VERSION`] of the runner.
        version: u32,
        /// What each is doing or how it ended.
        attempts: Vec<Report>,
        /// The list goes on in the next `Welcome`: it did not fit into a frame.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        more: bool,
        /// What of a task's limits and isolation this runner does not enforce, for lack of root: `memory`, `cpu`, `pids`, `io`, `ids` (all containers
        /// are the same user to the host), `groups` (tasks keep the groups of the runner's user). More words may come.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unenforced: Vec<String>,
    },
    /// The task's own program has been executed.
    Started {
        /// The attempt.
        id: String,
        /// The stub's process id on the host.
        pid: i32,
    },
    /// The attempt has ended, started or not; everything of it but its log and status is gone from the host.
    Ended {
        /// The attempt.
        id: String,
        /// How.
        end: End,
    },
    /// The attempt was killed and does not die, because a process of it waits inside of the kernel for something that does not come. It counts as
    /// alive until its `Ended`. Told again after each `Welcome`.
    Stuck {
        /// The attempt.
        id: String,
        /// Which process waits for what, in words.
        why: String,
    },
    /// The directory that was asked for: a descriptor (O_PATH) goes with the first byte of this frame, as SCM_RIGHTS. No other frame has one.
    GangDirectory {
        /// The attempt.
        id: String,
        /// It has ended: nobody writes there any more.
        ended: bool,
    },
    /// No attempt is alive.
    AllDead,
    /// An image was unpacked, or not.
    Unpacked {
        /// The request.
        id: String,
        /// What came of it.
        outcome: Outcome,
    },
    /// An image is gone from the store, or not.
    ImageRemoved {
        /// Which.
        digest: String,
        /// Why not.
        error: Option<String>,
    },
    /// A request was not carried out.
    Refused {
        /// The attempt it named, if any.
        id: Option<String>,
        /// Why.
        why: String,
        /// It was a start, and nothing was made of it: it could not be asked for. (Not one of an id that was used before.)
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        never_started: bool,
    },
}

/// One attempt in a `Welcome`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The attempt.
    pub id: String,
    /// `None` while it is alive.
    pub end: Option<End>,
    /// It has a directory that can be asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gang: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// What ended it.
    pub cause: Cause,
    /// The kernel killed a process of it for lack of memory.
    pub oom_killed: bool,
    /// Its log reached the cap and was cut there.
    pub log_truncated: bool,
}

/// What ended an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The task's process called exit with this code.
    Code(u8),
    /// A signal of this number ended the task's process.
    Signal(u8),
    /// It ran past its time limit.
    TimeLimit,
    /// The program does not exist in the root (ENOENT); what was looked for, in words.
    NotFound(String),
    /// The program cannot be executed (EACCES, ENOEXEC, ...).
    NotExecutable(String),
    /// The container could not be set up: the step and the error.
    Setup(String),
    /// It ended and nobody saw its wait status: the deadline passed, or the stub or the runner died.
    Vanished(String),
}
