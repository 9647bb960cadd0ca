//! A model of the store: records, the status index, node keys, one revision counter, and the log that watches read. Proposals are guarded
//! as `shoal_core::event::Action::Propose` says.

use crate::Plant;
use shoal_core::clock::Tick;
use shoal_core::entry::{NodeEntry, OfferEntry, StatusEntry};
use shoal_core::event::Decision;
use shoal_core::gang::Member;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::task::{Task, TaskState};
use shoal_core::time::{BootMs, WallMs};
use shoal_core::transition::{Outcome, Transition, apply};
use shoal_core::view::{Fact, Snapshot, View};
use std::collections::BTreeMap;

/// The ranges that a node watches; their order relative to each other is nobody's promise.
pub const RANGES: usize = 3;
const NODES: usize = 0;
const TASKS: usize = 1;
const CLOCK: usize = 2;

pub struct Record {
    pub task: Task,
    created: i64,
    modified: i64,
}

#[derive(Default)]
pub struct Store {
    plant: Plant,
    pub revision: i64,
    pub records: BTreeMap<TaskId, Record>,
    status: BTreeMap<TaskId, (StatusEntry, i64)>,
    nodes: BTreeMap<NodeId, (NodeEntry, i64)>,
    offers: BTreeMap<(TaskId, NodeId), (OfferEntry, i64)>,
    /// Per range: each revision's changes, never split.
    pub log: [Vec<(i64, Vec<Fact>)>; RANGES],
    clock: (Tick, i64),
    index: View,
}

impl Store {
    pub fn new(plant: Plant) -> Store {
        Store { plant, ..Store::default() }
    }

    fn write(&mut self, range: usize, facts: Vec<Fact>) {
        for fact in &facts {
            self.index.apply(fact, BootMs(0));
        }
        self.log[range].push((self.revision, facts));
    }

    pub fn submit(&mut self, batch: Vec<Task>) {
        self.revision += 1;
        let mut facts = Vec::new();
        for task in batch {
            let entry = StatusEntry::of(&task, None);
            facts.extend(put(&task, &entry, self.revision));
            self.status.insert(task.id, (entry, self.revision));
            self.records.insert(task.id, Record { task, created: self.revision, modified: self.revision });
        }
        self.write(TASKS, facts);
    }

    pub fn register(&mut self, node: NodeId, entry: NodeEntry) -> i64 {
        self.revision += 1;
        self.nodes.insert(node, (entry.clone(), self.revision));
        self.write(NODES, vec![Fact::NodeUp { node, entry, created: self.revision }]);
        self.revision
    }

    pub fn unregister(&mut self, node: NodeId) {
        if self.nodes.remove(&node).is_some() {
            self.revision += 1;
            self.write(NODES, vec![Fact::NodeDown(node)]);
            let gone: Vec<TaskId> =
                self.offers.keys().filter(|(_, on)| *on == node).map(|(task, _)| *task).collect();
            self.offers.retain(|(_, on), _| *on != node);
            if !gone.is_empty() {
                self.write(TASKS, gone.into_iter().map(|task| Fact::NotOffered { task, node }).collect());
            }
        }
    }

    /// A node keeps room for a task, if that still waits under this queue key; the revision.
    pub fn offer(&mut self, task: TaskId, node: NodeId, entry: OfferEntry, created: i64) -> Option<i64> {
        let waits = matches!(self.status.get(&task), Some((StatusEntry::Queued(_), at)) if *at == created);
        if !waits || !self.has_node(node) {
            return None;
        }
        self.revision += 1;
        self.offers.insert((task, node), (entry.clone(), self.revision));
        self.write(TASKS, vec![Fact::Offered { task, node, entry, created: self.revision }]);
        Some(self.revision)
    }

    /// It does not any more; whether it did, or has the task instead.
    pub fn withdraw(&mut self, task: TaskId, node: NodeId) -> bool {
        if self.offers.remove(&(task, node)).is_none() {
            return self.records.get(&task).is_some_and(|record| record.task.runs_on(node));
        }
        self.revision += 1;
        self.write(TASKS, vec![Fact::NotOffered { task, node }]);
        true
    }

    /// One step of the cluster's clock, if nobody has made it yet.
    pub fn advance(&mut self, to: Tick, after: i64) {
        if self.clock.1 == after {
            self.revision += 1;
            self.clock = (to, self.revision);
            self.write(CLOCK, vec![Fact::Clock { tick: to, revision: self.revision }]);
        }
    }

    pub fn has_node(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }

    fn guard(&self, task: TaskId, transition: &Transition) -> bool {
        match transition {
            Transition::Steal { members, .. } if !members.is_empty() => {
                let keeps = |member: &Member| self.offers.contains_key(&(task, member.node));
                members.iter().all(keeps)
            }
            Transition::Finish { .. } if self.plant == Plant::Unfenced => true,
            Transition::Steal { node, .. } | Transition::Finish { node, .. } => self.has_node(*node),
            Transition::Lose { node, .. } => self.plant == Plant::UnguardedRequeue || !self.has_node(*node),
            Transition::Cancel(_) | Transition::Adjust(_) => true,
        }
    }

    /// Decides a proposal. The error is a broken invariant.
    pub fn propose(&mut self, id: TaskId, transition: &Transition) -> Result<Decision, String> {
        let before = self.records.get(&id).map(|r| r.task.clone());
        let runs_here = match (transition, &before) {
            (Transition::Steal { node, .. }, Some(before)) => before.runs_on(*node),
            _ => false,
        };
        let Some(before) = before.filter(|_| self.guard(id, transition)) else {
            return Ok(Decision::Refused { runs_here });
        };
        let mut from = before.clone();
        let mut transition = transition.clone();
        if let (Plant::CancelForgotten, TaskState::Running { cancel, .. }) = (self.plant, &mut from.state) {
            *cancel = None;
        }
        if let (Plant::Unfenced, Transition::Finish { node, attempt, outcome: Outcome::Exited(_) }) =
            (self.plant, &mut transition)
            && let Some(owner) = from.node()
        {
            (*node, *attempt) = (owner, from.attempt);
        }
        let Ok(after) = apply(&from, &transition, WallMs(self.revision)) else {
            return Ok(Decision::Refused { runs_here });
        };
        self.change(&before, after)
    }

    fn change(&mut self, before: &Task, after: Task) -> Result<Decision, String> {
        if before.state.is_terminal() {
            return Err(format!("{} left a terminal state", before.id));
        }
        self.revision += 1;
        let revision = self.revision;
        let record = self.records.get_mut(&after.id).ok_or("no record")?;
        (record.task, record.modified) = (after.clone(), revision);
        let entry = StatusEntry::of(&after, Some(record.created));
        let old = self.status.insert(after.id, (entry.clone(), revision));
        let task = after.id;
        let mut facts = Vec::new();
        if matches!(old, Some((StatusEntry::Queued(_), _))) && after.state != TaskState::Queued {
            facts.push(Fact::NotQueued(task));
        }
        let gone = before.live_nodes().into_iter().filter(|node| !after.runs_on(*node));
        facts.extend(gone.map(|node| Fact::NotRunning { task, node }));
        if after.node().is_some() {
            let offers = self.offers.keys().filter(|(of, _)| *of == task);
            facts.extend(offers.map(|(_, node)| Fact::NotOffered { task, node: *node }));
            self.offers.retain(|(of, _), _| *of != task);
        }
        facts.extend(put(&after, &entry, revision));
        if revision % 2 == 0 {
            facts.reverse();
        }
        self.write(TASKS, facts);
        self.check_index(&after)?;
        Ok(Decision::Committed { task: Box::new(after), revision })
    }

    fn check_index(&self, task: &Task) -> Result<(), String> {
        let queued = self.index.queued(task.id).map(|q| q.attempt);
        let entries = |node: &NodeId| self.index.run_entry(*node, task.id).map(|e| (e.attempt, e.cancel));
        let all = task.attempts.iter().flat_map(|a| a.members.iter().map(|m| m.node).chain([a.node]));
        let stray = all.filter(|node| !task.runs_on(*node)).any(|node| entries(&node).is_some());
        let live = task.live_nodes();
        let agree = match &task.state {
            TaskState::Queued => queued == Some(task.attempt),
            TaskState::Running { .. } => {
                let as_it_is = Some((task.attempt, task.is_stopping()));
                queued.is_none() && !live.is_empty() && live.iter().all(|node| entries(node) == as_it_is)
            }
            _ => queued.is_none(),
        } && !stray;
        let bounded = task.attempt <= task.spec.max_attempts;
        match (agree, bounded) {
            (true, true) => Ok(()),
            (false, _) => Err(format!("status index of {} is not its record {:?}", task.id, task.state)),
            (_, false) => Err(format!("{} has attempt {}", task.id, task.attempt)),
        }
    }

    pub fn read(&self, task: TaskId) -> Option<(Task, i64)> {
        self.records.get(&task).map(|r| (r.task.clone(), r.modified))
    }

    pub fn list(&self) -> Snapshot {
        let nodes = self.nodes.iter().map(|(node, (entry, created))| Fact::NodeUp {
            node: *node,
            entry: entry.clone(),
            created: *created,
        });
        let live = self.status.iter().filter(|(_, (entry, _))| !matches!(entry, StatusEntry::Ended(_)));
        let tasks = live.flat_map(|(task, (entry, created))| put(&self.records[task].task, entry, *created));
        let offers = self.offers.iter().map(|((task, node), (entry, created))| Fact::Offered {
            task: *task,
            node: *node,
            entry: entry.clone(),
            created: *created,
        });
        let (tick, revision) = self.clock;
        let clock = (revision > 0).then_some(Fact::Clock { tick, revision });
        Snapshot { revision: self.revision, facts: nodes.chain(tasks).chain(offers).chain(clock).collect() }
    }
}

/// What the status keys of a task that has not ended say.
fn put(task: &Task, entry: &StatusEntry, created: i64) -> Vec<Fact> {
    let id = task.id;
    match entry {
        StatusEntry::Queued(entry) => vec![Fact::Queued { task: id, entry: entry.clone(), created }],
        StatusEntry::Running(entry) => {
            let running = |node| Fact::Running { task: id, node, entry: entry.clone() };
            task.live_nodes().into_iter().map(running).collect()
        }
        StatusEntry::Ended(_) => Vec::new(),
    }
}
