//! Teuthology's dispatcher, since 2021: one serial server a machine type. It pops the head, spends `c` on it (fetching repositories, asking the
//! results database), then polls until the head's nodes are free. Nothing overtakes the job in its hand, however long that waits.
//!
//! So starts are at least `c` apart, and a wide job stops all behind it. Source: T#1546, reference/teuthology.md §3.

use super::workers::rank_of;
use super::{Action, Policy};
use crate::engine::Pool;
use crate::job::{Job, SECOND_MS};
use crate::queue::{Queue, Waiting};

/// How often it asks for the head's nodes, counted from the first time.
pub const POLL_MS: u64 = 10 * SECOND_MS;

/// What it can be set to.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// c: what each job costs the server, serially, before it asks for nodes.
    pub cost_ms: u64,
    /// R: nodes that jobs leave free for people.
    pub reserve: u32,
}

/// The policy.
#[derive(Debug)]
pub struct Dispatcher {
    params: Params,
    queue: Queue,
    /// The job in hand, and when it is first or next asked for.
    hand: Option<(Waiting, u64)>,
    wake_ms: Option<u64>,
}

impl Dispatcher {
    /// With nothing in hand.
    pub fn new(params: Params) -> Dispatcher {
        Dispatcher { params, queue: Queue::default(), hand: None, wake_ms: None }
    }

    fn fits(&self, job: &Waiting, free: u32) -> bool {
        u64::from(free) >= u64::from(job.nodes) + u64::from(self.params.reserve)
    }

    fn pop(&mut self, now_ms: u64) -> Option<(Waiting, u64)> {
        let (rank, job) = self.queue.first()?;
        self.queue.remove(rank);
        Some((job, now_ms + self.params.cost_ms))
    }
}

impl Policy for Dispatcher {
    fn name(&self) -> String {
        format!("dispatcher c={}s", self.params.cost_ms / SECOND_MS)
    }

    fn submitted(&mut self, job: &Job) {
        self.queue.insert(rank_of(job), Waiting::of(job));
    }

    fn decide(&mut self, now_ms: u64, pool: &Pool, actions: &mut Vec<Action>) {
        let mut free = pool.free;
        loop {
            let in_hand = match self.hand.take() {
                Some(in_hand) => Some(in_hand),
                None => self.pop(now_ms),
            };
            let Some((job, mut asks_ms)) = in_hand else {
                self.wake_ms = None;
                return;
            };
            // Polls that found nothing are skipped over: only an event can have changed the answer.
            asks_ms += now_ms.saturating_sub(asks_ms).div_ceil(POLL_MS) * POLL_MS;
            if asks_ms > now_ms || !self.fits(&job, free) {
                // Without room, or before `c` is spent, there is something to wake for only when it would fit then.
                self.wake_ms = (asks_ms > now_ms && self.fits(&job, free)).then_some(asks_ms);
                self.hand = Some((job, asks_ms));
                return;
            }
            free -= job.nodes;
            actions.push(Action::Start { job: job.id, kill_after_ms: None });
        }
    }

    fn wake_ms(&self) -> Option<u64> {
        self.wake_ms
    }
}
