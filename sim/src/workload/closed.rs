//! The closed list: so many jobs, all there at the start, of no more than 9 nodes.

use super::Workload;
use super::mix::{self, Widths};
use crate::job::HOUR_MS;
use crate::rng::Rng;

/// By then a list of 1,000 jobs on 96 nodes is nearly done: what is not is the tail.
const HORIZON_MS: u64 = 24 * HOUR_MS;

/// `jobs_len` jobs at time 0.
pub fn closed(seed: u64, jobs_len: usize) -> Workload {
    let mut rng = Rng::new(seed);
    let mut jobs = Vec::with_capacity(jobs_len);
    while jobs.len() < jobs_len {
        let run = mix::run(&mut rng);
        for _ in 0..run.jobs.min((jobs_len - jobs.len()) as u64) {
            jobs.push(mix::job(&mut rng, Widths::Narrow, 0, run.priority));
        }
    }
    Workload::new(jobs, HORIZON_MS)
}
