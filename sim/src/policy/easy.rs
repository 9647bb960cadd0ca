//! EASY backfill with believed durations: in order of priority then submission; the first that cannot start is promised the soonest
//! time at which enough nodes come free, and what does not move that promise may start before it.
//!
//! Source: Lifka, "The ANL/IBM SP scheduling system", 1995. With aging, a job's priority rises with its waiting up to the top of Teuthology's scale
//! (its 0), and those at the top are in order of submission: that is the naive form which wrecks urgent latency (reference/teuthology.md §3).

pub mod backfill;
pub mod profile;

use super::{Action, Policy};
use crate::engine::Pool;
use crate::job::{HOUR_MS, Job, priority_of_teuthology};
use crate::queue::{Queue, Rank, Waiting};
use backfill::Room;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What it can be set to.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// R: nodes that jobs leave free for people.
    pub reserve: u32,
    /// Points of priority that an hour of waiting is worth; 0 is no aging.
    pub points_per_hour: u32,
}

/// The policy.
#[derive(Debug)]
pub struct Easy {
    params: Params,
    queue: Queue,
    /// When who reaches the top of the scale.
    ripens: BinaryHeap<Reverse<(u64, Rank)>>,
}

impl Easy {
    /// With an empty queue.
    pub fn new(params: Params) -> Easy {
        Easy { params, queue: Queue::default(), ripens: BinaryHeap::new() }
    }

    /// How long a job has to wait to reach the top.
    fn climb_ms(&self, job: &Job) -> u64 {
        let points = u64::try_from(priority_of_teuthology(0) - job.priority).unwrap_or(0);
        points * HOUR_MS / u64::from(self.params.points_per_hour.max(1))
    }

    /// Moves those that have reached the top there. Below it all rise alike, so that their order stands still.
    fn ripen(&mut self, now_ms: u64) {
        while let Some(Reverse((at, rank))) = self.ripens.peek().copied()
            && at <= now_ms
        {
            self.ripens.pop();
            if let Some(job) = self.queue.remove(rank) {
                self.queue.insert(Rank { band: 0, value: 0, id: job.id }, job);
            }
        }
    }
}

impl Policy for Easy {
    fn name(&self) -> String {
        match self.params.points_per_hour {
            0 => "easy".to_owned(),
            points => format!("easy aging={points}/h"),
        }
    }

    fn submitted(&mut self, job: &Job) {
        let mut rank = super::workers::rank_of(job);
        if self.params.points_per_hour > 0 {
            let top_ms = job.arrival_ms + self.climb_ms(job);
            rank = Rank { band: 1, value: i64::try_from(top_ms).unwrap_or(i64::MAX), id: job.id };
            self.ripens.push(Reverse((top_ms, rank)));
        }
        self.queue.insert(rank, Waiting::of(job));
    }

    fn decide(&mut self, now_ms: u64, pool: &Pool, actions: &mut Vec<Action>) {
        self.ripen(now_ms);
        let ends = pool.running.iter().map(|(end_ms, _, nodes)| (*end_ms, *nodes));
        let room = Room { now_ms, free: pool.free.saturating_sub(self.params.reserve), ends };
        let plan = backfill::plan(&self.queue, room);
        for (rank, job) in &plan.starts {
            self.queue.remove(*rank);
            actions.push(Action::Start { job: job.id, kill_after_ms: None });
        }
    }
}
