//! A model of the store: records, the status index, node keys, one revision counter, and the log that watches read. Proposals are guarded
//! as `shoal_core::event::Action::Propose` says.

use crate::Plant;
use shoal_core::clock::Tick;
use shoal_core::entry::{NodeEntry, StatusEntry};
use shoal_core::event::Decision;
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
            facts.push(put(task.id, &entry, self.revision));
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
        }
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

    fn guard(&self, transition: &Transition) -> bool {
        match transition {
            Transition::Finish { .. } if self.plant == Plant::Unfenced => true,
            Transition::Steal { node, .. } | Transition::Finish { node, .. } => self.has_node(*node),
            Transition::Lose { node, .. } => self.plant == Plant::UnguardedRequeue || !self.has_node(*node),
            Transition::Cancel(_) | Transition::Adjust(_) => true,
        }
    }

    /// Decides a proposal. The error is a broken invariant.
    pub fn propose(&mut self, id: TaskId, transition: &Transition) -> Result<Decision, String> {
        let Some(before) = self.records.get(&id).map(|r| r.task.clone()).filter(|_| self.guard(transition))
        else {
            return Ok(Decision::Refused);
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
            return Ok(Decision::Refused);
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
        let mut facts = Vec::new();
        match old {
            Some((StatusEntry::Queued(_), _)) if after.state != TaskState::Queued => {
                facts.push(Fact::NotQueued(after.id));
            }
            Some((StatusEntry::Running(node, _), _)) if after.node() != Some(node) => {
                facts.push(Fact::NotRunning { task: after.id, node });
            }
            _ => {}
        }
        if !after.state.is_terminal() {
            facts.push(put(after.id, &entry, revision));
        }
        if revision % 2 == 0 {
            facts.reverse();
        }
        self.write(TASKS, facts);
        self.check_index(&after)?;
        Ok(Decision::Committed { task: Box::new(after), revision })
    }

    fn check_index(&self, task: &Task) -> Result<(), String> {
        let queued = self.index.queued(task.id).map(|q| q.entry.attempt);
        let runs =
            task.node().and_then(|node| self.index.run_entry(node, task.id)).map(|e| (e.attempt, e.cancel));
        let agree = match &task.state {
            TaskState::Queued => queued == Some(task.attempt) && runs.is_none(),
            TaskState::Running { cancel, .. } => {
                queued.is_none() && runs == Some((task.attempt, cancel.is_some()))
            }
            _ => queued.is_none() && runs.is_none(),
        };
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
        let tasks = live.map(|(task, (entry, created))| put(*task, entry, *created));
        let (tick, revision) = self.clock;
        let clock = (revision > 0).then_some(Fact::Clock { tick, revision });
        Snapshot { revision: self.revision, facts: nodes.chain(tasks).chain(clock).collect() }
    }
}

fn put(task: TaskId, entry: &StatusEntry, created: i64) -> Fact {
    match entry {
        StatusEntry::Queued(entry) => Fact::Queued { task, entry: entry.clone(), created },
        StatusEntry::Running(node, entry) => Fact::Running { task, node: *node, entry: entry.clone() },
        StatusEntry::Ended(_) => Fact::NotQueued(task),
    }
}
