//! What a node knows of the cluster: the status and node keys, folded from the store's events in revision order.
//! Equal facts give an equal view on every node (its `Display`); only `seen`, the local time at which an entry was first seen, differs.

mod line;
mod print;
mod queue;
mod usage;

use crate::amount::Amount;
use crate::clock::Tick;
use crate::entry::{NodeEntry, NodeState, OfferEntry, QueueEntry, RunEntry};
use crate::id::{NodeId, TaskId};
use crate::lock::{LockEntry, Lockable};
use crate::place::Place;
use crate::reserve::ReserveEntry;
use crate::shape::{Part, Shape};
use crate::time::BootMs;
pub use line::{Able, Line};
pub use queue::{Order, Queued};
use std::collections::BTreeMap;

/// One thing that the store says.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The task is in the queue.
    Queued {
        /// Which.
        task: TaskId,
        /// Its queue entry.
        entry: QueueEntry,
        /// The revision that created the entry.
        created: i64,
    },
    /// The task is not in the queue any more.
    NotQueued(TaskId),
    /// The task runs on a node.
    Running {
        /// Which.
        task: TaskId,
        /// Where.
        node: NodeId,
        /// Its run entry.
        entry: RunEntry,
    },
    /// The task does not run on that node any more.
    NotRunning {
        /// Which.
        task: TaskId,
        /// Where it ran.
        node: NodeId,
    },
    /// A node keeps room for a queued task of several nodes.
    Offered {
        /// Which.
        task: TaskId,
        /// Who.
        node: NodeId,
        /// What it keeps.
        entry: OfferEntry,
        /// The revision that created the offer.
        created: i64,
    },
    /// It does not any more: the task has started, or the node has taken it back.
    NotOffered {
        /// Which.
        task: TaskId,
        /// Who.
        node: NodeId,
    },
    /// The node's lease is alive.
    NodeUp {
        /// Which.
        node: NodeId,
        /// What it says of itself.
        entry: NodeEntry,
        /// The revision that created its key.
        created: i64,
    },
    /// The node's lease has ended.
    NodeDown(NodeId),
    /// Somebody keeps it from taking tasks.
    Locked {
        /// What.
        what: Lockable,
        /// Who, why and how long.
        entry: LockEntry,
        /// The revision that wrote it.
        revision: i64,
    },
    /// Nobody does any more.
    Unlocked(Lockable),
    /// How many nodes are kept for people; `None` of none.
    Reserve(Option<ReserveEntry>),
    /// The cluster's clock.
    Clock {
        /// What it shows.
        tick: Tick,
        /// The revision that wrote it.
        revision: i64,
    },
}

/// Everything the store says at one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// That revision.
    pub revision: i64,
    /// Only `Queued`, `Running`, `Offered`, `NodeUp`, `Locked`, `Reserve` and `Clock`.
    pub facts: Vec<Fact>,
}

/// A live node.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What it says of itself.
    pub entry: NodeEntry,
    /// All that it has.
    pub amount: Amount,
    /// The revision that created its key: its fencing token.
    pub created: i64,
}

impl Peer {
    /// Whether a task of this shape could run on it as this part when it is empty.
    pub fn could_be(&self, shape: &Shape, part: &Part) -> bool {
        self.entry.state == NodeState::Ready
            && self.amount.fits(&shape.amount)
            && self.entry.has_root(&shape.root)
            && self.entry.offers.meets(&part.needs)
    }

    /// Whether it could be any of the nodes of such a task.
    pub fn could_hold(&self, shape: &Shape) -> bool {
        shape.parts.iter().any(|part| self.could_be(shape, part))
    }
}

/// The view.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The last revision folded in.
    pub revision: i64,
    clock: (Tick, i64),
    locks: BTreeMap<Lockable, (LockEntry, i64)>,
    reserve: Option<ReserveEntry>,
    nodes: BTreeMap<NodeId, Peer>,
    queue: queue::Queue,
    /// Create revisions of the queue keys of tasks of several nodes: what offers are guarded by.
    gangs: BTreeMap<TaskId, i64>,
    usage: usage::Usage,
    /// The nodes in order, and how often that list has changed.
    fleet: (Vec<NodeId>, u64),
    fleet_changed: bool,
}

impl View {
    /// Replaces everything by the snapshot; entries that stay keep the time at which they were first seen.
    pub fn reset(&mut self, snapshot: &Snapshot, now: BootMs) {
        let old = std::mem::take(self);
        for fact in &snapshot.facts {
            self.apply(fact, now);
        }
        for (task, queued) in &old.queue.tasks {
            self.queue.seen_before(*task, queued);
        }
        self.revision = snapshot.revision;
    }

    /// Folds one fact in.
    pub fn apply(&mut self, fact: &Fact, now: BootMs) {
        match fact {
            Fact::Queued { task, entry, created } => {
                self.queue.put(*task, entry, *created, now);
                match entry.parts.is_empty() {
                    true => self.gangs.remove(task),
                    false => self.gangs.insert(*task, *created),
                };
            }
            Fact::NotQueued(task) => {
                self.queue.remove(*task);
                self.gangs.remove(task);
            }
            Fact::Running { task, node, entry } => self.usage.run(*task, *node, entry.clone()),
            Fact::NotRunning { task, node } => self.usage.stop(*task, *node),
            Fact::Offered { task, node, entry, .. } => self.usage.offer(*task, *node, entry.clone()),
            Fact::NotOffered { task, node } => self.usage.withdraw(*task, *node),
            Fact::NodeUp { node, entry, created } => {
                let amount = Amount { resources: entry.resources, counts: entry.counts.clone() };
                self.nodes.insert(*node, Peer { entry: entry.clone(), amount, created: *created });
                self.fleet_changed = true;
            }
            Fact::NodeDown(node) => self.fleet_changed |= self.nodes.remove(node).is_some(),
            Fact::Locked { what, entry, revision } => {
                self.locks.insert(what.clone(), (entry.clone(), *revision));
            }
            Fact::Unlocked(what) => {
                self.locks.remove(what);
            }
            Fact::Reserve(entry) => self.reserve = entry.clone(),
            Fact::Clock { tick, revision } => self.clock = (*tick, *revision),
        }
    }

    /// Lets entries whose back-off has passed into the plan, and finds out which nodes could hold what.
    pub fn ripen(&mut self, now: BootMs) {
        self.queue.ripen(now);
        if self.fleet_changed {
            self.fleet = (self.nodes.keys().copied().collect(), self.fleet.1 + 1);
            self.fleet_changed = false;
        }
        for line in self.queue.lines.iter_mut().flatten() {
            line.refresh(self.fleet.1, self.nodes.values());
        }
    }

    /// Whether nodes have neither come nor gone since the last [`View::ripen`]: else nothing is planned from it.
    pub fn is_settled(&self) -> bool {
        !self.fleet_changed
    }
    /// When the next entry's back-off has passed.
    pub fn next_ripe(&self) -> Option<BootMs> {
        self.queue.next_ripe()
    }
    /// The cluster's time, and the revision that wrote it (0 before there was a clock).
    pub fn clock(&self) -> (Tick, i64) {
        self.clock
    }
    /// What holds this back from taking or starting tasks, if anything does now.
    pub fn lock(&self, what: &Lockable) -> Option<&LockEntry> {
        self.locks.get(what).map(|(entry, _)| entry).filter(|entry| entry.holds(self.clock.0))
    }
    /// What keeps this node from taking tasks, if anything does now.
    pub fn lock_on(&self, peer: &Peer) -> Option<&LockEntry> {
        if self.locks.is_empty() { None } else { self.lock(&Lockable::Node(peer.entry.name.clone())) }
    }
    /// The revision of the lock that keeps this node from taking tasks, if one does now.
    pub fn lock_revision_on(&self, peer: &Peer) -> Option<i64> {
        self.lock_on(peer)?;
        self.locks.get(&Lockable::Node(peer.entry.name.clone())).map(|(_, revision)| *revision)
    }
    /// How many nodes are kept for people, if any are.
    pub fn reserve(&self) -> Option<&ReserveEntry> {
        self.reserve.as_ref()
    }
    /// Locks that are over at this time of the cluster, with the revision that wrote each.
    pub fn over_at(&self, at: Tick) -> impl Iterator<Item = (&Lockable, i64)> {
        let over = self.locks.iter().filter(move |(_, (entry, _))| !entry.holds(at));
        over.map(|(what, (_, revision))| (what, *revision))
    }
    /// Live nodes.
    pub fn nodes(&self) -> &BTreeMap<NodeId, Peer> {
        &self.nodes
    }
    /// The nodes in order, as the places of [`Line::able`] count them; as of the last [`View::ripen`].
    pub fn fleet(&self) -> &[NodeId] {
        &self.fleet.0
    }
    /// Queued tasks that may be taken now, by shape, in no useful order.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.queue.lines.iter().flatten().filter(|line| !line.orders.is_empty())
    }
    /// How many queued tasks may be taken now.
    pub fn ripe_len(&self) -> usize {
        self.queue.ripe()
    }
    /// A queued task.
    pub fn queued(&self, task: TaskId) -> Option<&Queued> {
        self.queue.tasks.get(&task)
    }
    /// The shape of a queued task.
    pub fn shape(&self, queued: &Queued) -> &Shape {
        let line = self.queue.lines.get(queued.line as usize).and_then(Option::as_ref);
        &line.expect("a queued task has a line").shape
    }
    /// How many tasks are queued.
    pub fn queue_len(&self) -> usize {
        self.queue.tasks.len()
    }
    /// All queued tasks, in no useful order.
    pub fn all_queued(&self) -> impl Iterator<Item = (TaskId, &Queued)> {
        self.queue.tasks.iter().map(|(task, queued)| (*task, queued))
    }
    /// The first of those from this place on that somebody has moved.
    pub fn moved_from(&self, from: Order) -> Option<Order> {
        self.queue.moved.range(from..).next().copied()
    }
    /// How far from this place those stand that somebody has moved to it, this one left out.
    pub fn steps_beside(&self, place: Place, without: TaskId) -> Vec<i32> {
        let moved = self.queue.moved.iter().filter(|order| order.task != without);
        moved.filter(|order| order.place().is_beside(place)).map(|order| order.step).collect()
    }
    /// The first and the last of the queue, without this task.
    pub fn ends_without(&self, task: TaskId) -> Option<(Order, Order)> {
        let others = self.all_queued().filter(|(other, _)| *other != task);
        others.map(|(other, queued)| queued.order(other)).fold(None, |ends, order| {
            let (first, last) = ends.unwrap_or((order, order));
            Some((first.min(order), last.max(order)))
        })
    }
    /// The revision that created the queue key of a task of several nodes.
    pub fn gang_created(&self, task: TaskId) -> Option<i64> {
        self.gangs.get(&task).copied()
    }
    /// Who keeps room for a task of several nodes, and what.
    pub fn offers(&self, task: TaskId) -> Option<&BTreeMap<NodeId, OfferEntry>> {
        self.usage.offers.get(&task)
    }
    /// For which tasks anybody keeps room.
    pub fn offered_tasks(&self) -> impl Iterator<Item = TaskId> {
        self.usage.offers.keys().copied()
    }
    /// For which tasks a node keeps room.
    pub fn offers_of(&self, node: NodeId) -> impl Iterator<Item = (TaskId, &OfferEntry)> {
        let all = self.usage.offers.iter();
        all.filter_map(move |(task, nodes)| nodes.get(&node).map(|entry| (*task, entry)))
    }
    /// What runs on a node, live or lost.
    pub fn running_on(&self, node: NodeId) -> impl Iterator<Item = (TaskId, &RunEntry)> {
        self.usage.running.get(&node).into_iter().flatten().map(|(task, entry)| (*task, entry))
    }
    /// The run entry of a task on a node.
    pub fn run_entry(&self, node: NodeId, task: TaskId) -> Option<&RunEntry> {
        self.usage.running.get(&node)?.get(&task)
    }
    /// How many tasks run on a node.
    pub fn running_len(&self, node: NodeId) -> usize {
        self.usage.running.get(&node).map_or(0, BTreeMap::len)
    }
    /// How many tasks run in all.
    pub fn running_total(&self) -> usize {
        let mut tasks: Vec<TaskId> = self.usage.running.values().flat_map(BTreeMap::keys).copied().collect();
        tasks.sort_unstable();
        tasks.dedup();
        tasks.len()
    }
    /// Nodes that have running tasks but no live key.
    pub fn lost_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.usage.running.keys().copied().filter(|node| !self.nodes.contains_key(node))
    }
    /// The live nodes in order, each with what is free on it, as the store says.
    pub fn rooms(&self) -> impl Iterator<Item = (&Peer, Amount)> {
        self.usage.left_of_all(self.nodes.iter().map(|(node, peer)| (*node, peer)))
    }
    /// What is free on a live node, as the store says.
    pub fn free_on(&self, node: NodeId) -> Amount {
        self.nodes.get(&node).map(|peer| self.usage.left_of(node, &peer.amount)).unwrap_or_default()
    }
}
