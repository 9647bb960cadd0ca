//! The one table of transitions. Whatever changes a task's record goes through [`apply`]; what is illegal is an error value.
//!
//! `Queued -> Running -> Complete | Canceled | Failed`, `Running -> Queued(attempt + 1)` when the attempt is lost,
//! `Queued -> Canceled` at once. Invariant: a running task whose cancel was accepted ends as canceled, however its process ended.

use crate::id::NodeId;
use crate::priority::Priority;
use crate::spec::OnNodeLoss;
use crate::task::{Attempt, Cancel, Exit, Failure, FailureKind, Hold, Task, TaskState};
use crate::time::WallMs;
use serde::{Deserialize, Serialize};

/// How an attempt ended, as its own node saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its process ended by itself, or by a signal that somebody sent.
    Exited(Exit),
    /// It ran past its time limit and was killed.
    TimeLimit,
    /// The command does not exist in the root: the same everywhere, so never tried again.
    NotFound(String),
    /// The command cannot be executed: the same everywhere, so never tried again.
    NotExecutable(String),
    /// The container could not be set up: tried again, elsewhere if possible.
    LaunchFailed(String),
    /// The image of its root could not be made ready: tried again like a launch that failed, but no sign that anything is wrong with the node. An image
    /// may be damaged, or have no holder left, wherever it is tried.
    ImageNotReady(String),
    /// The cluster does not know the image of its root any more: the same everywhere, so never tried again.
    NoImage(String),
    /// The attempt ended without an exit status that anyone saw (its deadline passed, its runner died).
    Vanished(String),
}

/// What people may change of a task that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adjust {
    /// Its place in the queue: now, or when it comes back there.
    Priority(Priority),
    /// It does not start until it is released. Only of a queued task.
    Hold(Hold),
    /// It may start again.
    Release,
}

/// A change of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// `node` takes the queued task.
    Steal {
        /// Who takes it.
        node: NodeId,
        /// Its name.
        node_name: String,
    },
    /// Somebody wants it ended.
    Cancel(Cancel),
    /// Somebody changes how it waits.
    Adjust(Adjust),
    /// `node` reports the end of attempt `attempt`.
    Finish {
        /// Who reports.
        node: NodeId,
        /// Which attempt.
        attempt: u32,
        /// How it ended.
        outcome: Outcome,
    },
    /// `node` is gone, and with it attempt `attempt`.
    Lose {
        /// The lost node.
        node: NodeId,
        /// Which attempt.
        attempt: u32,
    },
}

/// A transition that the present state does not allow. Ordinary input: somebody else was first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The task has ended.
    #[error("task has ended")]
    Terminal,
    /// The task is not in the queue.
    #[error("task is not queued")]
    NotQueued,
    /// Somebody holds the task.
    #[error("task is held")]
    Held,
    /// The task is not running as that attempt on that node.
    #[error("task does not run as that attempt on that node")]
    NotOwner,
    /// A cancel was requested already.
    #[error("cancel is requested already")]
    AlreadyCanceling,
}

/// The task after the transition, or why that is not allowed. `wall` is for people.
pub fn apply(task: &Task, transition: &Transition, wall: WallMs) -> Result<Task, Illegal> {
    if task.state.is_terminal() {
        return Err(Illegal::Terminal);
    }
    match transition {
        Transition::Steal { node, node_name } => steal(task, *node, node_name, wall),
        Transition::Cancel(cancel) => request_cancel(task, cancel, wall),
        Transition::Adjust(adjust) => change(task, adjust),
        Transition::Finish { node, attempt, outcome } => {
            let cancel = owned(task, *node, *attempt)?;
            Ok(finish(task, cancel, outcome, wall))
        }
        Transition::Lose { node, attempt } => {
            let cancel = owned(task, *node, *attempt)?;
            Ok(lose(task, cancel, wall))
        }
    }
}

fn steal(task: &Task, node: NodeId, node_name: &str, wall: WallMs) -> Result<Task, Illegal> {
    if task.state != TaskState::Queued {
        return Err(Illegal::NotQueued);
    }
    if task.hold.is_some() {
        return Err(Illegal::Held);
    }
    let mut next = task.clone();
    next.state = TaskState::Running { node, cancel: None };
    next.attempts.push(Attempt {
        number: task.attempt,
        node,
        node_name: node_name.to_owned(),
        started: wall,
        ended: None,
        end: String::new(),
    });
    Ok(next)
}

fn change(task: &Task, adjust: &Adjust) -> Result<Task, Illegal> {
    let mut next = task.clone();
    match adjust {
        Adjust::Priority(priority) => next.reprioritized = Some(*priority),
        Adjust::Hold(_) if task.state != TaskState::Queued => return Err(Illegal::NotQueued),
        Adjust::Hold(hold) => next.hold = Some(hold.clone()),
        Adjust::Release => next.hold = None,
    }
    Ok(next)
}

fn request_cancel(task: &Task, cancel: &Cancel, wall: WallMs) -> Result<Task, Illegal> {
    let mut next = task.clone();
    match &mut next.state {
        TaskState::Queued => {
            next.state = TaskState::Canceled { cancel: cancel.clone() };
            next.ended = Some(wall);
            Ok(next)
        }
        TaskState::Running { cancel: Some(_), .. } => Err(Illegal::AlreadyCanceling),
        TaskState::Running { cancel: slot @ None, .. } => {
            *slot = Some(cancel.clone());
            Ok(next)
        }
        TaskState::Complete { .. } | TaskState::Canceled { .. } | TaskState::Failed { .. } => {
            Err(Illegal::Terminal)
        }
    }
}

/// The cancel request, if any, of a task that runs as `attempt` on `node`.
fn owned(task: &Task, node: NodeId, attempt: u32) -> Result<Option<Cancel>, Illegal> {
    match &task.state {
        TaskState::Running { node: owner, cancel } if *owner == node && task.attempt == attempt => {
            Ok(cancel.clone())
        }
        TaskState::Running { .. }
        | TaskState::Queued
        | TaskState::Complete { .. }
        | TaskState::Canceled { .. }
        | TaskState::Failed { .. } => Err(Illegal::NotOwner),
    }
}

fn finish(task: &Task, cancel: Option<Cancel>, outcome: &Outcome, wall: WallMs) -> Task {
    if let Some(cancel) = cancel {
        return end(task, TaskState::Canceled { cancel }, &words(outcome), wall);
    }
    let failed =
        |kind, message: &str| TaskState::Failed { failure: Failure { kind, message: message.to_owned() } };
    let text = words(outcome);
    match outcome {
        Outcome::Exited(exit) => end(task, TaskState::Complete { exit: *exit }, &text, wall),
        Outcome::TimeLimit => {
            let limit = format!("ran past its time limit of {} ms", task.spec.time_limit_ms);
            end(task, failed(FailureKind::TimeLimit, &limit), &text, wall)
        }
        Outcome::NotFound(message) => end(task, failed(FailureKind::NotFound, message), &text, wall),
        Outcome::NotExecutable(message) => {
            end(task, failed(FailureKind::NotExecutable, message), &text, wall)
        }
        Outcome::LaunchFailed(message) | Outcome::ImageNotReady(message) => {
            again_or(task, FailureKind::Launch, message, &text, wall)
        }
        Outcome::NoImage(message) => end(task, failed(FailureKind::Launch, message), &text, wall),
        Outcome::Vanished(message) => again_or(task, lost_kind(task), message, &text, wall),
    }
}

fn lose(task: &Task, cancel: Option<Cancel>, wall: WallMs) -> Task {
    match cancel {
        Some(cancel) => end(task, TaskState::Canceled { cancel }, "node lost", wall),
        None => again_or(task, lost_kind(task), "its node was lost", "node lost", wall),
    }
}

fn lost_kind(task: &Task) -> FailureKind {
    match task.spec.on_node_loss {
        OnNodeLoss::Requeue => FailureKind::Poison,
        OnNodeLoss::Fail => FailureKind::Lost,
    }
}

/// Queues the next attempt while one is left, else fails for good. A launch that failed started nothing, so it may be tried
/// again whatever `on_node_loss` says.
fn again_or(task: &Task, kind: FailureKind, message: &str, end_text: &str, wall: WallMs) -> Task {
    if kind == FailureKind::Lost || task.attempt >= task.spec.max_attempts {
        let message = match kind {
            FailureKind::Lost => format!("{message}; on_node_loss is fail"),
            _ => format!("{message}; attempt {} of {}", task.attempt, task.spec.max_attempts),
        };
        return end(task, TaskState::Failed { failure: Failure { kind, message } }, end_text, wall);
    }
    let mut next = task.clone();
    close_attempt(&mut next, end_text, wall);
    next.state = TaskState::Queued;
    next.attempt += 1;
    next
}

fn end(task: &Task, state: TaskState, end_text: &str, wall: WallMs) -> Task {
    let mut next = task.clone();
    close_attempt(&mut next, end_text, wall);
    next.state = state;
    next.ended = Some(wall);
    next
}

fn close_attempt(task: &mut Task, end_text: &str, wall: WallMs) {
    if let Some(last) = task.attempts.last_mut() {
        last.ended = Some(wall);
        last.end = end_text.to_owned();
    }
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited(exit) => exit.to_string(),
        Outcome::TimeLimit => "time limit".to_owned(),
        Outcome::NotFound(message) | Outcome::NotExecutable(message) | Outcome::NoImage(message) => {
            message.clone()
        }
        Outcome::ImageNotReady(message) => format!("image not ready: {message}"),
        Outcome::LaunchFailed(message) => format!("launch failed: {message}"),
        Outcome::Vanished(message) => format!("vanished: {message}"),
    }
}
