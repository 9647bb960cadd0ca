//! The configuration of a node: flags and environment in, one validated [`Config`] out. Nothing reads an option anywhere else.

mod allow;
mod runner;

pub use allow::{Allow, AllowFlags};
use bytesize::ByteSize;
use clap::Parser;
pub use runner::{RunnerChoice, RunnerFlags};
use shoal_core::counts::{self, Counts};
use shoal_core::resources::Resources;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Of one counted thing: as many as a task may ask for at most.
const COUNT_MAX: u32 = shoal_proto::convert::limits::COUNT.max as u32;
/// The shortest lease: etcd makes anything shorter longer anyway.
const LEASE_TTL_MIN: Duration = Duration::from_secs(2);
/// The longest that makes sense for failure detection.
const LEASE_TTL_MAX: Duration = Duration::from_secs(600);
/// Who has a shorter one would lose results before they can be read.
const RETENTION_MIN: Duration = Duration::from_secs(60);
/// Longer than any cluster lives, short enough for every calculation.
const RETENTION_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Below it etcd's own pages leave no room for data.
const ETCD_QUOTA_MIN: ByteSize = ByteSize::mib(16);
/// etcd's documentation advises against more.
const ETCD_QUOTA_MAX: ByteSize = ByteSize::gib(8);

/// One node of a Shoal cluster: etcd inside, a runner that starts containers, an API, a share of the planning.
#[derive(Debug, Parser)]
#[command(name = "shoald", version)]
pub struct Flags {
    /// The node's name; unique in the cluster
    #[arg(long, env = "SHOALD_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// Everything this node keeps
    #[arg(long, env = "SHOALD_DATA_DIR", value_name = "DIR", default_value = "/var/lib/shoal")]
    pub data_dir: PathBuf,
    /// Where the API answers: a loopback address or unix:PATH (repeatable)
    #[arg(
        long,
        env = "SHOALD_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:7400",
        value_delimiter = ','
    )]
    pub listen: Vec<String>,
    /// Where other nodes reach the API [default: the first --listen]
    #[arg(long, env = "SHOALD_ADVERTISE", value_name = "ADDR")]
    pub advertise: Option<String>,
    /// The etcd program [default: SHOAL_ETCD, next to shoald, PATH]
    #[arg(long, env = "SHOALD_ETCD_BINARY", value_name = "PATH")]
    pub etcd_binary: Option<PathBuf>,
    /// Where this node's etcd member answers clients
    #[arg(long, env = "SHOALD_ETCD_CLIENT_URL", value_name = "URL", default_value = "http://127.0.0.1:2379")]
    pub etcd_client_url: String,
    /// Where this node's etcd member answers other members
    #[arg(long, env = "SHOALD_ETCD_PEER_URL", value_name = "URL", default_value = "http://127.0.0.1:2380")]
    pub etcd_peer_url: String,
    /// The members of a new cluster: name=peer-url,… (all of them start with the same list)
    #[arg(long, env = "SHOALD_INITIAL_CLUSTER", value_name = "NAME=URL,…", conflicts_with_all = ["join", "etcd_endpoints"])]
    pub initial_cluster: Option<String>,
    /// Join a running cluster: client URLs of any of its members
    #[arg(
        long,
        env = "SHOALD_JOIN",
        value_name = "URL,…",
        value_delimiter = ',',
        conflicts_with = "etcd_endpoints"
    )]
    pub join: Vec<String>,
    /// Use these etcd members and carry none
    #[arg(long, env = "SHOALD_ETCD_ENDPOINTS", value_name = "URL,…", value_delimiter = ',')]
    pub etcd_endpoints: Vec<String>,
    /// How long the cluster waits for a silent node before its tasks run elsewhere; below 5s an election of etcd may cost running tasks
    #[arg(long, env = "SHOALD_LEASE_TTL", value_name = "TIME", default_value = "6s", value_parser = humantime::parse_duration)]
    pub lease_ttl: Duration,
    /// Cores offered to tasks [default: all of this machine]
    #[arg(long, env = "SHOALD_CPUS", value_name = "N")]
    pub cpus: Option<f64>,
    /// Memory offered to tasks [default: three quarters of this machine's]
    #[arg(long, env = "SHOALD_MEMORY", value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// A root file system: NAME=DIRECTORY (repeatable); `default` is built when not given, `host` is this machine's own system
    #[arg(long, env = "SHOALD_ROOT", value_name = "NAME=DIR", value_delimiter = ',')]
    pub root: Vec<String>,
    /// Bytes kept of each attempt's log
    #[arg(long, env = "SHOALD_LOG_MAX", value_name = "SIZE", default_value = "64MiB")]
    pub log_max: ByteSize,
    /// Bytes of copies of other nodes' logs that this node keeps; 0 keeps none
    #[arg(long, env = "SHOALD_LOG_COPIES_MAX", value_name = "SIZE", default_value = "10GiB")]
    pub log_copies_max: ByteSize,
    /// Disk for images beyond which unpacked ones that no task uses, and archives that two other nodes keep, are removed; what was not needed for longest goes first. With one or two nodes all archives stay
    #[arg(long, env = "SHOALD_IMAGE_CACHE", value_name = "SIZE", default_value = "20GiB")]
    pub image_cache: ByteSize,
    /// How long a task and its log are kept after its end (the same on all nodes)
    #[arg(long, env = "SHOALD_RETENTION", value_name = "TIME", default_value = "7d", value_parser = humantime::parse_duration)]
    pub retention: Duration,
    /// Size up to which this node's etcd database may grow; then the cluster takes no submits (the same on all nodes)
    #[arg(
        long,
        env = "SHOALD_ETCD_QUOTA",
        value_name = "SIZE",
        default_value = "2GiB",
        hide_short_help = true
    )]
    pub etcd_quota: ByteSize,
    /// Print the policy that these flags make, for a runner that an administrator starts, and end
    #[arg(long)]
    pub print_policy: bool,
    /// Which runner. From here on: a heading is that of whatever follows.
    #[command(flatten)]
    pub runner: RunnerFlags,
    /// What tasks may have.
    #[command(flatten)]
    pub allow: AllowFlags,
}

/// Where a named root comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSource {
    /// This directory.
    Directory(PathBuf),
    /// The host's own system.
    Host,
}

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// A member inside, of a new cluster (or of one that it already belongs to).
    Bootstrap {
        /// `name=peer-url,…`; empty is a cluster of one.
        initial_cluster: Option<String>,
    },
    /// A member inside, of a running cluster.
    Join(Vec<String>),
    /// No member inside.
    Remote(Vec<String>),
}

/// A validated configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name.
    pub name: String,
    /// Absolute.
    pub data_dir: PathBuf,
    /// Loopback or unix socket.
    pub listen: Vec<String>,
    /// One of them, or what reaches it.
    pub advertise: String,
    /// Where to look for etcd first.
    pub etcd_binary: Option<PathBuf>,
    /// Of the own member.
    pub etcd_client_url: String,
    /// Of the own member.
    pub etcd_peer_url: String,
    /// Where the store is.
    pub store: StoreConfig,
    /// T.
    pub lease_ttl: Duration,
    /// What is offered to tasks.
    pub resources: Resources,
    /// What it has of what is counted.
    pub counts: Counts,
    /// Named roots; `default` among them, and `host` unless the operator took it away.
    pub roots: BTreeMap<String, RootSource>,
    /// The runner.
    pub runner: RunnerChoice,
    /// What tasks may have beside these.
    pub allow: Allow,
    /// Bytes kept of each attempt's log.
    pub log_bytes_max: u64,
    /// Bytes kept of other nodes' logs.
    pub log_copies_bytes_max: u64,
    /// Disk that archives and unpacked images may take.
    pub image_cache_bytes: u64,
    /// How long tasks and logs are kept after their end.
    pub retention: Duration,
    /// The own member's database may grow to this.
    pub etcd_quota_bytes: u64,
}

/// A flag that cannot be used: names the flag, the limit and the value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Out of its range, or malformed.
    #[error("{flag}: {limit}, was {value}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What it must be.
        limit: String,
        /// What it was.
        value: String,
    },
    /// The machine did not say what it has.
    #[error("cannot read {what}")]
    Machine {
        /// What was asked.
        what: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

fn bad(flag: &'static str, limit: impl Into<String>, value: impl Into<String>) -> ConfigError {
    ConfigError::Flag { flag, limit: limit.into(), value: value.into() }
}

impl Config {
    /// `DATA/images`.
    pub fn images_dir(&self) -> PathBuf {
        self.data_dir.join("images")
    }
}

impl Flags {
    /// Checks everything that can be checked without touching the cluster.
    pub fn validate(self) -> Result<Config, ConfigError> {
        let name = match self.name {
            Some(name) => name,
            None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        check_name("--name", &name)?;
        if self.lease_ttl < LEASE_TTL_MIN || self.lease_ttl > LEASE_TTL_MAX {
            let value = humantime::format_duration(self.lease_ttl).to_string();
            return Err(bad("--lease-ttl", "must be between 2s and 10m", value));
        }
        check_retention(self.retention)?;
        if self.etcd_quota < ETCD_QUOTA_MIN || self.etcd_quota > ETCD_QUOTA_MAX {
            return Err(bad("--etcd-quota", "must be between 16 MiB and 8 GiB", self.etcd_quota.to_string()));
        }
        for addr in &self.listen {
            crate::api::listen::check_listen(addr)
                .map_err(|e| bad("--listen", e.to_string(), addr.clone()))?;
        }
        let advertise = match (self.advertise, self.listen.first()) {
            (Some(given), _) => given,
            (None, Some(first)) => first.clone(),
            (None, None) => return Err(bad("--listen", "at least one address", "none")),
        };
        for (flag, url) in
            [("--etcd-client-url", &self.etcd_client_url), ("--etcd-peer-url", &self.etcd_peer_url)]
        {
            check_loopback_url(flag, url)?;
        }
        let data_dir = std::path::absolute(&self.data_dir)
            .map_err(|source| ConfigError::Machine { what: "the current directory", source })?;
        let store = match (self.initial_cluster, self.join.is_empty(), self.etcd_endpoints.is_empty()) {
            (_, false, _) => StoreConfig::Join(self.join),
            (_, _, false) => StoreConfig::Remote(self.etcd_endpoints),
            (initial_cluster, true, true) => StoreConfig::Bootstrap { initial_cluster },
        };
        Ok(Config {
            resources: offered(self.cpus, self.memory)?,
            counts: counted(&self.allow.resource)?,
            roots: roots(&self.root, !self.allow.no_host_root, &data_dir)?,
            allow: self.allow.validate(&data_dir)?,
            runner: self.runner.validate(&data_dir)?,
            log_bytes_max: self.log_max.as_u64(),
            log_copies_bytes_max: self.log_copies_max.as_u64(),
            image_cache_bytes: self.image_cache.as_u64(),
            retention: self.retention,
            etcd_quota_bytes: self.etcd_quota.as_u64(),
            lease_ttl: self.lease_ttl,
            etcd_binary: self.etcd_binary,
            etcd_client_url: self.etcd_client_url,
            etcd_peer_url: self.etcd_peer_url,
            listen: self.listen,
            advertise,
            name,
            store,
            data_dir,
        })
    }
}

fn check_retention(retention: Duration) -> Result<(), ConfigError> {
    if (RETENTION_MIN..=RETENTION_MAX).contains(&retention) {
        return Ok(());
    }
    let value = humantime::format_duration(retention).to_string();
    Err(bad("--retention", "must be between 1m and 10years", value))
}

fn check_name(flag: &'static str, name: &str) -> Result<(), ConfigError> {
    if shoal_store::key::is_node_name(name) {
        return Ok(());
    }
    Err(bad(flag, "must be 1 to 64 letters, digits, '.', '_' or '-'", name))
}

/// etcd has no TLS between members yet, so it must not be reachable from outside this machine (a tunnel may carry it).
fn check_loopback_url(flag: &'static str, url: &str) -> Result<(), ConfigError> {
    let limit = "must be http://LOOPBACK-ADDRESS:PORT (there is no TLS yet; see docs/three-machines.md)";
    let host = url
        .strip_prefix("http://")
        .and_then(|rest| rest.trim_end_matches('/').parse::<std::net::SocketAddr>().ok());
    match host {
        Some(addr) if addr.ip().is_loopback() => Ok(()),
        Some(_) | None => Err(bad(flag, limit, url)),
    }
}

fn offered(cpus: Option<f64>, memory: Option<ByteSize>) -> Result<Resources, ConfigError> {
    let machine = |what| move |source| ConfigError::Machine { what, source };
    let cores = match cpus {
        Some(n) if (0.01..=4096.0).contains(&n) => n,
        Some(n) => return Err(bad("--cpus", "must be between 0.01 and 4096", n.to_string())),
        None => std::thread::available_parallelism().map_err(machine("the number of cores"))?.get() as f64,
    };
    let memory_bytes = match memory {
        Some(size) if size.as_u64() >= 16 << 20 => size.as_u64(),
        Some(size) => return Err(bad("--memory", "must be at least 16 MiB", size.to_string())),
        None => {
            let info = rustix::system::sysinfo();
            info.totalram.saturating_mul(u64::from(info.mem_unit)) / 4 * 3
        }
    };
    Ok(Resources { cpu_milli: (cores * 1000.0) as u32, memory_bytes })
}

fn counted(given: &[String]) -> Result<Counts, ConfigError> {
    let mut counts = Counts::default();
    for item in given {
        let parsed = item.split_once('=').and_then(|(name, count)| Some((name, count.parse::<u32>().ok()?)));
        let Some((name, count)) = parsed.filter(|(name, _)| counts::is_name(name)) else {
            let name = "a lower-case letter, then lower-case letters, digits, '-' and '_'";
            let limit =
                format!("must be NAME=COUNT, the name {name}, at most {} characters", counts::NAME_CHARS_MAX);
            return Err(bad("--resource", limit, item.clone()));
        };
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(bad("--resource", format!("must count 1 to {COUNT_MAX}"), item.clone()));
        }
        if counts.0.insert(name.to_owned(), count).is_some() {
            return Err(bad("--resource", "must name each thing once", item.clone()));
        }
    }
    if counts.0.len() > counts::NAMES_MAX {
        let limit = format!("must be at most {} names", counts::NAMES_MAX);
        return Err(bad("--resource", limit, counts.0.len().to_string()));
    }
    Ok(counts)
}

fn roots(
    given: &[String],
    host: bool,
    data_dir: &std::path::Path,
) -> Result<BTreeMap<String, RootSource>, ConfigError> {
    let built = RootSource::Directory(data_dir.join("roots/default"));
    let mut roots = BTreeMap::from([("default".to_owned(), built)]);
    roots.extend(host.then(|| ("host".to_owned(), RootSource::Host)));
    for item in given {
        let Some((name, dir)) = item.split_once('=') else {
            return Err(bad("--root", "must be NAME=DIRECTORY", item.clone()));
        };
        check_name("--root", name)?;
        if name == "host" {
            return Err(bad("--root", "must not redefine host", item.clone()));
        }
        let dir = PathBuf::from(dir);
        if !dir.is_absolute() || !dir.is_dir() {
            return Err(bad("--root", "must name an existing directory by its absolute path", item.clone()));
        }
        roots.insert(name.to_owned(), RootSource::Directory(dir));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn flags(args: &[&str]) -> Flags {
        let runner = std::env::current_exe().unwrap();
        let base = ["shoald", "--name", "n1", "--runner-binary", runner.to_str().unwrap()];
        Flags::try_parse_from(base.iter().chain(args)).unwrap()
    }

    #[test]
    fn errors_name_flag_limit_and_value() {
        for (args, expect) in [
            (["--lease-ttl", "1s"], "--lease-ttl: must be between 2s and 10m, was 1s"),
            (["--retention", "59s"], "--retention: must be between 1m and 10years, was 59s"),
            (["--etcd-quota", "1MiB"], "--etcd-quota: must be between 16 MiB and 8 GiB, was 1.0 MiB"),
            (["--cpus", "0"], "--cpus: must be between 0.01 and 4096, was 0"),
            (
                ["--resource", "GPU=1"],
                "--resource: must be NAME=COUNT, the name a lower-case letter, then lower-case letters, digits, '-' and '_', at most 32 characters, was GPU=1",
            ),
            (["--resource", "gpu=0"], "--resource: must count 1 to 1000000, was gpu=0"),
            (["--resource", "gpu=1,gpu=2"], "--resource: must name each thing once, was gpu=2"),
            (["--root", "x"], "--root: must be NAME=DIRECTORY, was x"),
            (
                ["--label", "a b"],
                "--label: must be NAME or NAME=VALUE of letters, digits, '.', '_' and '-', at most 64 characters, was a b",
            ),
            (["--name", "a b"], "--name: must be 1 to 64 letters, digits, '.', '_' or '-', was a b"),
        ] {
            let name_given = args[0] == "--name";
            let mut parsed = flags(if name_given { &[] } else { &args });
            if name_given {
                parsed.name = Some(args[1].to_owned());
            }
            assert_eq!(parsed.validate().unwrap_err().to_string(), expect);
        }
    }

    #[test]
    fn what_is_counted_is_what_was_given() {
        let config = flags(&["--resource", "gpu=2", "--resource", "tape=1"]).validate().unwrap();
        assert_eq!(config.counts.to_string(), "2 gpu, 1 tape");
    }

    #[test]
    fn etcd_is_never_offered_to_the_network() {
        let error = flags(&["--etcd-client-url", "http://10.0.0.1:2379"]).validate().unwrap_err();
        assert!(error.to_string().contains("no TLS yet"), "{error}");
    }
}
