//! Which node has an attempt's log: the one that ran it, under its present identity. A node that lost its lease comes back under a new id with
//! the same name and the same disk.

use crate::api::error::ApiError;
use crate::seam::Api;
use shoal_core::task::Task;

/// Where a log is.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// On this node's disk.
    Here,
    /// On another node's.
    There {
        /// Its name.
        node_name: String,
        /// Where its API answers; `None` when it is not alive.
        address: Option<String>,
    },
}

/// Finds the log of attempt `number`, which has begun. A node that is asked by a peer answers for its own disk alone.
pub async fn place(api: &Api, task: &Task, number: u32, asked_by_peer: bool) -> Result<Place, ApiError> {
    let taken = task.attempts.iter().find(|taken| taken.number == number);
    let Some(taken) = taken else {
        return Err(ApiError::NoAttempt { task: task.id, attempt: number, last: task.attempts.len() });
    };
    let own = api.insight.identity();
    if asked_by_peer || taken.node == own.id || taken.node_name == own.name {
        return Ok(Place::Here);
    }
    let nodes = api.insight.nodes().await;
    let by_id = nodes.iter().find(|node| node.id == taken.node);
    let owner = by_id.or_else(|| nodes.iter().find(|node| node.entry.name == taken.node_name));
    let address = owner.map(|node| node.entry.address.clone());
    Ok(Place::There { node_name: taken.node_name.clone(), address })
}
