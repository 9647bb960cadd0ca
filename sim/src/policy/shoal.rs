//! Shoal's policy in the engine: keeps the queue in the order of [`crate::shoal::order`], asks [`crate::shoal::plan`] what starts.

use super::{Action, Policy};
use crate::engine::Pool;
use crate::job::Job;
use crate::queue::{Queue, Waiting};
use crate::shoal::order;
use crate::shoal::plan::{self, Room};

/// What it can be set to.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// The order of the queue.
    pub order: order::Params,
    /// R: nodes that jobs leave free for people.
    pub reserve: u32,
    /// How many jobs that cannot start get a reservation.
    pub reservations_max: usize,
}

/// The policy.
#[derive(Debug)]
pub struct Shoal {
    params: Params,
    queue: Queue,
}

impl Shoal {
    /// With an empty queue.
    pub fn new(params: Params) -> Shoal {
        Shoal { params, queue: Queue::default() }
    }
}

impl Policy for Shoal {
    fn name(&self) -> String {
        match self.params.order.charge_ms_max {
            0 => "shoal-flat".to_owned(),
            _ => "shoal".to_owned(),
        }
    }

    fn submitted(&mut self, job: &Job) {
        self.queue.insert(order::rank(job, &self.params.order), Waiting::of(job));
    }

    fn decide(&mut self, now_ms: u64, pool: &Pool, actions: &mut Vec<Action>) {
        let ends = pool.running.iter().map(|(end_ms, _, nodes)| (*end_ms, *nodes));
        let room = Room { now_ms, free: pool.free.saturating_sub(self.params.reserve), ends };
        let plan = plan::plan(&self.queue, room, self.params.reservations_max);
        for (rank, job) in &plan.starts {
            self.queue.remove(*rank);
            actions.push(Action::Start { job: job.id, kill_after_ms: None });
        }
    }
}
