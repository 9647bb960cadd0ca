//! Holding a node back: what keeps a large task from being overtaken for ever by small ones.
//!
//! When the oldest task that fits nowhere has waited [`PATIENCE_MS`], the node that a rendezvous hash prefers among those that could hold it
//! takes nothing else until the task fits there. Every node computes the same; nothing is locked. One task at a time is
//! helped so: several would drain several nodes. (With known durations, what ends before may run meanwhile: backfill, a later form.)

use super::able;
use crate::id::{NodeId, TaskId};
use crate::rendezvous::first;
use crate::resources::Resources;
use crate::time::BootMs;
use crate::view::{Order, Shape, View};
use std::collections::BTreeMap;

/// Long enough for short tasks to make room by themselves, short beside the tasks that make a large one wait.
pub const PATIENCE_MS: u64 = 30_000;

/// A node that is held back, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The task that waits.
    pub task: TaskId,
    /// The node that drains for it.
    pub node: NodeId,
}

/// The oldest ripe task that some node could hold and none has room for.
fn oldest_stuck<'v>(view: &'v View, free: &BTreeMap<NodeId, Resources>) -> Option<(Order, &'v Shape)> {
    let stuck = |shape: &Shape| {
        let mut rooms = able(view, free, shape).map(|(_, room)| room.fits(&shape.resources)).peekable();
        rooms.peek().is_some() && !rooms.any(|fits| fits)
    };
    let head =
        |(shape, orders): (&'v Shape, &std::collections::BTreeSet<Order>)| Some((*orders.first()?, shape));
    view.ripe().iter().filter(|(shape, _)| stuck(shape)).filter_map(head).min_by_key(|(order, _)| *order)
}

/// Which node is to be held back now, if any.
pub(super) fn hold(view: &View, free: &BTreeMap<NodeId, Resources>, now: BootMs) -> Option<Hold> {
    let (order, shape) = oldest_stuck(view, free)?;
    let waited = now.since(view.queued(order.task)?.seen);
    // Behind tasks of its own size it waits like anybody: only being overtaken is cured here.
    let overtaken = view.ripe().iter().any(|(other, orders)| {
        other != shape
            && shape.resources.fits(&other.resources)
            && orders.iter().next_back().is_some_and(|last| *last > order)
    });
    if waited < PATIENCE_MS || !overtaken {
        return None;
    }
    let node = first(order.task.0, able(view, free, shape).map(|(node, _)| node))?;
    Some(Hold { task: order.task, node })
}
