//! What the status keys hold: the index that planning reads. Small on purpose, every node gets each of them.
//!
//! Persisted (see `shoal_store::record`): only add fields, with a default.

use crate::clock::Tick;
use crate::features::Features;
use crate::id::NodeId;
use crate::priority::Priority;
use crate::resources::Resources;
use crate::spec::Unknown;
use crate::task::{Task, TaskState};
use serde::{Deserialize, Serialize};

/// Under `/task/status/queued/UUID`: what planning needs and nothing more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueEntry {
    /// Reserved on the node that takes it.
    pub resources: Resources,
    /// The root file system it needs.
    pub root: String,
    /// What else it needs that not every node offers.
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub needs: Features,
    /// Higher is sooner.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// When it was submitted, by the cluster's clock.
    #[serde(default, skip_serializing_if = "Tick::is_zero")]
    pub tick: Tick,
    /// Seconds that it is expected to take; 0 is nothing known.
    #[serde(default, skip_serializing_if = "crate::spec::is_zero")]
    pub expected_s: u32,
    /// Somebody wants it not to start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// The attempt that is queued; counts from 1.
    pub attempt: u32,
    /// The store revision at which the task was submitted; absent in the entry that the submission itself writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<i64>,
    /// Position inside its submit request.
    #[serde(default)]
    pub seq: u32,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Under `/task/status/running/NODE/UUID`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunEntry {
    /// Which attempt runs; counts from 1.
    pub attempt: u32,
    /// What it holds of its node.
    pub resources: Resources,
    /// Seconds that it was expected to take when it was submitted; 0 is nothing known.
    #[serde(default, skip_serializing_if = "crate::spec::is_zero")]
    pub expected_s: u32,
    /// Somebody asked for its end.
    #[serde(default)]
    pub cancel: bool,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Under `/task/status/{complete,canceled,failed}/EPOCH/UUID`: the short outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndEntry {
    /// The last attempt.
    pub attempt: u32,
    /// The outcome in words.
    pub end: String,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// The status key's value for a task's present state.
#[derive(Clone, Debug, PartialEq)]
pub enum StatusEntry {
    /// It waits.
    Queued(QueueEntry),
    /// It runs on a node.
    Running(NodeId, RunEntry),
    /// It has ended.
    Ended(EndEntry),
}

impl StatusEntry {
    /// The index entry of `task`. `created` is the store revision that created its record, when known (on every change but the first).
    pub fn of(task: &Task, created: Option<i64>) -> StatusEntry {
        let ended = |end: String| {
            StatusEntry::Ended(EndEntry { attempt: task.attempt, end, unknown: Unknown::new() })
        };
        match &task.state {
            TaskState::Queued => StatusEntry::Queued(QueueEntry {
                resources: task.spec.resources,
                root: task.spec.root.clone(),
                needs: Features::needed_by(&task.spec),
                priority: task.priority(),
                tick: task.tick,
                expected_s: task.expected_s,
                held: task.hold.is_some(),
                attempt: task.attempt,
                order: created,
                seq: task.seq,
                unknown: Unknown::new(),
            }),
            TaskState::Running { node, cancel } => StatusEntry::Running(
                *node,
                RunEntry {
                    attempt: task.attempt,
                    resources: task.spec.resources,
                    expected_s: task.expected_s,
                    cancel: cancel.is_some(),
                    unknown: Unknown::new(),
                },
            ),
            TaskState::Complete { exit } => ended(exit.to_string()),
            TaskState::Canceled { cancel } => ended(cancel.reason.clone()),
            TaskState::Failed { failure } => ended(failure.message.clone()),
        }
    }
}

/// Under `/clock`: the cluster's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockEntry {
    /// What it shows.
    pub tick: Tick,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Whether a node takes new tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Takes tasks.
    #[default]
    Ready,
    /// Finishes what it has and takes no more.
    Draining,
}

/// Under `/node/NODE`, attached to the node's lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// The name that people use; the same through all its identities.
    pub name: String,
    /// Where its API answers: `host:port` or `unix:PATH`.
    pub address: String,
    /// What it offers to tasks.
    pub resources: Resources,
    /// The root file systems it has.
    pub roots: Vec<String>,
    /// What its operator lets tasks have that not every node offers.
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub offers: Features,
    /// The version of its program.
    pub version: String,
    /// Whether it takes tasks.
    #[serde(default)]
    pub state: NodeState,
    /// Why it takes none, if that is not by somebody's wish.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Whether the store that it sees ends a lease only after its whole time to live (not so in some versions of etcd).
    #[serde(default)]
    pub leases_trusted: bool,
    /// Whether it carries an etcd member.
    #[serde(default)]
    pub voter: bool,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl NodeEntry {
    /// Whether tasks with this root may come here. Every node gets an image from the others; that it has images at all is a need of its own
    /// ([`crate::features`]).
    pub fn has_root(&self, root: &str) -> bool {
        crate::image::is_image(root) || self.roots.iter().any(|own| own == root)
    }
}
