//! The record of a task: the truth under `/task/UUID`. A state holds only what is valid in it.
//!
//! Persisted (see `shoal_store::record`): only add fields, with a default; a change of meaning needs a new format version there.

use crate::clock::Tick;
use crate::gang::Member;
use crate::id::{AttemptId, NodeId, TaskId};
use crate::place::Moved;
use crate::priority::Priority;
use crate::spec::{TaskSpec, Unknown};
use crate::time::WallMs;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a process ended: the kernel's wait status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitHow {
    /// It called exit with this code.
    Code(u8),
    /// A signal of this number ended it.
    Signal(u8),
}

/// How a task's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The wait status.
    pub how: ExitHow,
    /// The kernel killed a process of the task for lack of memory.
    #[serde(default)]
    pub oom_killed: bool,
}

/// Why Shoal, not the task's own process, ended it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The command does not exist in the root.
    NotFound,
    /// The command cannot be executed.
    NotExecutable,
    /// The container could not be set up, `max_attempts` times; or the cluster does not know its image any more.
    Launch,
    /// It ran past its time limit.
    TimeLimit,
    /// Its node was lost `max_attempts` times.
    Poison,
    /// Its node was lost and it must not start twice.
    Lost,
}

/// A failure, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The cause.
    pub kind: FailureKind,
    /// The cause in words, with the detail that helps.
    pub message: String,
}

/// Somebody's request that the task end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Who asked.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// When.
    pub at: WallMs,
}

/// Somebody's wish that a queued task not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who asked.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// When.
    pub at: WallMs,
}

/// Where a task is in its life. Terminal states have no exits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum TaskState {
    /// Waits for a node.
    Queued,
    /// A node has taken it.
    Running {
        /// The node's present identity; with several, the lead's.
        node: NodeId,
        /// A request to end it that its node has not yet carried out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cancel: Option<Cancel>,
        /// With several nodes: the rank of the member whose end has decided the attempt. The others are being stopped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verdict: Option<u32>,
    },
    /// Its process ended by itself.
    Complete {
        /// How.
        exit: Exit,
    },
    /// Somebody asked for its end.
    Canceled {
        /// Who and why.
        cancel: Cancel,
    },
    /// The infrastructure, or a limit, ended it.
    Failed {
        /// Why.
        failure: Failure,
    },
}

impl TaskState {
    /// Whether the state has no exits.
    pub fn is_terminal(&self) -> bool {
        match self {
            TaskState::Queued | TaskState::Running { .. } => false,
            TaskState::Complete { .. } | TaskState::Canceled { .. } | TaskState::Failed { .. } => true,
        }
    }
}

/// What became of one attempt; kept for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Counts from 1.
    pub number: u32,
    /// The node's identity then.
    pub node: NodeId,
    /// Its name.
    pub node_name: String,
    /// When it was stolen.
    pub started: WallMs,
    /// When its end was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<WallMs>,
    /// How it ended, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub end: String,
    /// When it was stolen, by the cluster's clock.
    #[serde(default, skip_serializing_if = "Tick::is_zero")]
    pub tick: Tick,
    /// Its nodes by rank, where there are several; `node` is the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
}

/// A task's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// What was asked for.
    pub spec: TaskSpec,
    /// Where it is in its life.
    pub state: TaskState,
    /// Number of the attempt that is queued, runs, or was the last; counts from 1.
    pub attempt: u32,
    /// Position inside its submit request: orders tasks of one store revision.
    #[serde(default)]
    pub seq: u32,
    /// How many tasks its submit request has: a request of another length under the same id is another request.
    #[serde(default)]
    pub request_len: u32,
    /// All attempts that a node has taken, oldest first; at most `max_attempts` of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// The priority that somebody has given it since its submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reprioritized: Option<Priority>,
    /// The place in the queue that somebody has given it since then; a later priority ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// It does not start while it has this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// When it was submitted, by the cluster's clock: what its waiting is counted from.
    #[serde(default, skip_serializing_if = "Tick::is_zero")]
    pub tick: Tick,
    /// Seconds that it was expected to take when it was submitted ([`crate::duration`]); 0 is nothing known. Never changes, so that the order of the queue does
    /// not either.
    #[serde(default, skip_serializing_if = "crate::spec::is_zero")]
    pub expected_s: u32,
    /// How many runs of its name that was learned from; for people.
    #[serde(default, skip_serializing_if = "crate::spec::is_zero")]
    pub expected_from: u64,
    /// When it was submitted.
    pub submitted: WallMs,
    /// When it became terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<WallMs>,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Task {
    /// A new task, queued for its first attempt: number `seq` (from 0) of the `request_len` tasks of its request.
    pub fn new(id: TaskId, spec: TaskSpec, (seq, request_len): (u32, u32), submitted: WallMs) -> Task {
        Task {
            id,
            spec,
            state: TaskState::Queued,
            attempt: 1,
            seq,
            request_len,
            attempts: Vec::new(),
            reprioritized: None,
            moved: None,
            hold: None,
            tick: Tick::default(),
            expected_s: 0,
            expected_from: 0,
            submitted,
            ended: None,
            unknown: Unknown::new(),
        }
    }

    /// Its present priority.
    pub fn priority(&self) -> Priority {
        self.reprioritized.unwrap_or(self.spec.priority)
    }

    /// The attempt that is queued, runs, or was the last.
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId { task: self.id, number: self.attempt }
    }

    /// Whether it runs on several nodes at once.
    pub fn is_gang(&self) -> bool {
        self.spec.nodes() > 1
    }

    /// The members of the attempt that runs, or was the last; none of a task of one node.
    pub fn members(&self) -> &[Member] {
        self.attempts.last().map_or(&[], |attempt| &attempt.members)
    }

    /// Whether somebody or something wants the end of what runs of it.
    pub fn is_stopping(&self) -> bool {
        matches!(
            &self.state,
            TaskState::Running { cancel: Some(_), .. } | TaskState::Running { verdict: Some(_), .. }
        )
    }

    /// The nodes that it runs on, those whose part has ended left out; none unless it runs.
    pub fn live_nodes(&self) -> Vec<NodeId> {
        match (&self.state, self.members()) {
            (TaskState::Running { node, .. }, []) => vec![*node],
            (TaskState::Running { .. }, members) => {
                members.iter().filter(|member| member.end.is_none()).map(|member| member.node).collect()
            }
            (TaskState::Queued, _)
            | (TaskState::Complete { .. } | TaskState::Canceled { .. } | TaskState::Failed { .. }, _) => {
                Vec::new()
            }
        }
    }

    /// Whether it runs on this node, and that node's part has not ended.
    pub fn runs_on(&self, node: NodeId) -> bool {
        self.live_nodes().contains(&node)
    }

    /// The node that has it, while it runs; the lead's, with several.
    pub fn node(&self) -> Option<NodeId> {
        match &self.state {
            TaskState::Running { node, .. } => Some(*node),
            TaskState::Queued
            | TaskState::Complete { .. }
            | TaskState::Canceled { .. }
            | TaskState::Failed { .. } => None,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.how {
            ExitHow::Code(code) => write!(f, "exit {code}")?,
            ExitHow::Signal(signal) => write!(f, "signal {signal}")?,
        }
        if self.oom_killed { f.write_str(" (out of memory)") } else { Ok(()) }
    }
}
