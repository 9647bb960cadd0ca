//! What a user asks for: the task's specification, with every default filled in.

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
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}
