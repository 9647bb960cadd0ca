//! What a user asks for: the task's specification, with every default filled in.

use crate::counts::Counts;
use crate::priority::Priority;
use crate::resources::Resources;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Fields that a newer version wrote and this one does not know: kept and written back.
pub type Unknown = serde_json::Map<String, serde_json::Value>;

/// What happens to a running task whose node is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNodeLoss {
    /// Start it again elsewhere: at least once until terminal.
    #[default]
    Requeue,
    /// Never a second start: at most once.
    Fail,
}

/// What a task sees of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Net {
    /// A network of its own, with nothing but a loopback interface.
    #[default]
    Loopback,
    /// A network of its own, without even that.
    None,
    /// The host's, on nodes whose operator lets tasks have it.
    Host,
}

impl Net {
    /// Whether it is what a task gets without asking.
    pub fn is_usual(&self) -> bool {
        *self == Net::Loopback
    }
}

/// A directory of the host that a task asks to see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Its name in the configuration of the nodes, which know the directory.
    pub name: String,
    /// Where the task sees it: absolute, inside the root.
    pub target: String,
    /// Even where the operator lets tasks write to it.
    #[serde(default)]
    pub read_only: bool,
}

/// Who a task is, inside of its container. On the host these ids are of the container's own range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// User id, below 65535.
    pub uid: u32,
    /// Group id, below 65535.
    pub gid: u32,
}

/// Some of the nodes of a task that runs on several at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GangPart {
    /// How many.
    pub nodes: u32,
    /// Labels that each of them must have, beside those of the task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// When a task of several nodes is over. That a member could not be launched or was lost with its node ends the attempt by any rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GangEnd {
    /// When a member has failed, or all have succeeded.
    #[default]
    FirstFailure,
    /// When all members have ended; it has failed if one has.
    All,
    /// When the first member (rank 0) has ended, as that has.
    Lead,
}

impl GangEnd {
    /// Whether it is what a task gets without asking.
    pub fn is_usual(&self) -> bool {
        *self == GangEnd::FirstFailure
    }
}

/// A task as asked for. Defaults are filled in at submit, so that every node reads the same values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The program and its arguments; the program is looked up in PATH inside the root.
    pub command: Vec<String>,
    /// Environment, beside what Shoal sets itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The name of the root file system; `host` is the node's own, read-only.
    pub root: String,
    /// Reserved on the node, and enforced as limits.
    pub resources: Resources,
    /// Most processes and threads at once.
    pub pids_max: u32,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it asked for; what counts while it waits is [`crate::task::Task::priority`].
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// Who submitted it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Where the command starts.
    pub workdir: String,
    /// From start to SIGTERM; 0 is no limit.
    #[serde(default)]
    pub time_limit_ms: u64,
    /// From SIGTERM to SIGKILL.
    pub kill_grace_ms: u64,
    /// Attempts that may be lost to nodes or launch failures before the task counts as poison.
    pub max_attempts: u32,
    /// What a lost node means for it.
    #[serde(default)]
    pub on_node_loss: OnNodeLoss,
    /// What it sees of the network.
    #[serde(default, skip_serializing_if = "Net::is_usual")]
    pub net: Net,
    /// What it sees of the host beside its root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Labels that its node must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Who it is, inside; `None` is what its root says, else nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<RunAs>,
    /// Open files of each process; 0 is the node's usual.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub open_files_max: u32,
    /// Bytes that it may write to its private layer; 0 is half of its memory.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub disk_bytes_max: u64,
    /// Bytes a second that it may read from, and write to, the node's disk; 0 is the node's usual.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub io_bytes_per_s_max: u64,
    /// Bytes kept of each attempt's log; 0 is the node's usual.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub log_bytes_max: u64,
    /// The nodes that it runs on at once, each with what `resources` says; empty is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<GangPart>,
    /// When it is over, with several nodes.
    #[serde(default, skip_serializing_if = "GangEnd::is_usual")]
    pub gang_end: GangEnd,
    /// Whether nothing else runs on its nodes meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// What it takes of what is counted, on each of its nodes.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub counts: Counts,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl TaskSpec {
    /// How many nodes it runs on at once.
    pub fn nodes(&self) -> u32 {
        self.parts.iter().fold(0, |sum: u32, part| sum.saturating_add(part.nodes)).max(1)
    }

    /// Seconds after its start at which it is surely dead: its time limit and its grace; 0 is never.
    pub fn limit_s(&self) -> u32 {
        match self.time_limit_ms {
            0 => 0,
            limit => {
                u32::try_from(limit.saturating_add(self.kill_grace_ms).div_ceil(1_000)).unwrap_or(u32::MAX)
            }
        }
    }
}

pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of a version that knew of no choices.
    const OLD: &str = r#"{"command":["true"],"root":"default","resources":{"cpu_milli":1000,"memory_bytes":1},"pids_max":64,"workdir":"/","time_limit_ms":0,"kill_grace_ms":1,"max_attempts":3,"on_node_loss":"requeue"}"#;

    #[test]
    fn an_older_record_reads_as_the_usual_and_is_written_as_it_was() {
        let spec: TaskSpec = serde_json::from_str(OLD).unwrap();
        assert_eq!((spec.net, spec.mounts.len(), spec.run_as), (Net::Loopback, 0, None));
        assert_eq!((spec.open_files_max, spec.disk_bytes_max, spec.priority), (0, 0, Priority::NORMAL));
        assert_eq!((spec.io_bytes_per_s_max, spec.log_bytes_max), (0, 0));
        assert_eq!(serde_json::to_string(&spec).unwrap(), OLD);
    }

    #[test]
    fn choices_survive_their_record() {
        let mut spec: TaskSpec = serde_json::from_str(OLD).unwrap();
        spec.net = Net::Host;
        spec.mounts = vec![Mount { name: "data".to_owned(), target: "/data".to_owned(), read_only: true }];
        spec.labels = vec!["type=smithi".to_owned()];
        spec.run_as = Some(RunAs { uid: 0, gid: 7 });
        spec.priority = Priority::HIGH;
        spec.open_files_max = 64;
        spec.disk_bytes_max = 1 << 20;
        spec.io_bytes_per_s_max = 2 << 20;
        spec.log_bytes_max = 3 << 20;
        let text = serde_json::to_string(&spec).unwrap();
        assert!(text.contains(r#""net":"host""#), "{text}");
        assert_eq!(serde_json::from_str::<TaskSpec>(&text).unwrap(), spec);
    }
}
