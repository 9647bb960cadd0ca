//! The job mix of reference/teuthology.md §4, and what that leaves open, chosen so that the tables of its §3 come out.
//!
//! Given: nodes 1/2/3/4/5-9/17-51 = 10/55/25/8/1/1 %; run lognormal, median 2,000 s, sigma 0.8, at most 12 h; reimage 900 s; runs of 1-25 jobs at
//! priorities 50-75, 60-100 jobs at 75-150, 200-400 jobs at 150-1000 (Teuthology's numbers: lower is sooner).
//!
//! Chosen: of 100 runs 50 are small, 20 middle, 30 large; sizes and small priorities uniform; large runs have priority 150, 200, 500 or 1000 in
//! 10, 5, 5 and 80 of 100 cases (the default is what most type); nodes of the classes 5-9 and 17-51 uniform; nodes, run and priority independent.

use crate::job::{HOUR_MS, Job, SECOND_MS, priority_of_teuthology};
use crate::rng::Rng;

/// Percent of jobs by class of nodes, and the classes, both ends included.
const NODES: [(u64, (u64, u64)); 6] =
    [(10, (1, 1)), (55, (2, 2)), (25, (3, 3)), (8, (4, 4)), (1, (5, 9)), (1, (17, 51))];
/// The median of the run, and the deviation of its logarithm.
const RUN_MEDIAN_MS: f64 = 2000.0 * SECOND_MS as f64;
const RUN_SIGMA: f64 = 0.8;
/// Teuthology's hard kill at Sepia.
const RUN_MS_MAX: u64 = 12 * HOUR_MS;
/// Deploying a clean system on every node.
const REIMAGE_MS: u64 = 900 * SECOND_MS;

/// Whether the class of 17 to 51 nodes takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Widths {
    /// Up to 9 nodes.
    Narrow,
    /// All.
    All,
}

/// One job of the mix.
pub fn job(rng: &mut Rng, widths: Widths, arrival_ms: u64, teuthology_priority: i32) -> Job {
    let classes = if widths == Widths::All { NODES.len() } else { NODES.len() - 1 };
    let weights = NODES.map(|(percent, _)| percent);
    let (low, high) = NODES[rng.weighted(&weights[..classes])].1;
    let nodes = rng.between(low, high) as u32;
    let run_ms = (rng.lognormal(RUN_MEDIAN_MS, RUN_SIGMA) as u64).min(RUN_MS_MAX);
    let service_ms = REIMAGE_MS + run_ms;
    let priority = priority_of_teuthology(teuthology_priority);
    Job { id: 0, arrival_ms, priority, nodes, service_ms, estimate_ms: service_ms, limit_ms: service_ms }
}

/// A run: how many jobs, at which of Teuthology's priorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Jobs of the run.
    pub jobs: u64,
    /// Lower is sooner.
    pub priority: i32,
}

/// Weights of the three kinds of runs: chosen (see the module).
const KINDS: [u64; 3] = [50, 20, 30];
/// Priorities of large runs and how often each is taken: chosen (see the module).
const LARGE: [i32; 4] = [150, 200, 500, 1000];
const LARGE_WEIGHTS: [u64; 4] = [10, 5, 5, 80];

/// One run.
pub fn run(rng: &mut Rng) -> Run {
    match rng.weighted(&KINDS) {
        0 => Run { jobs: rng.between(1, 25), priority: rng.between(50, 75) as i32 },
        1 => Run { jobs: rng.between(60, 100), priority: rng.between(75, 150) as i32 },
        _ => Run { jobs: rng.between(200, 400), priority: LARGE[rng.weighted(&LARGE_WEIGHTS)] },
    }
}
