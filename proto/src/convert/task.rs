//! Tasks, their states and nodes, for the wire.

use super::gang::counts_to_wire;
use super::people::moved_to_wire;
use super::spec::{resources_to_wire, spec_to_wire};
use crate::v1;
use shoal_core::amount::Amount;
use shoal_core::clock::Tick;
use shoal_core::entry::{NodeEntry, NodeState};
use shoal_core::gang::{Member, MemberEnd};
use shoal_core::id::NodeId;
use shoal_core::lock::LockEntry;
use shoal_core::task::{Attempt, Cancel, Exit, ExitHow, Failure, FailureKind, Hold, Task, TaskState};
use shoal_core::transition::Outcome;

/// A task as the store has it at `revision`, the record's last change.
pub fn task_to_wire(task: &Task, revision: i64) -> v1::Task {
    let mut wire = v1::Task {
        id: task.id.to_string(),
        spec: Some(spec_to_wire(&task.spec)),
        state: state_to_wire(&task.state).into(),
        attempts: task.attempts.iter().map(attempt_to_wire).collect(),
        submitted_ms: task.submitted.0,
        ended_ms: task.ended.map_or(0, |at| at.0),
        revision,
        priority: task.priority().number().into(),
        expected_ms: u64::from(task.expected_s) * 1_000,
        expected_from: task.expected_from,
        hold: task.hold.as_ref().map(hold_to_wire),
        moved: task.moved.as_ref().map(moved_to_wire),
        ..v1::Task::default()
    };
    match &task.state {
        TaskState::Queued => {}
        TaskState::Running { cancel, .. } => wire.cancel = cancel.as_ref().map(cancel_to_wire),
        TaskState::Complete { exit } => wire.exit = Some(exit_to_wire(exit)),
        TaskState::Canceled { cancel } => wire.cancel = Some(cancel_to_wire(cancel)),
        TaskState::Failed { failure } => wire.failure = Some(failure_to_wire(failure)),
    }
    wire
}

/// A state without its data.
pub fn state_to_wire(state: &TaskState) -> v1::State {
    match state {
        TaskState::Queued => v1::State::Queued,
        TaskState::Running { .. } => v1::State::Running,
        TaskState::Complete { .. } => v1::State::Complete,
        TaskState::Canceled { .. } => v1::State::Canceled,
        TaskState::Failed { .. } => v1::State::Failed,
    }
}

/// A live node with what is free on it and how many tasks it runs.
pub fn node_to_wire(
    id: NodeId,
    entry: &NodeEntry,
    free: &Amount,
    running: u32,
    (lock, kept): (Option<v1::LockInfo>, bool),
) -> v1::Node {
    v1::Node {
        id: id.to_string(),
        name: entry.name.clone(),
        address: entry.address.clone(),
        total: Some(resources_to_wire(&entry.resources)),
        free: Some(resources_to_wire(&free.resources)),
        roots: entry.roots.clone(),
        version: entry.version.clone(),
        draining: match entry.state {
            NodeState::Ready => false,
            NodeState::Draining => true,
        },
        reason: entry.reason.clone(),
        lock,
        kept,
        running,
        voter: entry.voter,
        offers: entry.offers.has.iter().cloned().collect(),
        offers_up_to: entry.offers.up_to.iter().map(|(what, most)| (what.clone(), *most)).collect(),
        counts: counts_to_wire(&entry.counts),
        counts_free: counts_to_wire(&free.counts),
        unenforced: entry.unenforced.clone(),
    }
}

/// A lock, as it is at this time of the cluster.
pub fn lock_to_wire(lock: &LockEntry, now: Tick) -> v1::LockInfo {
    v1::LockInfo {
        by: lock.by.clone(),
        reason: lock.reason.clone(),
        at_ms: lock.at.0,
        // One that is about to end has no nothing left: that would mean no end.
        left_ms: lock.left_s(now).map_or(0, |left_s| (left_s * 1_000).max(1)),
    }
}

fn attempt_to_wire(attempt: &Attempt) -> v1::Attempt {
    v1::Attempt {
        number: attempt.number,
        node_id: attempt.node.to_string(),
        node_name: attempt.node_name.clone(),
        started_ms: attempt.started.0,
        ended_ms: attempt.ended.map_or(0, |at| at.0),
        end: attempt.end.clone(),
        members: attempt.members.iter().map(member_to_wire).collect(),
    }
}

fn member_to_wire(member: &Member) -> v1::Member {
    let exit = match &member.end {
        Some(MemberEnd::Reported(Outcome::Exited(exit))) => Some(exit_to_wire(exit)),
        Some(MemberEnd::Reported(_) | MemberEnd::Lost) | None => None,
    };
    v1::Member {
        node_id: member.node.to_string(),
        node_name: member.node_name.clone(),
        address: member.address.clone(),
        end: member.end.as_ref().map(MemberEnd::to_string).unwrap_or_default(),
        exit,
    }
}

fn cancel_to_wire(cancel: &Cancel) -> v1::CancelInfo {
    v1::CancelInfo { by: cancel.by.clone(), reason: cancel.reason.clone(), at_ms: cancel.at.0 }
}

fn hold_to_wire(hold: &Hold) -> v1::HoldInfo {
    v1::HoldInfo { by: hold.by.clone(), reason: hold.reason.clone(), at_ms: hold.at.0 }
}

fn exit_to_wire(exit: &Exit) -> v1::Exit {
    let how = match exit.how {
        ExitHow::Code(code) => v1::exit::How::Code(code.into()),
        ExitHow::Signal(signal) => v1::exit::How::Signal(signal.into()),
    };
    v1::Exit { how: Some(how), oom_killed: exit.oom_killed }
}

fn failure_to_wire(failure: &Failure) -> v1::Failure {
    let kind = match failure.kind {
        FailureKind::NotFound => v1::FailureKind::NotFound,
        FailureKind::NotExecutable => v1::FailureKind::NotExecutable,
        FailureKind::Launch => v1::FailureKind::Launch,
        FailureKind::TimeLimit => v1::FailureKind::TimeLimit,
        FailureKind::Poison => v1::FailureKind::Poison,
        FailureKind::Lost => v1::FailureKind::Lost,
    };
    v1::Failure { kind: kind.into(), message: failure.message.clone() }
}
