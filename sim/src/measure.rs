//! What a simulation came to: makespan, average running, utilisation, waits by width and by band, inversions, what was unfinished.

use crate::engine::{Outcome, Record};
use crate::job::{Band, HOUR_MS, Width};
use serde::Serialize;

/// Waits of a class of jobs, in hours, from submission to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Waits {
    /// How many jobs started.
    pub jobs: f64,
    /// Mean wait.
    pub mean_h: f64,
    /// What 95 of 100 do not exceed (nearest rank).
    pub p95_h: f64,
    /// The longest.
    pub max_h: f64,
}

/// All measures of one simulation, or their means over several.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measures {
    /// From the first submission to the last end.
    pub makespan_h: f64,
    /// Time-average of the number of running jobs.
    pub running_mean: f64,
    /// Node-hours used, in percent of the pool's during the makespan.
    pub utilisation_percent: f64,
    /// Waits of all jobs.
    pub all: Waits,
    /// Waits by width, in the order of [`Width::ALL`].
    pub by_width: [Waits; 4],
    /// Waits of jobs of 4 nodes and more: a column of the reference's first table.
    pub four_and_more: Waits,
    /// Waits by band, in the order of [`Band::ALL`].
    pub by_band: [Waits; 4],
    /// Of the pairs of jobs submitted at the same time, percent in which the later in (priority, submission) order started first.
    pub inversions_percent: f64,
    /// Jobs that had not ended by the workload's horizon.
    pub unfinished: f64,
    /// Jobs that were killed or given up.
    pub dead: f64,
    /// Jobs that never started.
    pub left: f64,
}

/// Measures the records of one simulation on `nodes` nodes.
pub fn measure(records: &[Record], nodes: u32, horizon_ms: u64) -> Measures {
    let started = || records.iter().filter(|record| record.start_ms.is_some());
    let first_ms = records.iter().map(|record| record.job.arrival_ms).min().unwrap_or(0);
    let last_ms = started().map(|record| record.end_ms).max().unwrap_or(first_ms);
    let span_ms = (last_ms - first_ms).max(1) as f64;
    let held = |record: &Record| record.end_ms - record.start_ms.unwrap_or(record.end_ms);
    let job_ms: u64 = started().map(held).sum();
    let node_ms: u64 = started().map(|record| held(record) * u64::from(record.job.nodes)).sum();
    let count = |wanted: Outcome| records.iter().filter(|record| record.outcome == wanted).count() as f64;
    let unfinished = |record: &&Record| record.outcome == Outcome::Left || record.end_ms > horizon_ms;
    Measures {
        makespan_h: span_ms / HOUR_MS as f64,
        running_mean: job_ms as f64 / span_ms,
        utilisation_percent: 100.0 * node_ms as f64 / (span_ms * f64::from(nodes.max(1))),
        all: waits(records, |_| true),
        by_width: Width::ALL.map(|width| waits(records, |record| Width::of(record.job.nodes) == width)),
        four_and_more: waits(records, |record| record.job.nodes >= 4),
        by_band: Band::ALL.map(|band| waits(records, |record| Band::of(record.job.priority) == band)),
        inversions_percent: inversions_percent(records),
        unfinished: records.iter().filter(unfinished).count() as f64,
        dead: count(Outcome::Dead),
        left: count(Outcome::Left),
    }
}

fn waits(records: &[Record], wanted: impl Fn(&Record) -> bool) -> Waits {
    let wait_ms = |record: &Record| record.start_ms.map(|start_ms| start_ms - record.job.arrival_ms);
    let mut found: Vec<u64> = records.iter().filter(|record| wanted(record)).filter_map(wait_ms).collect();
    found.sort_unstable();
    let Some(longest) = found.last() else { return Waits::default() };
    let hours = |ms: u64| ms as f64 / HOUR_MS as f64;
    Waits {
        jobs: found.len() as f64,
        mean_h: hours(found.iter().sum::<u64>()) / found.len() as f64,
        p95_h: hours(found[(found.len() * 95).div_ceil(100) - 1]),
        max_h: hours(*longest),
    }
}

/// Counted with a Fenwick tree over starts: O(n log n).
fn inversions_percent(records: &[Record]) -> f64 {
    let mut order: Vec<(u64, i32, u32, u64)> = records
        .iter()
        .filter_map(|record| {
            Some((record.job.arrival_ms, -record.job.priority, record.job.id, record.start_ms?))
        })
        .collect();
    order.sort_unstable();
    let (mut inverted, mut pairs) = (0_u64, 0_u64);
    for batch in order.chunk_by(|a, b| a.0 == b.0) {
        let mut starts: Vec<u64> = batch.iter().map(|entry| entry.3).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut tree = vec![0_u64; starts.len() + 1];
        for (before, entry) in (0_u64..).zip(batch) {
            let place = starts.partition_point(|start| *start < entry.3) + 1;
            inverted += before - sum(&tree, place);
            pairs += before;
            add(&mut tree, place);
        }
    }
    if pairs == 0 { 0.0 } else { 100.0 * inverted as f64 / pairs as f64 }
}

/// How many were added at or before `place`.
fn sum(tree: &[u64], mut place: usize) -> u64 {
    let mut total = 0;
    while place > 0 {
        total += tree[place];
        place &= place - 1;
    }
    total
}

fn add(tree: &mut [u64], mut place: usize) {
    while let Some(cell) = tree.get_mut(place) {
        *cell += 1;
        place += place & place.wrapping_neg();
    }
}

impl Waits {
    fn mean(of: &[Waits]) -> Waits {
        let mean = |value: fn(&Waits) -> f64| mean(of.iter().map(value));
        Waits {
            jobs: mean(|w| w.jobs),
            mean_h: mean(|w| w.mean_h),
            p95_h: mean(|w| w.p95_h),
            max_h: mean(|w| w.max_h),
        }
    }
}

impl Measures {
    /// The mean of each measure over several simulations.
    pub fn mean(of: &[Measures]) -> Measures {
        let number = |value: fn(&Measures) -> f64| mean(of.iter().map(value));
        let class =
            |value: &dyn Fn(&Measures) -> Waits| Waits::mean(&of.iter().map(value).collect::<Vec<_>>());
        Measures {
            makespan_h: number(|m| m.makespan_h),
            running_mean: number(|m| m.running_mean),
            utilisation_percent: number(|m| m.utilisation_percent),
            all: class(&|m| m.all),
            by_width: [0, 1, 2, 3].map(|index| class(&|m| m.by_width[index])),
            four_and_more: class(&|m| m.four_and_more),
            by_band: [0, 1, 2, 3].map(|index| class(&|m| m.by_band[index])),
            inversions_percent: number(|m| m.inversions_percent),
            unfinished: number(|m| m.unfinished),
            dead: number(|m| m.dead),
            left: number(|m| m.left),
        }
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Job, priority_of_teuthology};

    /// (arrival h, start h, hours, nodes, priority)
    fn records(of: &[(u64, u64, u64, u32, i32)]) -> Vec<Record> {
        let record =
            |(id, &(arrival, start, hours, nodes, priority)): (usize, &(u64, u64, u64, u32, i32))| {
                let (arrival_ms, service_ms) = (arrival * HOUR_MS, hours * HOUR_MS);
                let job = Job {
                    id: id as u32,
                    arrival_ms,
                    priority,
                    nodes,
                    service_ms,
                    estimate_ms: service_ms,
                    limit_ms: service_ms,
                };
                let end_ms = (start + hours) * HOUR_MS;
                Record { job, start_ms: Some(start * HOUR_MS), end_ms, outcome: Outcome::Done }
            };
        of.iter().enumerate().map(record).collect()
    }

    #[test]
    fn a_small_case_is_measured_by_hand() {
        let default = priority_of_teuthology(1000);
        let records = records(&[(0, 0, 2, 1, default), (0, 2, 2, 3, default), (1, 4, 4, 9, 950)]);
        let seen = measure(&records, 10, 4 * HOUR_MS);
        assert_eq!((seen.makespan_h, seen.running_mean), (8.0, 1.0));
        assert_eq!(seen.utilisation_percent, 100.0 * f64::from(2 + 6 + 36) / 80.0);
        assert_eq!((seen.all.mean_h, seen.all.p95_h, seen.all.max_h), (5.0 / 3.0, 3.0, 3.0));
        assert_eq!(seen.by_width.map(|waits| waits.jobs), [1.0, 1.0, 0.0, 1.0]);
        assert_eq!(seen.by_band.map(|waits| waits.max_h), [3.0, 0.0, 0.0, 2.0]);
        assert_eq!(seen.unfinished, 1.0);
    }

    #[test]
    fn inversions_count_pairs_of_one_arrival_in_order_of_priority_then_submission() {
        // In order: 1 (urgent), 0, 2; started 5, 1, 1. Only the pairs with the urgent one are inverted; equal starts are not.
        let seen = records(&[(0, 1, 1, 1, 0), (0, 5, 1, 1, 950), (0, 1, 1, 1, 0), (1, 0, 1, 1, 0)]);
        assert_eq!(inversions_percent(&seen), 100.0 * 2.0 / 3.0);
    }
}
