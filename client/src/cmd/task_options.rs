//! The options that describe a task.

use crate::here;
use crate::values;
use clap::{Args, ValueEnum};
use shoal_proto::v1;

/// The options that describe a task. What is not given is left to the node's defaults.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Task options")]
pub struct TaskOptions {
    /// Cores: 2, 0.5, 250m [default: 1]
    #[arg(long, value_name = "N", value_parser = values::cpu_milli)]
    pub cpus: Option<u32>,
    /// Memory: 512MiB, 2G [default: 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub memory: Option<u64>,
    /// Most processes and threads at once [default: 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: Option<u32>,
    /// Root file system: default, host (this system, read-only), one that nodes offer, or an image by name or digest
    #[arg(long, visible_alias = "rootfs", value_name = "NAME")]
    pub root: Option<String>,
    /// Environment (repeatable); NAME alone passes on its value here
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = values::env)]
    pub env: Vec<(String, String)>,
    /// Where the command starts [default: /work, the task's own writable directory, or the image's; with --root host this directory, where everybody may read
    /// it: what is written there is private to the task]
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Who submits [default: the login name]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// A name for people
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Higher is sooner: low, normal, high, urgent, or 1 to 1000 [default: normal, which is 500]
    #[arg(short, long, value_name = "P", value_parser = values::priority)]
    pub priority: Option<u32>,
    /// From start to SIGTERM [default: none]
    #[arg(long, value_name = "TIME", value_parser = values::duration_ms)]
    pub time_limit: Option<u64>,
    /// From SIGTERM to SIGKILL [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::duration_ms)]
    pub grace: Option<u64>,
    /// Attempts that nodes may lose before it is given up [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_attempts: Option<u32>,
    /// When its node is lost: start again elsewhere, or never start twice [default: requeue]
    #[arg(long, value_name = "WHAT")]
    pub on_node_loss: Option<OnNodeLoss>,
    /// What it sees of the network [default: loopback]
    #[arg(long, value_name = "WHAT")]
    pub net: Option<Net>,
    /// A directory that nodes offer under a name, seen at TARGET (repeatable); :ro even where tasks may write to it
    #[arg(long, value_name = "NAME:TARGET[:ro]", value_parser = values::mount)]
    pub mount: Vec<v1::Mount>,
    /// A label that its node must have, such as type=smithi (repeatable)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Run on N nodes at once (repeatable: 2:type=smithi and 1:gpu are two of this and one of that, 2 is any two); each gets all that is asked for here, and they find each other's files in $SHOAL_GANG_DIR
    // Not SHOAL_NODES, which a member of such a task finds in its environment: what it submits must not become one too.
    // (The id is another than that of `dev up --nodes`, whose default is its own.)
    #[arg(id = "task_nodes", long = "nodes", env = "SHOAL_TASK_NODES", value_name = "N[:LABEL,...]", value_parser = values::nodes)]
    pub nodes: Vec<v1::GangPart>,
    /// When a task of several nodes is over; what still runs of it is ended then [default: first-failure]
    #[arg(long, value_name = "WHEN")]
    pub gang_end: Option<GangEnd>,
    /// Have its nodes to itself: it waits for them to be empty, and nothing else runs there meanwhile
    #[arg(long)]
    pub exclusive: bool,
    /// So many of a thing that nodes have and that is counted, on each of its nodes: gpu=2 (repeatable)
    #[arg(long, value_name = "NAME=COUNT", value_parser = values::count)]
    pub resource: Vec<(String, u32)>,
    /// User and group inside of the container, 0 to 65534 [default: the image's, else nobody; GID: UID]
    #[arg(long, value_name = "UID[:GID]", value_parser = values::run_as)]
    pub run_as: Option<v1::RunAs>,
    /// Most open files of each process [default: the node's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub open_files: Option<u32>,
    /// Most that it writes to its private layer, /work and /tmp included [default: half of its memory]
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub disk: Option<u64>,
    /// Most bytes a second to and from the node's disk [default: the node's]
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub io: Option<u64>,
    /// Most that is kept of each attempt's log [default: the node's]
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub log_max: Option<u64>,
}

/// What a task sees of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Net {
    /// Its own, with a loopback interface and nothing else
    Loopback,
    /// Its own, without any interface
    None,
    /// The node's, where its operator allows it
    Host,
}

impl Net {
    fn wire(self) -> v1::Net {
        match self {
            Net::Loopback => v1::Net::Loopback,
            Net::None => v1::Net::None,
            Net::Host => v1::Net::Host,
        }
    }
}

/// When a task of several nodes is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GangEnd {
    /// When one has failed, as that has; or all have succeeded
    FirstFailure,
    /// When all have ended; it has failed if one has
    All,
    /// When the first (rank 0) has ended, as that has
    Lead,
}

impl GangEnd {
    fn wire(self) -> v1::GangEnd {
        match self {
            GangEnd::FirstFailure => v1::GangEnd::FirstFailure,
            GangEnd::All => v1::GangEnd::All,
            GangEnd::Lead => v1::GangEnd::Lead,
        }
    }
}

/// What a lost node means for its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnNodeLoss {
    /// Start again elsewhere: at least once
    Requeue,
    /// Never a second start: at most once
    Fail,
}

impl TaskOptions {
    /// On the host's own system a command starts where it was typed.
    fn here(&self) -> Option<String> {
        if self.root.as_deref() == Some("host") { here::shared_directory() } else { None }
    }

    /// The task that these options describe.
    pub fn spec(&self, command: Vec<String>, user: &str) -> v1::TaskSpec {
        let on_node_loss = match self.on_node_loss {
            None => v1::OnNodeLoss::Unspecified,
            Some(OnNodeLoss::Requeue) => v1::OnNodeLoss::Requeue,
            Some(OnNodeLoss::Fail) => v1::OnNodeLoss::Fail,
        };
        v1::TaskSpec {
            command,
            env: self.env.iter().cloned().collect(),
            root: self.root.clone().unwrap_or_default(),
            resources: Some(v1::Resources {
                cpu_milli: self.cpus.unwrap_or(0),
                memory_bytes: self.memory.unwrap_or(0),
            }),
            pids_max: self.pids.unwrap_or(0),
            name: self.name.clone().unwrap_or_default(),
            user: self.user.clone().unwrap_or_else(|| user.to_owned()),
            workdir: self.workdir.clone().or_else(|| self.here()).unwrap_or_default(),
            time_limit_ms: self.time_limit.unwrap_or(0),
            kill_grace_ms: self.grace.unwrap_or(0),
            max_attempts: self.max_attempts.unwrap_or(0),
            on_node_loss: on_node_loss.into(),
            net: self.net.map_or(v1::Net::Unspecified, Net::wire).into(),
            mounts: self.mount.clone(),
            labels: self.label.clone(),
            run_as: self.run_as,
            open_files_max: self.open_files.unwrap_or(0),
            disk_bytes_max: self.disk.unwrap_or(0),
            io_bytes_per_s_max: self.io.unwrap_or(0),
            log_bytes_max: self.log_max.unwrap_or(0),
            priority: self.priority.unwrap_or(0),
            parts: self.nodes.clone(),
            gang_end: self.gang_end.map_or(v1::GangEnd::Unspecified, GangEnd::wire).into(),
            exclusive: self.exclusive,
            counts: self.resource.iter().cloned().collect(),
        }
    }
}
