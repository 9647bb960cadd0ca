//! The nodes of a task that runs on several at once, as JSON.

use super::Exit;
use serde::Serialize;
use shoal_proto::v1;

/// Some of the nodes that it wants.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// How many.
    pub nodes: u32,
    /// Labels that each of them must have, beside those of the task.
    pub labels: Vec<String>,
}

/// One node's part of an attempt.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// From 0.
    pub rank: u32,
    /// The node's identity.
    pub node_id: String,
    /// The node's name.
    pub node_name: String,
    /// Where the others reach it.
    pub address: String,
    /// How it ended, in words; null while it runs.
    pub end: Option<String>,
    /// How its process ended, where that ended by itself or by a signal.
    pub exit: Option<Exit>,
}

impl From<&v1::GangPart> for Part {
    fn from(part: &v1::GangPart) -> Part {
        Part { nodes: part.nodes, labels: part.labels.clone() }
    }
}

impl Member {
    /// With its rank, which is its place in the attempt's list.
    pub fn of((rank, member): (u32, &v1::Member)) -> Member {
        Member {
            rank,
            node_id: member.node_id.clone(),
            node_name: member.node_name.clone(),
            address: member.address.clone(),
            end: (!member.end.is_empty()).then(|| member.end.clone()),
            exit: member.exit.as_ref().map(Exit::from),
        }
    }
}

/// The lower-case word for when a task of several nodes is over.
pub fn gang_end_word(end: v1::GangEnd) -> String {
    match end {
        v1::GangEnd::Unspecified => gang_end_word(v1::GangEnd::FirstFailure),
        v1::GangEnd::FirstFailure | v1::GangEnd::All | v1::GangEnd::Lead => {
            super::word(end.as_str_name(), "GANG_END_")
        }
    }
}
