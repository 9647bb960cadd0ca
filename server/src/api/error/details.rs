//! The `google.rpc` details of each error: the same facts as its message, for machines.

use super::{ApiError, RETRY_DELAY, list, state_word};
use std::collections::HashMap;
use tonic_types::ErrorDetails;

impl ApiError {
    /// Facts for machines, beside the message.
    pub(super) fn metadata(&self) -> HashMap<String, String> {
        let pairs: Vec<(&str, String)> = match self {
            ApiError::Ambiguous { candidates, .. } => vec![("candidates", list(candidates))],
            ApiError::RequestIdReused { request_id, index } => {
                vec![("request_id", request_id.to_string()), ("index", index.to_string())]
            }
            ApiError::SubmitUnfinished { request_id, .. } => vec![("request_id", request_id.to_string())],
            ApiError::QueueFull { queued, max } => {
                vec![("queued", queued.to_string()), ("max", max.to_string())]
            }
            ApiError::Busy { max, .. } => vec![("max", max.to_string())],
            ApiError::Ended { task, state } => {
                vec![("task", task.to_string()), ("state", state_word(*state))]
            }
            ApiError::LockedByOther { node, lock } => vec![("node", node.clone()), ("by", lock.by.clone())],
            ApiError::NotQueued { task } => {
                vec![("task", task.to_string()), ("state", "running".to_owned())]
            }
            ApiError::NotEnoughNodes { wanted, free, .. } => {
                vec![("wanted", wanted.to_string()), ("free", free.to_string())]
            }
            ApiError::LogGone { node, .. }
            | ApiError::NotLocked { node }
            | ApiError::LogUnreachable { node, .. }
            | ApiError::NoNode { node, .. } => {
                vec![("node", node.clone())]
            }
            ApiError::Invalid(_)
            | ApiError::NoTask { .. }
            | ApiError::CannotRun(_)
            | ApiError::StoreFull
            | ApiError::StoreUnavailable(_)
            | ApiError::PageTokenStale
            | ApiError::WatchLagged
            | ApiError::NotStarted { .. }
            | ApiError::NoAttempt { .. }
            | ApiError::FromPeer(_)
            | ApiError::Stopping
            | ApiError::Internal(_) => Vec::new(),
        };
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Adds what is wrong, with what, and when to try again.
    pub(super) fn add_details(&self, details: &mut ErrorDetails) {
        match self {
            ApiError::Invalid(violations) => drop(details.set_bad_request(violations.clone())),
            ApiError::CannotRun(violations) => drop(details.set_precondition_failure(violations.clone())),
            ApiError::Ambiguous { prefix, .. } => {
                details.add_bad_request_violation("task", format!("{prefix:?} names more than one task"));
            }
            ApiError::NoTask { task } => {
                details.set_resource_info("task", task, "", "no task has this id");
            }
            ApiError::RequestIdReused { request_id, .. } => {
                details.set_resource_info("request", request_id.to_string(), "", "names other tasks");
            }
            ApiError::Ended { task, state } => {
                details.add_precondition_failure_violation("STATE", task.to_string(), state_word(*state));
            }
            ApiError::NoNode { node, .. } => {
                details.set_resource_info("node", node.clone(), "", "no live node has this name");
            }
            ApiError::LockedByOther { node, lock } => {
                details.add_precondition_failure_violation("LOCK", node.clone(), lock.to_string());
            }
            ApiError::NotLocked { node } => {
                details.add_precondition_failure_violation("LOCK", node.clone(), "not locked");
            }
            ApiError::NotEnoughNodes { free, .. } => {
                details.add_precondition_failure_violation("NODES", "nodes", format!("{free} can be locked"));
            }
            ApiError::NotQueued { task } => {
                let running = "running";
                details.add_precondition_failure_violation("STATE", task.to_string(), running);
            }
            ApiError::NotStarted { task, .. } => {
                details.add_precondition_failure_violation("STATE", task.to_string(), "not started");
            }
            ApiError::NoAttempt { task, attempt, .. } => {
                details.set_resource_info("attempt", format!("{task}.{attempt}"), "", "no such attempt");
            }
            ApiError::LogGone { attempt, node } => {
                details.set_resource_info("log", attempt, node, "not on this node");
            }
            ApiError::LogUnreachable { .. }
            | ApiError::QueueFull { .. }
            | ApiError::Busy { .. }
            | ApiError::StoreFull
            | ApiError::SubmitUnfinished { .. }
            | ApiError::StoreUnavailable(_)
            | ApiError::Stopping => drop(details.set_retry_info(Some(RETRY_DELAY))),
            ApiError::PageTokenStale
            | ApiError::WatchLagged
            | ApiError::FromPeer(_)
            | ApiError::Internal(_) => {}
        }
    }
}
