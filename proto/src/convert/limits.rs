//! Every limit on what a request may ask for, in one table. A message about a breach is made from the same row.

use shoal_core::priority::Priority;

/// A number's bounds, both inclusive.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Least.
    pub min: u64,
    /// Most.
    pub max: u64,
    /// Stands for 0, which on the wire means "not given"; 0 itself where that has a meaning of its own.
    pub default: u64,
}

impl Range {
    /// Whether `value` lies within the bounds.
    pub const fn contains(&self, value: u64) -> bool {
        self.min <= value && value <= self.max
    }
}

/// Thousandths of a core.
pub const CPU_MILLI: Range = Range { min: 10, max: 1_024_000, default: 1000 };
/// Bytes of memory; below 4 MiB not even a shell starts.
pub const MEMORY_BYTES: Range = Range { min: 4 << 20, max: 64 << 40, default: 512 << 20 };
/// Processes and threads.
pub const PIDS: Range = Range { min: 1, max: 65_536, default: 1024 };
/// Open files of a process; 0 is the node's usual. Below 16 not even a shell starts.
pub const OPEN_FILES: Range = Range { min: 16, max: 1 << 20, default: 0 };
/// Bytes of the private writable layer; 0 is half of the task's memory, which is also the most: the layer is in memory.
pub const DISK_BYTES: Range = Range { min: 64 << 10, max: MEMORY_BYTES.max / 2, default: 0 };
/// Bytes a second to and from the node's disk; 0 is the node's usual.
pub const IO_BYTES_PER_S: Range = Range { min: 64 << 10, max: 1 << 40, default: 0 };
/// Bytes kept of an attempt's log; 0 is the node's usual.
pub const LOG_BYTES: Range = Range { min: 4 << 10, max: 1 << 40, default: 0 };
/// Directories of the host that a task sees.
pub const MOUNTS: Range = Range { min: 0, max: 16, default: 0 };
/// Labels that a task's node must have.
pub const LABELS: Range = Range { min: 0, max: 16, default: 0 };
/// Nodes of a task, all its parts together.
pub const NODES: Range = Range { min: 1, max: shoal_core::gang::NODES_MAX as u64, default: 0 };
/// Parts of a task of several nodes.
pub const PARTS: Range = Range { min: 0, max: 8, default: 0 };
/// Different counted things that a task takes.
pub const COUNT_NAMES: Range = Range { min: 0, max: shoal_core::counts::NAMES_MAX as u64, default: 0 };
/// Of one counted thing, on each node. More of anything is no count of things.
pub const COUNT: Range = Range { min: 1, max: 1_000_000, default: 0 };
/// User and group ids inside of a container; 65535 is Shoal's own.
pub const ID: Range = Range { min: 0, max: 65_534, default: 0 };
/// From start to SIGTERM; 0 is no limit.
pub const TIME_LIMIT_MS: Range = Range { min: 0, max: 365 * 24 * 3_600_000, default: 0 };
/// From SIGTERM to SIGKILL.
pub const KILL_GRACE_MS: Range = Range { min: 1, max: 3_600_000, default: 10_000 };
/// Attempts before a task counts as poison.
pub const MAX_ATTEMPTS: Range = Range { min: 1, max: 100, default: 3 };
/// Higher is sooner.
pub const PRIORITY: Range = Range {
    min: Priority::MIN as u64,
    max: Priority::MAX as u64,
    default: 500, // normal; a test holds it to `Priority::NORMAL`
};
/// How long a lock or a pause lasts; 0 is until somebody ends it. Shorter than the steps of the cluster's clock would be no promise.
pub const LOCK_MS: Range = Range { min: 10_000, max: 365 * 24 * 3_600_000, default: 0 };
/// Tasks of one submit request.
pub const TASKS: Range = Range { min: 1, max: 1000, default: 0 };
/// Tasks named in one watch request.
pub const WATCHED_TASKS: Range = Range { min: 0, max: 10_000, default: 0 };
/// Tasks of one page of a list.
pub const PAGE_SIZE: Range = Range { min: 1, max: 1000, default: 50 };
/// Words of a command.
pub const COMMAND_WORDS: Range = Range { min: 1, max: 4096, default: 0 };

/// Bytes of one word of a command, or of one `NAME=VALUE`: the kernel's MAX_ARG_STRLEN without the closing NUL.
pub const WORD_BYTES_MAX: usize = 128 * 1024 - 1;
/// Bytes of command, environment and mounts together, as they are stored ([`super::spec::stored_bytes`]). Keeps a record far below the
/// 1.5 MiB that the store takes in one request.
pub const STORED_BYTES_MAX: usize = 256 * 1024;
/// Characters of a task's name.
pub const NAME_CHARS_MAX: usize = 128;
/// Characters of a user's name.
pub const USER_CHARS_MAX: usize = 64;
/// Characters of a root's name.
pub const ROOT_CHARS_MAX: usize = 64;
/// Characters of a mount's name.
pub const MOUNT_CHARS_MAX: usize = 64;
/// What Shoal itself mounts: nothing of a task's lies there.
pub const RESERVED_TARGETS: [&str; 3] = ["/dev", "/proc", "/sys"];
/// Characters of the reason for a cancel or a hold.
pub const REASON_CHARS_MAX: usize = 1024;
/// Bytes of a path: the kernel's PATH_MAX without the closing NUL.
pub const PATH_BYTES_MAX: usize = 4095;
/// Names of environment variables that begin so are set by Shoal alone.
pub const RESERVED_ENV_PREFIX: &str = "SHOAL_";
/// The root that a task gets when it names none.
pub const DEFAULT_ROOT: &str = "default";
/// Where a command starts when the task does not say.
pub const DEFAULT_WORKDIR: &str = "/work";
/// Violations reported at once; a request may break more.
pub const VIOLATIONS_MAX: usize = 20;
/// Bytes of one request message.
pub const REQUEST_BYTES_MAX: usize = 8 << 20;
