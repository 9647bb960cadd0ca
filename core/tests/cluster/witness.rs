//! What an observer outside the system sees of containers, and the promises it holds them to.

use shoal_core::id::{AttemptId, NodeId, TaskId};
use shoal_core::spec::OnNodeLoss;
use shoal_core::task::{ExitHow, Task, TaskState};
use shoal_core::transition::Outcome;
use std::collections::{BTreeMap, BTreeSet};

/// Above the slowest watch, the slowest timer and the grace, together.
const CANCEL_SEEN_MS: u64 = 2_500;
/// Within this time a requeue is proposed again only because the view has moved its task (a cancel, at most).
const REQUEUE_AGAIN_MS: u64 = 500;
const REQUEUES_MAX: u32 = 2;

#[derive(Default)]
pub struct Witness {
    /// By task and host: one of several nodes lives on several.
    alive: BTreeMap<(TaskId, usize), AttemptId>,
    executed: BTreeSet<(AttemptId, usize)>,
    ended: BTreeMap<(AttemptId, usize), Outcome>,
    canceled: BTreeMap<TaskId, u64>,
    requeues: BTreeMap<(NodeId, u64, AttemptId, NodeId), (u64, u32)>,
}

impl Witness {
    /// The attempt's program is executed now on this host.
    pub fn executes(&mut self, id: AttemptId, host: usize, record: &Task) -> Result<(), String> {
        let others = self.alive.range((id.task, 0)..=(id.task, usize::MAX));
        let overlap = |(on, other): (usize, &AttemptId)| on == host || *other != id || !record.is_gang();
        if let Some((_, other)) = others.map(|((_, on), other)| (*on, other)).find(|other| overlap(*other)) {
            return Err(format!("overlap: {other} lives and {id} starts"));
        }
        self.alive.insert((id.task, host), id);
        let before = self.executed.iter().any(|(other, _)| other.task == id.task && *other != id);
        if before && record.spec.on_node_loss == OnNodeLoss::Fail {
            return Err(format!("started twice: {id} and on_node_loss is fail"));
        }
        if !self.executed.insert((id, host)) {
            return Err(format!("started twice: {id}"));
        }
        Ok(())
    }

    /// The attempt is dead on this host now, however it ended (`None` where nobody was there to see it).
    pub fn dead(&mut self, id: AttemptId, host: usize, outcome: Option<&Outcome>) {
        if self.alive.get(&(id.task, host)) == Some(&id) {
            self.alive.remove(&(id.task, host));
        }
        if let Some(outcome) = outcome {
            self.ended.insert((id, host), outcome.clone());
        }
    }

    /// How many attempts ran on several hosts.
    pub fn gangs(&self) -> usize {
        let mut hosts: BTreeMap<AttemptId, usize> = BTreeMap::new();
        self.executed.iter().for_each(|(id, _)| *hosts.entry(*id).or_default() += 1);
        hosts.values().filter(|count| **count > 1).count()
    }

    /// Somebody's cancel was answered OK.
    pub fn cancel_accepted(&mut self, task: TaskId, now: u64) {
        self.canceled.insert(task, now);
    }

    /// A program ended by itself on a host that has met no fault since `trouble`.
    pub fn ends_by_itself(&self, task: TaskId, trouble: u64, now: u64) -> Result<(), String> {
        match self.canceled.get(&task) {
            Some(at) if trouble < *at && at + CANCEL_SEEN_MS < now => {
                Err(format!("cancel: {task} ran on for {} ms after its cancel was accepted", now - at))
            }
            _ => Ok(()),
        }
    }

    /// A node, in this life of its server, proposes that this attempt is lost.
    pub fn requeue_proposed(
        &mut self,
        by: (NodeId, u64),
        id: AttemptId,
        of: NodeId,
        now: u64,
    ) -> Result<(), String> {
        let (since, times) = self.requeues.entry((by.0, by.1, id, of)).or_insert((now, 0));
        if now - *since >= REQUEUE_AGAIN_MS {
            (*since, *times) = (now, 0);
        }
        *times += 1;
        if *times > REQUEUES_MAX {
            return Err(format!(
                "busy loop: {} proposes to requeue {id} {times} times in {} ms",
                by.0,
                now - *since
            ));
        }
        Ok(())
    }

    /// The store has written this record.
    pub fn recorded(&self, task: &Task) -> Result<(), String> {
        let mut alive = self.alive.range((task.id, 0)..=(task.id, usize::MAX)).map(|(_, id)| id);
        if let Some(id) = alive.next().filter(|_| task.node().is_none()) {
            return Err(format!("overlap: {id} lives and its record says {:?}", task.state));
        }
        if let TaskState::Complete { exit } = &task.state {
            if self.canceled.contains_key(&task.id) {
                return Err(format!("cancel: {} completed after its cancel was accepted", task.id));
            }
            if exit.how == ExitHow::Signal(9) {
                return Err(format!("exit truth: {} was killed by Shoal and is complete", task.attempt_id()));
            }
            let id = task.attempt_id();
            let mut ends = self.ended.range((id, 0)..=(id, usize::MAX)).map(|(_, outcome)| outcome);
            if !ends.any(|outcome| *outcome == Outcome::Exited(*exit)) {
                return Err(format!("exit truth: {} is complete and never ended so", task.attempt_id()));
            }
        }
        Ok(())
    }
}
