//! Discrete events: arrivals, ends and the policy's wake-ups, in order of time. Holds what no policy may break: a job starts at most
//! once, and never on more nodes than are free.
//!
//! All events of one millisecond are told before the policy is asked once; arrivals come in order of id. An event costs O(log n)
//! besides what the policy does, so that 1,000 nodes and 1,000,000 jobs are a matter of seconds.

use crate::job::{Job, JobId};
use crate::policy::{Action, Policy};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// The nodes, all alike, and what runs on them as policies may know it.
#[derive(Clone, Debug)]
pub struct Pool {
    /// How many there are.
    pub nodes: u32,
    /// How many run nothing.
    pub free: u32,
    /// What runs: latest end (start plus limit), job, nodes; the soonest end first.
    pub running: BTreeSet<(u64, JobId, u32)>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran to its end.
    Done,
    /// It was killed, or given up while it waited.
    Dead,
    /// It never started: the policy left it, or it can never fit.
    Left,
}

/// What became of a job; records are in order of job ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The job.
    pub job: Job,
    /// When it started, if it did.
    pub start_ms: Option<u64>,
    /// When it ended or was given up; for what was left, the time of the last event.
    pub end_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// The policy asked for what cannot be: a defect of the policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Not waiting: never submitted, started before, or given up.
    #[error("policy {policy} acted at {now_ms} ms on job {job}, which does not wait")]
    NotWaiting {
        /// The policy's name.
        policy: String,
        /// The job.
        job: JobId,
        /// When.
        now_ms: u64,
    },
    /// More nodes than are free.
    #[error("policy {policy} started job {job} of {nodes} nodes at {now_ms} ms with {free} free")]
    NoRoom {
        /// The policy's name.
        policy: String,
        /// The job.
        job: JobId,
        /// What it needs.
        nodes: u32,
        /// What there was.
        free: u32,
        /// When.
        now_ms: u64,
    },
}

/// Runs `jobs` (in order of arrival, ids counting from 0) on `nodes` nodes until nothing is left to happen.
pub fn run(jobs: &[Job], nodes: u32, policy: &mut dyn Policy) -> Result<Vec<Record>, EngineError> {
    let mut engine = Engine::new(jobs, nodes);
    let mut actions = Vec::new();
    while let Some(now_ms) = engine.next_ms(policy.wake_ms()) {
        engine.now_ms = now_ms;
        engine.tell(policy);
        policy.decide(now_ms, &engine.pool, &mut actions);
        for action in actions.drain(..) {
            engine.act(action, policy)?;
        }
    }
    Ok(engine.finish())
}

struct Engine<'j> {
    jobs: &'j [Job],
    records: Vec<Record>,
    arrived: usize,
    ends: BinaryHeap<Reverse<(u64, JobId)>>,
    pool: Pool,
    now_ms: u64,
}

impl<'j> Engine<'j> {
    fn new(jobs: &'j [Job], nodes: u32) -> Engine<'j> {
        let left = |job: &Job| Record { job: *job, start_ms: None, end_ms: 0, outcome: Outcome::Left };
        Engine {
            jobs,
            records: jobs.iter().map(left).collect(),
            arrived: 0,
            ends: BinaryHeap::new(),
            pool: Pool { nodes, free: nodes, running: BTreeSet::new() },
            now_ms: 0,
        }
    }

    /// The time of the next event. A wake-up in the past comes one millisecond from now: time always goes on.
    fn next_ms(&self, wake_ms: Option<u64>) -> Option<u64> {
        let arrival = self.jobs.get(self.arrived).map(|job| job.arrival_ms);
        let end = self.ends.peek().map(|Reverse((at, _))| *at);
        let wake = wake_ms.map(|at| at.max(self.now_ms + 1));
        [arrival, end, wake].into_iter().flatten().min()
    }

    fn tell(&mut self, policy: &mut dyn Policy) {
        while let Some(Reverse((at, id))) = self.ends.peek().copied()
            && at <= self.now_ms
        {
            self.ends.pop();
            let record = &self.records[id as usize];
            let started = record.start_ms.unwrap_or(at);
            self.pool.running.remove(&(started + record.job.limit_ms, id, record.job.nodes));
            self.pool.free += record.job.nodes;
            policy.ended(&record.job);
        }
        while let Some(job) = self.jobs.get(self.arrived)
            && job.arrival_ms <= self.now_ms
        {
            self.arrived += 1;
            policy.submitted(job);
        }
    }

    fn act(&mut self, action: Action, policy: &dyn Policy) -> Result<(), EngineError> {
        let id = match action {
            Action::Start { job, .. } | Action::GiveUp(job) => job,
        };
        let waits = (id as usize) < self.arrived
            && self.records[id as usize].start_ms.is_none()
            && self.records[id as usize].outcome == Outcome::Left;
        if !waits {
            return Err(EngineError::NotWaiting { policy: policy.name(), job: id, now_ms: self.now_ms });
        }
        let record = &mut self.records[id as usize];
        match action {
            Action::GiveUp(_) => {
                record.end_ms = self.now_ms;
                record.outcome = Outcome::Dead;
            }
            Action::Start { kill_after_ms, .. } => {
                let job = record.job;
                let free = self.pool.free;
                let Some(rest) = free.checked_sub(job.nodes) else {
                    let (nodes, now_ms) = (job.nodes, self.now_ms);
                    return Err(EngineError::NoRoom { policy: policy.name(), job: id, nodes, free, now_ms });
                };
                let held_ms = job.service_ms.min(kill_after_ms.unwrap_or(u64::MAX));
                record.start_ms = Some(self.now_ms);
                record.end_ms = self.now_ms + held_ms;
                record.outcome = if held_ms < job.service_ms { Outcome::Dead } else { Outcome::Done };
                self.pool.free = rest;
                self.pool.running.insert((self.now_ms + job.limit_ms, id, job.nodes));
                self.ends.push(Reverse((record.end_ms, id)));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Vec<Record> {
        for record in self.records.iter_mut().filter(|record| record.outcome == Outcome::Left) {
            record.end_ms = self.now_ms;
        }
        self.records
    }
}
