//! What the status keys hold: the index that planning reads. Small on purpose, every node gets each of them.
//!
//! Persisted (see `shoal_store::record`): only add fields, with a default.

use crate::clock::Tick;
use crate::counts::Counts;
use crate::features::{self, Features};
use crate::limit;
use crate::place::Place;
use crate::priority::Priority;
use crate::resources::Resources;
use crate::spec::{GangPart, Unknown};
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
    /// Somebody wants it not to start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Its place, where somebody has moved it: then priority, tick and cost say nothing about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Place>,
    /// Its nodes, where it takes several at once; empty is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartEntry>,
    /// What it takes of what is counted, on each node.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub counts: Counts,
    /// It takes its nodes for itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// Seconds after its start at which it is surely dead; 0 is never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub limit_s: u32,
    /// Seconds that it probably takes; 0 is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expected_s: u32,
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

/// Some of the nodes that a task takes at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartEntry {
    /// How many.
    pub nodes: u32,
    /// What each must offer beside what the task needs anyway.
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub needs: Features,
}

/// Under `/task/status/offered/UUID/NODE`, attached to the node's lease: the node keeps room for a task of several nodes, until all of them do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfferEntry {
    /// For which attempt.
    pub attempt: u32,
    /// What it keeps.
    pub resources: Resources,
    /// What it keeps of what is counted.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub counts: Counts,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Under `/task/status/running/NODE/UUID`: one for each node of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunEntry {
    /// Which attempt runs; counts from 1.
    pub attempt: u32,
    /// What it holds of its node.
    pub resources: Resources,
    /// Somebody asked for its end, or another member's end has decided it.
    #[serde(default)]
    pub cancel: bool,
    /// What it holds of what is counted.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub counts: Counts,
    /// It holds all of its node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// When it was taken, by the cluster's clock.
    #[serde(default, skip_serializing_if = "Tick::is_zero")]
    pub tick: Tick,
    /// Seconds after that at which it is surely dead; 0 is never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub limit_s: u32,
    /// Seconds that it probably takes; 0 is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expected_s: u32,
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
    /// It runs: the same on each of its nodes.
    Running(RunEntry),
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
                held: task.hold.is_some(),
                moved: task.moved.as_ref().map(|moved| moved.place),
                parts: task.spec.parts.iter().map(PartEntry::of).collect(),
                counts: task.spec.counts.clone(),
                exclusive: task.spec.exclusive,
                limit_s: task.spec.limit_s(),
                expected_s: task.expected_s,
                attempt: task.attempt,
                order: created,
                seq: task.seq,
                unknown: Unknown::new(),
            }),
            TaskState::Running { .. } => StatusEntry::Running(RunEntry {
                attempt: task.attempt,
                resources: task.spec.resources,
                cancel: task.is_stopping(),
                counts: task.spec.counts.clone(),
                exclusive: task.spec.exclusive,
                tick: task.attempts.last().map(|attempt| attempt.tick).unwrap_or_default(),
                limit_s: task.spec.limit_s(),
                expected_s: task.expected_s,
                unknown: Unknown::new(),
            }),
            TaskState::Complete { exit } => ended(exit.to_string()),
            TaskState::Canceled { cancel } => ended(cancel.reason.clone()),
            TaskState::Failed { failure } => ended(failure.message.clone()),
        }
    }
}

impl PartEntry {
    fn of(part: &GangPart) -> PartEntry {
        let has = part.labels.iter().map(|label| features::label(label)).collect();
        PartEntry { nodes: part.nodes, needs: Features { has, ..Features::default() } }
    }
}

impl RunEntry {
    /// By when it has surely ended; `None` without a limit.
    pub fn end(&self) -> Option<Tick> {
        (self.limit_s > 0).then(|| limit::end(self.tick, self.limit_s.into()))
    }
}

fn is_zero(value: &u32) -> bool {
    *value == 0
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
    /// What it has of what is counted.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub counts: Counts,
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
    /// The revision of the lock on it with which it has no start under way any more ([`crate::drain`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_seen: Option<i64>,
    /// What of its tasks' limits and walls it does not enforce, for lack of root: `memory`, `cpu`, `pids`, `io`, `ids`, `disk`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unenforced: Vec<String>,
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
