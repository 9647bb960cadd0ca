//! The one table of transitions. Whatever changes a task's record goes through [`apply`]; what is illegal is an error value.
//!
//! `Queued -> Running -> Complete | Canceled | Failed`, `Running -> Queued(attempt + 1)` when the attempt is lost,
//! `Queued -> Canceled` at once. With several nodes, each end of a member is a transition of its own, and the last one ends the attempt ([`crate::gang`]). Invariant: a running task whose cancel was accepted ends as canceled, however its process ended.

use crate::clock::Tick;
use crate::gang::{self, Member, MemberEnd};
use crate::id::NodeId;
use crate::place::Moved;
use crate::priority::Priority;
use crate::spec::OnNodeLoss;
use crate::task::{Attempt, Cancel, Exit, Failure, FailureKind, Hold, Task, TaskState};
use crate::time::WallMs;
use serde::{Deserialize, Serialize};
use std::fmt;

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
    /// Its place in the queue: now, or when it comes back there. One that was given to it by a move is no more.
    Priority(Priority),
    /// Its place in the queue, whatever its priority says. Only of a queued task.
    Move(Moved),
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
        /// When, by the cluster's clock.
        tick: Tick,
        /// All its nodes by rank, `node` the first, of a task that takes several; of others none.
        members: Vec<Member>,
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
    /// A task of so many nodes cannot be taken by so many.
    #[error("the task takes {wanted} nodes, not {got}")]
    NotItsNodes {
        /// What it takes.
        wanted: u32,
        /// By how many it was to be taken.
        got: u32,
    },
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
        Transition::Steal { node, node_name, tick, members } => {
            let attempt = Attempt {
                number: task.attempt,
                node: *node,
                node_name: node_name.clone(),
                started: wall,
                ended: None,
                end: String::new(),
                tick: *tick,
                members: members.clone(),
            };
            steal(task, attempt)
        }
        Transition::Cancel(cancel) => request_cancel(task, cancel, wall),
        Transition::Adjust(adjust) => change(task, adjust),
        Transition::Finish { node, attempt, outcome } => {
            let cancel = owned(task, *node, *attempt)?;
            Ok(match task.members() {
                [] => finish(task, cancel, outcome, wall),
                _ => member_ended(task, *node, cancel, MemberEnd::Reported(outcome.clone()), wall),
            })
        }
        Transition::Lose { node, attempt } => {
            let cancel = owned(task, *node, *attempt)?;
            Ok(match task.members() {
                [] => lose(task, cancel, wall),
                _ => member_ended(task, *node, cancel, MemberEnd::Lost, wall),
            })
        }
    }
}

fn steal(task: &Task, attempt: Attempt) -> Result<Task, Illegal> {
    if task.state != TaskState::Queued {
        return Err(Illegal::NotQueued);
    }
    if task.hold.is_some() {
        return Err(Illegal::Held);
    }
    let (wanted, got) = (task.spec.nodes(), (attempt.members.len() as u32).max(1));
    if wanted != got || attempt.members.first().is_some_and(|lead| lead.node != attempt.node) {
        return Err(Illegal::NotItsNodes { wanted, got });
    }
    let mut next = task.clone();
    next.state = TaskState::Running { node: attempt.node, cancel: None, verdict: None };
    next.attempts.push(attempt);
    Ok(next)
}

/// One member is dead. The attempt ends with the last of them, as the one says whose end decided it.
fn member_ended(task: &Task, node: NodeId, cancel: Option<Cancel>, end: MemberEnd, wall: WallMs) -> Task {
    let mut next = task.clone();
    let (Some(attempt), TaskState::Running { verdict, .. }) = (next.attempts.last_mut(), &mut next.state)
    else {
        return next;
    };
    let Some(rank) = attempt.members.iter().position(|member| member.node == node) else { return next };
    if verdict.is_none() && gang::decides(task.spec.gang_end, rank as u32, &end) {
        *verdict = Some(rank as u32);
    }
    attempt.members[rank].end = Some(end);
    if attempt.members.iter().any(|member| member.end.is_none()) {
        return next;
    }
    let counts = verdict.map_or_else(|| gang::counts(&attempt.members), |rank| rank as usize);
    let member = attempt.members[counts].clone();
    // A launch that failed here says nothing about the others: they may have done their part, which must not be done twice.
    let once = task.spec.on_node_loss == OnNodeLoss::Fail && !attempt.members.iter().all(Member::never_began);
    let mut over = match &member.end {
        Some(MemberEnd::Reported(outcome)) if once && member.never_began() && cancel.is_none() => {
            let message = format!("{}; other members had begun, and on_node_loss is fail", words(outcome));
            let failure = Failure { kind: FailureKind::Launch, message };
            end_as(&next, TaskState::Failed { failure }, &words(outcome), wall)
        }
        Some(MemberEnd::Reported(outcome)) => finish(&next, cancel, outcome, wall),
        Some(MemberEnd::Lost) | None => lose(&next, cancel, wall),
    };
    if let Some(attempt) = over.attempts.last_mut() {
        attempt.end = format!("{} (member {counts} on {})", attempt.end, member.node_name);
    }
    over
}

fn change(task: &Task, adjust: &Adjust) -> Result<Task, Illegal> {
    let mut next = task.clone();
    match adjust {
        Adjust::Priority(priority) => (next.reprioritized, next.moved) = (Some(*priority), None),
        Adjust::Move(_) if task.state != TaskState::Queued => return Err(Illegal::NotQueued),
        Adjust::Move(moved) => next.moved = Some(moved.clone()),
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
        TaskState::Running { cancel, .. } if task.runs_on(node) && task.attempt == attempt => {
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
        return end_as(task, TaskState::Canceled { cancel }, &words(outcome), wall);
    }
    let failed =
        |kind, message: &str| TaskState::Failed { failure: Failure { kind, message: message.to_owned() } };
    let text = words(outcome);
    match outcome {
        Outcome::Exited(exit) => end_as(task, TaskState::Complete { exit: *exit }, &text, wall),
        Outcome::TimeLimit => {
            let limit = format!("ran past its time limit of {} ms", task.spec.time_limit_ms);
            end_as(task, failed(FailureKind::TimeLimit, &limit), &text, wall)
        }
        Outcome::NotFound(message) => end_as(task, failed(FailureKind::NotFound, message), &text, wall),
        Outcome::NotExecutable(message) => {
            end_as(task, failed(FailureKind::NotExecutable, message), &text, wall)
        }
        Outcome::LaunchFailed(message) | Outcome::ImageNotReady(message) => {
            again_or(task, FailureKind::Launch, message, &text, wall)
        }
        Outcome::NoImage(message) => end_as(task, failed(FailureKind::Launch, message), &text, wall),
        Outcome::Vanished(message) => again_or(task, lost_kind(task), message, &text, wall),
    }
}

fn lose(task: &Task, cancel: Option<Cancel>, wall: WallMs) -> Task {
    match cancel {
        Some(cancel) => end_as(task, TaskState::Canceled { cancel }, "node lost", wall),
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
        return end_as(task, TaskState::Failed { failure: Failure { kind, message } }, end_text, wall);
    }
    let mut next = task.clone();
    close_attempt(&mut next, end_text, wall);
    next.state = TaskState::Queued;
    next.attempt += 1;
    next
}

fn end_as(task: &Task, state: TaskState, end_text: &str, wall: WallMs) -> Task {
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

/// How it ended, in words.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&words(self))
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
