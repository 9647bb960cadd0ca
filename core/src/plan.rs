//! Which queued task starts on which node now. Pure and deterministic: every node computes it and takes only its own part.
//!
//! Order by priority and waiting ([`crate::priority::Rank`]), first fit by free cores and memory. Of the first [`WINDOW`] tasks that fit
//! somewhere, one group of equals after the other, two passes over each group: a task goes to its *owner* (the node that a rendezvous hash prefers among those that could ever hold it) when the owner
//! has room; what is left goes, in order, to the best-ranked node that has. Under a backlog all nodes are full in each other's
//! view, and each fills its own free room from its own share of the window: that, not luck, keeps lost steals rare. A task whose
//! owner stays full is overtaken by equal ones until the window is full of such tasks: some 120 times for each other node
//! (measured in tests/plan.rs), and by none of a later group. A task that needs more than comes free at once has a node held back for it ([`hold`]).
//!
//! Later forms (sharing, gangs, backfill) change the order and the passes, not the shape of this function.

pub mod hold;

use crate::id::{NodeId, TaskId};
use crate::rendezvous::first;
use crate::resources::Resources;
use crate::time::BootMs;
use crate::view::{Order, Shape, View};
use hold::Hold;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;

/// How many tasks of the head of the queue are looked at: several times what a cluster of this size starts at once, and few enough
/// that a plan costs microseconds a node.
pub const WINDOW: usize = 256;

/// What the planner must leave out.
#[derive(Clone, Debug, Default)]
pub struct Exclusions {
    /// Tasks somebody (this node) is taking already.
    pub tasks: BTreeSet<TaskId>,
    /// Nodes that did not take their part in time.
    pub nodes: BTreeSet<NodeId>,
}

/// One placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The task.
    pub task: TaskId,
    /// Where it should start now.
    pub node: NodeId,
    /// Whether the node is its owner (else the owner had no room).
    pub by_owner: bool,
}

/// The plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What starts where, in order of decision.
    pub placements: Vec<Placement>,
    /// The node that takes nothing now, so that a large task gets its turn.
    pub held: Option<Hold>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for p in &self.placements {
            let why = if p.by_owner { "its owner has room" } else { "its owner is full, next that has room" };
            writeln!(f, "{} -> {}: {why}", p.task.short(), p.node)?;
        }
        match self.held {
            Some(held) => writeln!(f, "{} held back for {}", held.node, held.task.short()),
            None => Ok(()),
        }
    }
}

/// Plans from the view. `free` is what is free on each node that may take tasks (its keys decide which nodes take part).
pub fn plan(view: &View, free: &BTreeMap<NodeId, Resources>, exclude: &Exclusions, now: BootMs) -> Plan {
    let mut free: BTreeMap<NodeId, Resources> =
        free.iter().filter(|(node, _)| !exclude.nodes.contains(node)).map(|(n, r)| (*n, *r)).collect();
    let mut plan = Plan { placements: Vec::new(), held: hold::hold(view, &free, now) };
    if let Some(held) = plan.held {
        free.insert(held.node, Resources::default());
    }
    let window = window(view, &free, exclude);
    for equals in window.chunk_by(|(a, _), (b, _)| a.rank.group() == b.rank.group()) {
        place(view, &mut free, equals, &mut plan.placements);
    }
    plan
}

/// Places what it can of tasks of which none need be before another.
fn place(
    view: &View,
    free: &mut BTreeMap<NodeId, Resources>,
    equals: &[(Order, &Shape)],
    placements: &mut Vec<Placement>,
) {
    let mut rest = Vec::new();
    for (order, shape) in equals {
        match owner(view, free, order.task, shape) {
            Some(node) if take(free, node, shape) => {
                placements.push(Placement { task: order.task, node, by_owner: true });
            }
            Some(_) => rest.push((order.task, shape)),
            None => {}
        }
    }
    for (task, shape) in rest {
        let roomy = able(view, free, shape).filter(|(_, room)| room.fits(&shape.resources));
        if let Some(node) = first(task.0, roomy.map(|(node, _)| node))
            && take(free, node, shape)
        {
            placements.push(Placement { task, node, by_owner: false });
        }
    }
}

/// The first tasks in queue order whose shape fits somewhere now.
fn window<'v>(
    view: &'v View,
    free: &BTreeMap<NodeId, Resources>,
    exclude: &Exclusions,
) -> Vec<(Order, &'v Shape)> {
    let fits = |shape: &Shape| {
        free.iter().any(|(node, room)| {
            room.fits(&shape.resources) && view.nodes().get(node).is_some_and(|peer| peer.could_hold(shape))
        })
    };
    let shapes: Vec<_> = view.ripe().iter().filter(|(shape, _)| fits(shape)).collect();
    let mut streams: Vec<_> = shapes.iter().map(|(_, orders)| orders.iter()).collect();
    let mut heads = BinaryHeap::new();
    for (index, stream) in streams.iter_mut().enumerate() {
        heads.extend(stream.next().map(|order| Reverse((*order, index))));
    }
    let mut out = Vec::with_capacity(WINDOW);
    while out.len() < WINDOW
        && let Some(Reverse((order, index))) = heads.pop()
    {
        heads.extend(streams[index].next().map(|next| Reverse((*next, index))));
        if !exclude.tasks.contains(&order.task) {
            out.push((order, shapes[index].0));
        }
    }
    out
}

fn able<'a>(
    view: &'a View,
    free: &'a BTreeMap<NodeId, Resources>,
    shape: &'a Shape,
) -> impl Iterator<Item = (NodeId, Resources)> + 'a {
    free.iter()
        .filter(|(node, _)| view.nodes().get(node).is_some_and(|peer| peer.could_hold(shape)))
        .map(|(node, room)| (*node, *room))
}

fn owner(view: &View, free: &BTreeMap<NodeId, Resources>, task: TaskId, shape: &Shape) -> Option<NodeId> {
    first(task.0, able(view, free, shape).map(|(node, _)| node))
}

fn take(free: &mut BTreeMap<NodeId, Resources>, node: NodeId, shape: &Shape) -> bool {
    let Some(room) = free.get_mut(&node).filter(|room| room.fits(&shape.resources)) else { return false };
    *room = room.minus(&shape.resources);
    true
}
