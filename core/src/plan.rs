//! Which queued task starts on which node(s) now. Pure and deterministic: every node computes it and takes only its own part.
//!
//! Order by priority, waiting and cost ([`crate::priority::Rank`]); tasks whose ranks lie close are a group of *equals*. One group after the other (`walk`):
//! - tasks of several nodes, in order: each starts whole (`gang`), or not at all;
//! - the first task that cannot start gets a *reservation* (`reserve`): the nodes that come free for it soonest are kept, and what is placed from then
//!   on may use them only where that does not move its start;
//! - the others (`place`): with more tasks than nodes with room, each goes to its *owner* (the node that a hash of its id names among those that could
//!   ever hold it) when that has room, and what is left goes in order to the node that it fits best. Under a backlog all nodes are full in each other's
//!   view, and each fills its own free room from its own share of the window: that, not luck, keeps lost steals rare.
//!
//! A task whose owner stays full is overtaken by equal ones until the window is full of such tasks, and by none of a later group. One that somebody has
//! moved ([`crate::place`]) is a group of its own.

mod assign;
mod desk;
pub mod estimate;
mod free;
mod gang;
mod place;
mod reserve;
mod walk;

use crate::clock::Tick;
use crate::id::{NodeId, TaskId};
use crate::view::View;
pub use free::{Free, Own};
use std::collections::BTreeSet;
use std::fmt;
pub use walk::{WINDOW_MIN, WINDOW_PER_NODE};

/// What the planner must leave out.
#[derive(Clone, Debug, Default)]
pub struct Exclusions {
    /// Tasks somebody (this node) is taking already.
    pub tasks: BTreeSet<TaskId>,
    /// Nodes that did not take their part in time.
    pub nodes: BTreeSet<NodeId>,
}

/// One placement of a task of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The task.
    pub task: TaskId,
    /// Where it should start now.
    pub node: NodeId,
    /// Whether the node is its owner.
    pub by_owner: bool,
}

/// A task of several nodes that should start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// The task.
    pub task: TaskId,
    /// Its nodes, by rank.
    pub nodes: Vec<NodeId>,
}

/// Nodes that are kept for the first task that cannot start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Which.
    pub task: TaskId,
    /// Its nodes, by rank, as of now.
    pub nodes: Vec<NodeId>,
    /// Not later than this, if what runs keeps to its limits; `None` where something without a limit is in the way.
    pub start: Option<Tick>,
}

/// The plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What starts where, in order of decision.
    pub placements: Vec<Placement>,
    /// Which tasks of several nodes start where, in order of decision.
    pub gangs: Vec<Gathering>,
    /// For whom nodes are kept.
    pub reservation: Option<Reservation>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for p in &self.placements {
            let why = if p.by_owner { "its owner has room" } else { "it fits best" };
            writeln!(f, "{} -> {}: {why}", p.task.short(), p.node)?;
        }
        for gang in &self.gangs {
            writeln!(f, "{} -> {}: all have room", gang.task.short(), List(&gang.nodes))?;
        }
        match &self.reservation {
            Some(Reservation { task, nodes, start: Some(start) }) => {
                writeln!(f, "{} kept for {} until {start}", List(nodes), task.short())
            }
            Some(Reservation { task, nodes, start: None }) => {
                writeln!(
                    f,
                    "{} kept for {}, which waits for tasks without a limit",
                    List(nodes),
                    task.short()
                )
            }
            None => Ok(()),
        }
    }
}

struct List<'a>(&'a [NodeId]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.0.iter().enumerate() {
            write!(f, "{}{node}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Plans from the view, as of its last [`View::ripen`]; nothing, where nodes have come or gone since then.
pub fn plan(view: &View, free: &Free, exclude: &Exclusions) -> Plan {
    if !view.is_settled() {
        return Plan::default();
    }
    let mut desk = desk::Desk::new(view, free, exclude);
    walk::walk(&mut desk, exclude);
    desk.plan
}
