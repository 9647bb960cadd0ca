//! Which node has a log: the one that ran the attempt, or was this member of it, under its present identity. A node that lost its lease comes back under a new id with
//! the same name and the same disk.

use super::name::LogName;
use crate::api::error::ApiError;
use crate::seam::Api;
use shoal_core::task::Task;

/// Where a log is.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// On this node's disk, if anywhere that may be asked.
    Here {
        /// This node ran it itself; else it has at most a copy.
        own: bool,
    },
    /// On another node's.
    There {
        /// Its name.
        node_name: String,
        /// Where its API answers; `None` when it is not alive.
        address: Option<String>,
    },
}

/// Finds a log of an attempt that has begun. A node that is asked by a peer answers for its own disk alone.
pub async fn place(api: &Api, task: &Task, log: LogName, asked_by_peer: bool) -> Result<Place, ApiError> {
    let number = log.attempt.number;
    let taken = task.attempts.iter().find(|taken| taken.number == number);
    let Some(taken) = taken else {
        return Err(ApiError::NoAttempt { task: task.id, attempt: number, last: task.attempts.len() });
    };
    let (node, node_name) = match taken.members.get(log.rank as usize) {
        Some(member) => (member.node, &member.node_name),
        None => (taken.node, &taken.node_name),
    };
    let own = api.insight.identity();
    let mine = node == own.id || *node_name == own.name;
    if asked_by_peer || mine {
        // Of a task of one node nobody else has the attempt's directory.
        return Ok(Place::Here { own: mine || taken.members.is_empty() });
    }
    let nodes = api.insight.nodes().await;
    let by_id = nodes.iter().find(|it| it.id == node);
    let owner = by_id.or_else(|| nodes.iter().find(|it| it.entry.name == *node_name));
    let address = owner.map(|node| node.entry.address.clone());
    Ok(Place::There { node_name: node_name.clone(), address })
}
