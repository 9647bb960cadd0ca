//! Teuthology's workers, until 2024: W workers a machine type. Each pops the head of the queue, then polls for nodes and runs to the end;
//! it is held throughout.
//!
//! At each poll those that wait try in random order, so the small ones win the race: priority holds only for entry to the window
//! of W, and a wide job waits until chance leaves it enough nodes. Source: `teuthology/worker.py` up to 3350def8^,
//! reference/teuthology.md §3.

use super::{Action, Policy};
use crate::engine::Pool;
use crate::job::{Job, SECOND_MS};
use crate::queue::{Queue, Rank, Waiting};
use crate::rng::Rng;

/// How often a waiting worker asks for nodes. All ask at the same multiples; which of them is first is chance.
pub const POLL_MS: u64 = 10 * SECOND_MS;

/// What they can be set to.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// W.
    pub workers: u32,
    /// R: nodes that jobs leave free for people.
    pub reserve: u32,
    /// Kill what has lasted so long *since it was popped*: waiting counts. `None` as in the reference run.
    pub job_ms_max: Option<u64>,
}

/// The policy.
#[derive(Debug)]
pub struct Workers {
    params: Params,
    queue: Queue,
    /// Popped and waiting for nodes, with the time of the pop.
    window: Vec<(Waiting, u64)>,
    running: u32,
    rng: Rng,
    wake_ms: Option<u64>,
}

impl Workers {
    /// With idle workers and an empty queue. `seed` decides the races.
    pub fn new(params: Params, seed: u64) -> Workers {
        let rng = Rng::new(seed ^ 0x776f_726b_6572_7321);
        Workers { params, queue: Queue::default(), window: Vec::new(), running: 0, rng, wake_ms: None }
    }

    fn pop(&mut self, now_ms: u64) {
        while self.window.len() as u64 + u64::from(self.running) < u64::from(self.params.workers)
            && let Some((rank, job)) = self.queue.first()
        {
            self.queue.remove(rank);
            self.window.push((job, now_ms));
        }
    }

    fn give_up_the_old(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let Some(limit_ms) = self.params.job_ms_max else { return };
        self.window.retain(|(job, popped_ms)| {
            let young = now_ms - popped_ms < limit_ms;
            if !young {
                actions.push(Action::GiveUp(job.id));
            }
            young
        });
    }

    /// Those that wait try in random order; returns what is free then.
    fn race(&mut self, now_ms: u64, mut free: u32, actions: &mut Vec<Action>) -> u32 {
        self.rng.shuffle(&mut self.window);
        let (params, running) = (self.params, &mut self.running);
        self.window.retain(|(job, popped_ms)| {
            if u64::from(free) < u64::from(job.nodes) + u64::from(params.reserve) {
                return true;
            }
            free -= job.nodes;
            *running += 1;
            let kill_after_ms = params.job_ms_max.map(|limit_ms| limit_ms - (now_ms - popped_ms));
            actions.push(Action::Start { job: job.id, kill_after_ms });
            false
        });
        free
    }
}

/// Teuthology's order: priority, then order of submission.
pub(super) fn rank_of(job: &Job) -> Rank {
    Rank { band: 0, value: -i64::from(job.priority), id: job.id }
}

impl Policy for Workers {
    fn name(&self) -> String {
        format!("workers W={}", self.params.workers)
    }

    fn submitted(&mut self, job: &Job) {
        self.queue.insert(rank_of(job), Waiting::of(job));
    }

    fn ended(&mut self, _job: &Job) {
        self.running -= 1;
    }

    fn decide(&mut self, now_ms: u64, pool: &Pool, actions: &mut Vec<Action>) {
        let mut free = pool.free;
        self.pop(now_ms);
        // Nothing changes between polls but by an event, so only the poll after an event is simulated.
        if now_ms.is_multiple_of(POLL_MS) {
            self.give_up_the_old(now_ms, actions);
            free = self.race(now_ms, free, actions);
            self.pop(now_ms);
        }
        self.wake_ms = self.next_poll_ms(now_ms, free);
    }

    fn wake_ms(&self) -> Option<u64> {
        self.wake_ms
    }
}

impl Workers {
    /// The next poll at which somebody could start or be given up.
    fn next_poll_ms(&self, now_ms: u64, free: u32) -> Option<u64> {
        let smallest = self.window.iter().map(|(job, _)| job.nodes).min()?;
        let poll = |at: u64| (at / POLL_MS + 1) * POLL_MS;
        let roomy = u64::from(free) >= u64::from(smallest) + u64::from(self.params.reserve);
        let oldest = self.window.iter().map(|(_, popped_ms)| *popped_ms).min();
        let limit = self.params.job_ms_max.zip(oldest).map(|(limit_ms, at)| poll(now_ms.max(at + limit_ms)));
        if roomy { Some(poll(now_ms)) } else { limit }
    }
}
