//! Open arrivals under overload: runs come for some days, with more work in all than the nodes can do meanwhile.
//!
//! Arrivals are regular: each run comes in the middle of the time that its work stands for, so that work comes at a constant rate. That is a
//! choice: the reference says only "115 % load for 96 h". Runs at random times (Poisson) make waits a third longer than the reference's
//! and naive aging's urgent p95 26 h instead of its 17; regular ones come within a few per cent.

use super::Workload;
use super::mix::{self, Widths};
use crate::job::{HOUR_MS, Job};
use crate::rng::Rng;

/// What can be set.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// Nodes that the load is counted against; those kept for people are among them.
    pub nodes: u32,
    /// Work that comes, in percent of what all nodes can do in `hours`.
    pub load_percent: u32,
    /// For how long runs come.
    pub hours: u32,
}

/// Runs until their work reaches the load; the last one is cut there.
pub fn open(seed: u64, params: &Params) -> Workload {
    let mut rng = Rng::new(seed);
    let span_ms = u64::from(params.hours) * HOUR_MS;
    let wanted = u128::from(span_ms) * u128::from(params.nodes) * u128::from(params.load_percent) / 100;
    let mut work = 0;
    let mut jobs = Vec::new();
    while work < wanted {
        let before = work;
        let first = jobs.len();
        let run = mix::run(&mut rng);
        while jobs.len() - first < run.jobs as usize && work < wanted {
            let job = mix::job(&mut rng, Widths::All, 0, run.priority);
            work += node_ms(&job);
            jobs.push(job);
        }
        let arrival_ms = u128::from(span_ms) * (before + work) / (2 * wanted);
        for job in &mut jobs[first..] {
            job.arrival_ms = u64::try_from(arrival_ms).unwrap_or(u64::MAX);
        }
    }
    Workload::new(jobs, span_ms)
}

fn node_ms(job: &Job) -> u128 {
    u128::from(job.nodes) * u128::from(job.service_ms)
}
