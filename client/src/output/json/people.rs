//! What people have said of the queue and the nodes, as JSON.

use super::Lock;
use serde::Serialize;
use shoal_proto::v1;

/// That somebody has given a task its place in the queue.
#[derive(Clone, Debug, Serialize)]
pub struct Moved {
    /// Who.
    pub by: String,
    /// Where to, in words: `first`, `last`, `before 1a2b3c4d`, `behind 1a2b3c4d`.
    pub to: String,
    /// When.
    pub at_ms: i64,
}

impl From<&v1::MoveInfo> for Moved {
    fn from(moved: &v1::MoveInfo) -> Moved {
        Moved { by: moved.by.clone(), to: moved.to.clone(), at_ms: moved.at_ms }
    }
}

/// How many nodes are kept for people.
#[derive(Clone, Debug, Serialize)]
pub struct Reserve {
    /// How many.
    pub nodes: u32,
    /// Only of those with this label; null of all.
    pub label: Option<String>,
    /// Who said so.
    pub by: String,
    /// Since when.
    pub at_ms: i64,
}

impl From<&v1::ReserveInfo> for Reserve {
    fn from(reserve: &v1::ReserveInfo) -> Reserve {
        let label = (!reserve.label.is_empty()).then(|| reserve.label.clone());
        Reserve { nodes: reserve.nodes, label, by: reserve.by.clone(), at_ms: reserve.at_ms }
    }
}

/// A node that was locked because any would do.
#[derive(Clone, Debug, Serialize)]
pub struct LockedNode {
    /// Its name.
    pub node: String,
    /// Its lock.
    pub lock: Option<Lock>,
    /// Tasks that still run there.
    pub running: u32,
}

impl From<&v1::LockedNode> for LockedNode {
    fn from(locked: &v1::LockedNode) -> LockedNode {
        let lock = locked.lock.as_ref().map(Lock::from);
        LockedNode { node: locked.node.clone(), lock, running: locked.running }
    }
}

/// All of one request.
#[derive(Clone, Debug, Serialize)]
pub struct LockedNodes {
    /// By name.
    pub nodes: Vec<LockedNode>,
}

impl From<&[v1::LockedNode]> for LockedNodes {
    fn from(locked: &[v1::LockedNode]) -> LockedNodes {
        LockedNodes { nodes: locked.iter().map(LockedNode::from).collect() }
    }
}
