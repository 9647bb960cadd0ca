//! What a node knows of the cluster: the status and node keys, folded from the store's events in revision order.
//! Equal facts give an equal view on every node; only `seen`, the local time at which an entry was first seen, differs.

use crate::backoff;
use crate::clock::Tick;
use crate::entry::{NodeEntry, NodeState, QueueEntry, RunEntry};
use crate::features::Features;
use crate::id::{NodeId, TaskId};
use crate::lock::{LockEntry, Lockable};
use crate::priority::Rank;
use crate::resources::Resources;
use crate::time::BootMs;
use std::collections::{BTreeMap, BTreeSet};

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
    /// Only `Queued`, `Running`, `NodeUp`, `Locked` and `Clock`.
    pub facts: Vec<Fact>,
}

/// Position in the queue: by priority and waiting, then submission's revision, then position in the request, then id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// By priority and waiting.
    pub rank: Rank,
    /// The store revision of the submission.
    pub revision: i64,
    /// Position inside the request.
    pub seq: u32,
    /// The task.
    pub task: TaskId,
}

/// What tasks must have in common to be interchangeable for placement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// What each needs.
    pub resources: Resources,
    /// The root it needs.
    pub root: String,
    /// What else it needs that not every node offers.
    pub needs: Features,
}

/// A queued task.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Its entry.
    pub entry: QueueEntry,
    /// Its place.
    pub order: Order,
    /// When this node first saw the entry.
    pub seen: BootMs,
}

impl Queued {
    /// What a node must offer for it.
    pub fn shape(&self) -> Shape {
        let entry = &self.entry;
        Shape { resources: entry.resources, root: entry.root.clone(), needs: entry.needs.clone() }
    }
    /// When any node may take it.
    pub fn ripe_at(&self) -> BootMs {
        self.seen.plus(backoff::wait_ms(self.entry.attempt))
    }
}

/// A live node.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What it says of itself.
    pub entry: NodeEntry,
    /// The revision that created its key: its fencing token.
    pub created: i64,
}

impl Peer {
    /// Whether a task of this shape could run on it when it is empty.
    pub fn could_hold(&self, shape: &Shape) -> bool {
        self.entry.state == NodeState::Ready
            && self.entry.resources.fits(&shape.resources)
            && self.entry.has_root(&shape.root)
            && self.entry.offers.meets(&shape.needs)
    }
}

/// The view.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The last revision folded in.
    pub revision: i64,
    clock: (Tick, i64),
    locks: BTreeMap<Lockable, (LockEntry, i64)>,
    nodes: BTreeMap<NodeId, Peer>,
    queued: BTreeMap<TaskId, Queued>,
    ripe: BTreeMap<Shape, BTreeSet<Order>>,
    unripe: BTreeSet<(BootMs, TaskId)>,
    running: BTreeMap<NodeId, BTreeMap<TaskId, RunEntry>>,
    used: BTreeMap<NodeId, Resources>,
}

impl View {
    /// Replaces everything by the snapshot; entries that stay keep the time at which they were first seen.
    pub fn reset(&mut self, snapshot: &Snapshot, now: BootMs) {
        let old = std::mem::take(self);
        for fact in &snapshot.facts {
            self.apply(fact, now);
        }
        for (task, queued) in old.queued {
            let same = self.queued.get(&task).is_some_and(|q| q.entry.attempt == queued.entry.attempt);
            if same && let Some(now_queued) = self.unlink(task) {
                self.link(task, Queued { seen: queued.seen, ..now_queued });
            }
        }
        self.revision = snapshot.revision;
    }

    /// Folds one fact in.
    pub fn apply(&mut self, fact: &Fact, now: BootMs) {
        match fact {
            Fact::Queued { task, entry, created } => {
                let before = self.unlink(*task).filter(|queued| queued.entry.attempt == entry.attempt);
                let order = Order {
                    rank: Rank::of(entry.priority, entry.tick),
                    revision: entry.order.unwrap_or(*created),
                    seq: entry.seq,
                    task: *task,
                };
                let seen = before.map_or(now, |queued| queued.seen);
                self.link(*task, Queued { entry: entry.clone(), order, seen });
            }
            Fact::NotQueued(task) => {
                self.unlink(*task);
            }
            Fact::Running { task, node, entry } => {
                self.drop_running(*task, *node);
                let used = self.used.entry(*node).or_default();
                *used = used.plus(&entry.resources);
                self.running.entry(*node).or_default().insert(*task, entry.clone());
            }
            Fact::NotRunning { task, node } => self.drop_running(*task, *node),
            Fact::NodeUp { node, entry, created } => {
                self.nodes.insert(*node, Peer { entry: entry.clone(), created: *created });
            }
            Fact::NodeDown(node) => {
                self.nodes.remove(node);
            }
            Fact::Locked { what, entry, revision } => {
                self.locks.insert(what.clone(), (entry.clone(), *revision));
            }
            Fact::Unlocked(what) => {
                self.locks.remove(what);
            }
            Fact::Clock { tick, revision } => self.clock = (*tick, *revision),
        }
    }

    fn link(&mut self, task: TaskId, queued: Queued) {
        if !queued.entry.held {
            self.unripe.insert((queued.ripe_at(), task));
        }
        self.queued.insert(task, queued);
    }

    fn unlink(&mut self, task: TaskId) -> Option<Queued> {
        let queued = self.queued.remove(&task)?;
        if !self.unripe.remove(&(queued.ripe_at(), task)) {
            let shape = queued.shape();
            if let Some(orders) = self.ripe.get_mut(&shape) {
                orders.remove(&queued.order);
                if orders.is_empty() {
                    self.ripe.remove(&shape);
                }
            }
        }
        Some(queued)
    }

    fn drop_running(&mut self, task: TaskId, node: NodeId) {
        let Some(tasks) = self.running.get_mut(&node) else { return };
        if let Some(entry) = tasks.remove(&task) {
            let used = self.used.entry(node).or_default();
            *used = used.minus(&entry.resources);
        }
        if tasks.is_empty() {
            self.running.remove(&node);
            self.used.remove(&node);
        }
    }

    /// Lets entries whose back-off has passed into the plan.
    pub fn ripen(&mut self, now: BootMs) {
        while let Some((at, task)) = self.unripe.first().copied()
            && at <= now
        {
            self.unripe.remove(&(at, task));
            if let Some(queued) = self.queued.get(&task) {
                self.ripe.entry(queued.shape()).or_default().insert(queued.order);
            }
        }
    }

    /// When [`View::ripen`] has something to do.
    pub fn next_ripe(&self) -> Option<BootMs> {
        self.unripe.first().map(|(at, _)| *at)
    }

    /// The cluster's clock, and the revision that wrote it; the beginning and 0 before there is one.
    pub fn clock(&self) -> (Tick, i64) {
        self.clock
    }
    /// The lock that holds on it now.
    pub fn lock(&self, what: &Lockable) -> Option<&LockEntry> {
        self.locks.get(what).map(|(entry, _)| entry).filter(|entry| entry.holds(self.clock.0))
    }
    /// The lock that keeps this node from taking tasks.
    pub fn lock_on(&self, peer: &Peer) -> Option<&LockEntry> {
        // Hardly ever is anything locked, and this is asked for each node and plan.
        if self.locks.is_empty() { None } else { self.lock(&Lockable::Node(peer.entry.name.clone())) }
    }
    /// Locks that do not hold any more at `at`, with the revisions that wrote them.
    pub fn over_at(&self, at: Tick) -> impl Iterator<Item = (&Lockable, i64)> {
        let over = self.locks.iter().filter(move |(_, (entry, _))| !entry.holds(at));
        over.map(|(what, (_, revision))| (what, *revision))
    }
    /// Live nodes.
    pub fn nodes(&self) -> &BTreeMap<NodeId, Peer> {
        &self.nodes
    }
    /// Queued tasks that may be taken now, by shape, each in queue order.
    pub fn ripe(&self) -> &BTreeMap<Shape, BTreeSet<Order>> {
        &self.ripe
    }
    /// A queued task.
    pub fn queued(&self, task: TaskId) -> Option<&Queued> {
        self.queued.get(&task)
    }
    /// How many tasks are queued.
    pub fn queue_len(&self) -> usize {
        self.queued.len()
    }
    /// All queued tasks, in no useful order.
    pub fn all_queued(&self) -> impl Iterator<Item = &Queued> {
        self.queued.values()
    }
    /// What runs on a node, live or lost.
    pub fn running_on(&self, node: NodeId) -> impl Iterator<Item = (TaskId, &RunEntry)> {
        self.running.get(&node).into_iter().flatten().map(|(task, entry)| (*task, entry))
    }
    /// The run entry of a task on a node.
    pub fn run_entry(&self, node: NodeId, task: TaskId) -> Option<&RunEntry> {
        self.running.get(&node)?.get(&task)
    }
    /// How many tasks run on a node.
    pub fn running_len(&self, node: NodeId) -> usize {
        self.running.get(&node).map_or(0, BTreeMap::len)
    }
    /// How many tasks run in all.
    pub fn running_total(&self) -> usize {
        self.running.values().map(BTreeMap::len).sum()
    }
    /// Nodes that have running tasks but no live key.
    pub fn lost_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.running.keys().copied().filter(|node| !self.nodes.contains_key(node))
    }
    /// What is free on a live node, as the store says.
    pub fn free_on(&self, node: NodeId) -> Resources {
        let total = self.nodes.get(&node).map(|peer| peer.entry.resources).unwrap_or_default();
        total.minus(&self.used.get(&node).copied().unwrap_or_default())
    }
}
