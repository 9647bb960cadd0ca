//! What a node's operator lets tasks have beside cores, memory and roots: flags in, one validated [`Allow`] out.
//!
//! The rule: what a task gets without asking is safe on every node; more than that is an operator's decision, made here. The runner enforces it
//! ([`Policy`]), the plan knows it ([`Features`]).

use super::{Config, ConfigError, RootSource, bad, check_name};
use bytesize::ByteSize;
use clap::Args;
use clap::builder::BoolishValueParser;
use shoal_container::policy::{MountPolicy, Policy, USERS_COUNT, USERS_FIRST, UserRange};
use shoal_core::features::{self, Features};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the kernel has at most.
const PIDS_MAX: u32 = 65_536;
/// Below it not even a shell starts in useful time.
const IO_MIN: ByteSize = ByteSize::kib(64);
/// Each container takes so many user ids.
const IDS_OF_A_CONTAINER: u32 = 65_536;
/// Images have one such share for themselves, and one container at least must have another.
const IDS_MIN: u32 = 2 * IDS_OF_A_CONTAINER;
/// The kernel's own, or made anew in each container: not to be seen by another name.
const NEVER_MOUNTED: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "What tasks may have")]
pub struct AllowFlags {
    /// A directory that tasks may ask to see: NAME=DIRECTORY (repeatable); read-only, unless :rw follows
    #[arg(long, env = "SHOALD_MOUNT", value_name = "NAME=DIR[:rw]", value_delimiter = ',')]
    pub mount: Vec<String>,
    /// A label that tasks may ask for: NAME or NAME=VALUE, such as type=smithi (repeatable)
    #[arg(long, env = "SHOALD_LABEL", value_name = "NAME[=VALUE]", value_delimiter = ',')]
    pub label: Vec<String>,
    /// What this machine has of a thing that is counted, such as gpu=2 (repeatable). Tasks take so many; which ones a task uses is not Shoal's to say
    #[arg(long, env = "SHOALD_RESOURCE", value_name = "NAME=COUNT", value_delimiter = ',')]
    pub resource: Vec<String>,
    /// Let tasks ask for this machine's own network
    #[arg(long, env = "SHOALD_ALLOW_HOST_NET", value_parser = BoolishValueParser::new())]
    pub allow_host_net: bool,
    /// Do not offer this machine's own system as a root
    #[arg(long, env = "SHOALD_NO_HOST_ROOT", value_parser = BoolishValueParser::new())]
    pub no_host_root: bool,
    /// Most processes and threads that a task may ask for
    #[arg(
        long,
        env = "SHOALD_TASK_PIDS_MAX",
        value_name = "N",
        default_value_t = features::PIDS_USUAL
    )]
    pub task_pids_max: u32,
    /// Most bytes a second that each task reads from, and writes to, this machine's disk [default: no limit]
    #[arg(long, env = "SHOALD_TASK_IO_MAX", value_name = "SIZE")]
    pub task_io_max: Option<ByteSize>,
    /// User and group ids of this machine that belong to containers alone; each takes 65536 [default: 1073741824:268435456]
    #[arg(long, env = "SHOALD_USER_RANGE", value_name = "FIRST:COUNT", hide_short_help = true)]
    pub user_range: Option<String>,
}

/// What tasks may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    /// Directories by name.
    pub mounts: BTreeMap<String, MountPolicy>,
    /// What tasks may ask of their node.
    pub labels: Vec<String>,
    /// The host's network.
    pub host_net: bool,
    /// Processes and threads of a task, at most.
    pub pids_max: u32,
    /// Open files of a task's process, at most: as many as the runner, which inherits its limit.
    pub open_files_max: u32,
    /// Bytes a second of each task; 0 is no limit.
    pub io_bytes_per_s_max: u64,
    /// Ids of containers.
    pub users: UserRange,
}

impl AllowFlags {
    /// Checks the flags. `data_dir` is the node's own, which no task may see.
    pub(super) fn validate(&self, data_dir: &Path) -> Result<Allow, ConfigError> {
        if !(features::PIDS_USUAL..=PIDS_MAX).contains(&self.task_pids_max) {
            let limit = format!("must be between {} and {PIDS_MAX}", features::PIDS_USUAL);
            return Err(bad("--task-pids-max", limit, self.task_pids_max.to_string()));
        }
        if let Some(size) = self.task_io_max.filter(|size| *size < IO_MIN) {
            return Err(bad("--task-io-max", format!("must be at least {IO_MIN}"), size.to_string()));
        }
        if let Some(label) = self.label.iter().find(|label| !features::is_label(label)) {
            let limit =
                "must be NAME or NAME=VALUE of letters, digits, '.', '_' and '-', at most 64 characters";
            return Err(bad("--label", limit, label.clone()));
        }
        Ok(Allow {
            labels: self.label.clone(),
            mounts: mounts(&self.mount, data_dir)?,
            host_net: self.allow_host_net,
            pids_max: self.task_pids_max,
            open_files_max: open_files(),
            io_bytes_per_s_max: self.task_io_max.map_or(0, |size| size.as_u64()),
            users: users(self.user_range.as_deref())?,
        })
    }
}

impl Config {
    /// What the runner may hand out.
    pub fn policy(&self) -> Policy {
        let directories = self.roots.values().filter_map(|root| match root {
            RootSource::Directory(dir) => Some(dir.clone()),
            RootSource::Host => None,
        });
        Policy {
            roots: directories.collect(),
            host_root: self.roots.values().any(|root| *root == RootSource::Host),
            host_net: self.allow.host_net,
            mounts: self.allow.mounts.clone(),
            images_dir: Some(self.images_dir().join("trees")),
            users: self.allow.users,
        }
    }

    /// What the plan knows of it.
    pub fn offers(&self) -> Features {
        let host_net = self.allow.host_net.then(|| features::NET_HOST.to_owned());
        let mounts = self.allow.mounts.keys().map(|name| features::mount(name));
        let labels = self.allow.labels.iter().map(|label| features::label(label));
        let amounts = [
            (features::PIDS, self.allow.pids_max.into()),
            (features::OPEN_FILES, self.allow.open_files_max.into()),
            (features::LOG_BYTES, self.log_bytes_max),
        ];
        Features {
            has: host_net
                .into_iter()
                .chain([features::IMAGES, features::GANGS, features::COUNTS].map(str::to_owned))
                .chain(mounts)
                .chain(labels)
                .collect(),
            up_to: amounts.map(|(what, most)| (what.to_owned(), most)).into(),
        }
    }
}

fn mounts(given: &[String], data_dir: &Path) -> Result<BTreeMap<String, MountPolicy>, ConfigError> {
    const FLAG: &str = "--mount";
    let mut mounts = BTreeMap::new();
    for item in given {
        let wrong = |limit: &str| bad(FLAG, limit, item.clone());
        let (name, rest) =
            item.split_once('=').ok_or_else(|| wrong("must be NAME=DIRECTORY or NAME=DIRECTORY:rw"))?;
        check_name(FLAG, name)?;
        let (dir, writable) = match rest.strip_suffix(":rw") {
            Some(dir) => (dir, true),
            None => (rest.strip_suffix(":ro").unwrap_or(rest), false),
        };
        let path = directory(Path::new(dir), data_dir).map_err(wrong)?;
        if writable && owner(&path).is_none_or(|uid| uid == 0) {
            return Err(wrong(
                "must belong to another user than root to be writable: what tasks write belongs to its owner",
            ));
        }
        if mounts.insert(name.to_owned(), MountPolicy { path, writable }).is_some() {
            return Err(wrong("must name each mount once"));
        }
    }
    Ok(mounts)
}

/// The directory itself, whatever links lead to it: what the operator has checked is what tasks will see.
fn directory(given: &Path, data_dir: &Path) -> Result<PathBuf, &'static str> {
    const EXISTING: &str = "must name an existing directory by its absolute path";
    if !given.is_absolute() {
        return Err(EXISTING);
    }
    let dir = given.canonicalize().ok().filter(|dir| dir.is_dir()).ok_or(EXISTING)?;
    if dir == Path::new("/") || NEVER_MOUNTED.iter().any(|kernels| dir.starts_with(kernels)) {
        return Err("must not be / or lie in /dev, /proc or /sys");
    }
    let own = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
    if own.starts_with(&dir) || dir.starts_with(&own) {
        return Err("must not hold or lie in this node's own --data-dir");
    }
    Ok(dir)
}

fn owner(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|meta| meta.uid())
}

fn users(given: Option<&str>) -> Result<UserRange, ConfigError> {
    let Some(text) = given else { return Ok(UserRange { first: USERS_FIRST, count: USERS_COUNT }) };
    let parsed =
        text.split_once(':').and_then(|(first, count)| Some((first.parse().ok()?, count.parse().ok()?)));
    // The last id of all means "unchanged" to the kernel.
    match parsed {
        Some((first, count))
            if first >= IDS_OF_A_CONTAINER
                && count >= IDS_MIN
                && u32::checked_add(first, count).is_some() =>
        {
            Ok(UserRange { first, count })
        }
        _ => Err(bad(
            "--user-range",
            "must be FIRST:COUNT, at least 65536 and at least 131072, together below 4294967296",
            text,
        )),
    }
}

fn open_files() -> u32 {
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    hard.and_then(|most| u32::try_from(most).ok()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::tests::flags;
    use super::*;

    fn error(args: &[&str]) -> String {
        flags(args).validate().expect_err("must be refused").to_string()
    }

    #[test]
    fn without_a_word_of_the_operator_tasks_get_the_usual() {
        let config = flags(&[]).validate().unwrap();
        let policy = config.policy();
        assert!(policy.host_root && !policy.host_net && policy.mounts.is_empty());
        assert_eq!(policy.users, Policy::default().users);
        let offers = config.offers();
        assert_eq!(offers.has.iter().collect::<Vec<_>>(), ["counts", "gangs", "images"]);
        assert_eq!((offers.up_to["pids"], offers.up_to["log_bytes"]), (1024, 64 << 20));
    }

    #[test]
    fn what_the_operator_allows_is_in_the_policy_and_in_the_offer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let mount = format!("data={}", path.display());
        let args = ["--mount", &mount, "--allow-host-net", "--no-host-root", "--task-pids-max", "4096"];
        let config = flags(&args).validate().unwrap();
        let policy = config.policy();
        assert!(!policy.host_root && policy.host_net);
        assert_eq!(policy.mounts["data"], MountPolicy { path, writable: false });
        let offers = config.offers();
        assert_eq!(
            offers.has.iter().collect::<Vec<_>>(),
            ["counts", "gangs", "images", "mount:data", "net:host"]
        );
        assert_eq!(offers.up_to["pids"], 4096);
        assert!(!config.roots.contains_key("host"));
    }

    #[test]
    fn a_mount_that_cannot_be_meant_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let twice = format!("a={path},a={path}");
        for (mount, words) in [
            ("a", "--mount: must be NAME=DIRECTORY or NAME=DIRECTORY:rw, was a"),
            ("a b=/tmp", "--mount: must be 1 to 64 letters"),
            ("a=tmp", "must name an existing directory by its absolute path, was a=tmp"),
            ("a=/no/such", "must name an existing directory"),
            ("a=/", "must not be / or lie in /dev, /proc or /sys, was a=/"),
            ("a=/proc/self", "must not be / or lie in"),
            ("a=/usr:rw", "must belong to another user than root to be writable"),
            (&twice, "must name each mount once"),
        ] {
            let said = error(&["--mount", mount]);
            assert!(said.contains(words), "{mount}: {said}");
        }
        let inside = dir.path().join("attempts");
        std::fs::create_dir(&inside).unwrap();
        for seen in [dir.path(), &inside] {
            let mount = format!("a={}", seen.display());
            let said = error(&["--data-dir", dir.path().to_str().unwrap(), "--mount", &mount]);
            assert!(said.contains("must not hold or lie in this node's own --data-dir"), "{said}");
        }
    }

    #[test]
    fn limits_name_the_flag_the_bound_and_the_value() {
        assert_eq!(
            error(&["--task-pids-max", "9"]),
            "--task-pids-max: must be between 1024 and 65536, was 9"
        );
        assert_eq!(
            error(&["--task-io-max", "1KiB"]),
            "--task-io-max: must be at least 64.0 KiB, was 1.0 KiB"
        );
        for range in ["5", "0:131072", "65536:9", "65536:131071", "4294836224:131072", "x:y"] {
            assert!(
                error(&["--user-range", range]).starts_with("--user-range: must be FIRST:COUNT"),
                "{range}"
            );
        }
        let config = flags(&["--user-range", "100000:131072"]).validate().unwrap();
        assert_eq!(config.policy().users, UserRange { first: 100_000, count: 131_072 });
    }
}
