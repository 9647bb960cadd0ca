//! What holds for every policy and workload: nothing is lost, nothing starts twice, the pool is never overfull, a seed decides all, and backfill
//! moves no reservation to a later time.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use shoal_sim::engine::{Outcome, Record, run};
use shoal_sim::experiment::Experiment;
use shoal_sim::job::Job;
use shoal_sim::policy::easy::backfill::{Room, plan};
use shoal_sim::policy::easy::profile::Profile;
use shoal_sim::policy::named::{Named, Setting};
use shoal_sim::queue::{Queue, Rank, Waiting};
use shoal_sim::report::svg::svg;
use shoal_sim::workload::Workload;

const ALL: [Named; 5] =
    [Named::Workers, Named::Dispatcher(5), Named::Easy(0), Named::Easy(100), Named::Shoal];
const NODES: u32 = 20;
const RESERVE: u32 = 2;

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    let job = (0_u64..400_000, -500_i32..1000, 1_u32..=18, 1_u64..300_000, 50_u64..200);
    prop::collection::vec(job, 1..60).prop_map(|jobs| {
        let job = |(arrival_ms, priority, nodes, service_ms, percent): (u64, i32, u32, u64, u64)| {
            // Half of the estimates, and of the limits, are too short, half too long.
            let estimate_ms = service_ms * percent / 100;
            Job { id: 0, arrival_ms, priority, nodes, service_ms, estimate_ms, limit_ms: estimate_ms }
        };
        Workload::new(jobs.into_iter().map(job).collect(), 400_000).jobs
    })
}

/// The most nodes that were ever held at once.
fn held_max(records: &[Record]) -> u32 {
    let mut changes = Vec::new();
    for record in records {
        let start_ms = record.start_ms.unwrap();
        // What ends frees its nodes before others start in the same millisecond.
        changes.push((start_ms, 1, i64::from(record.job.nodes)));
        changes.push((record.end_ms, 0, -i64::from(record.job.nodes)));
    }
    changes.sort_unstable();
    let running = changes.iter().scan(0, |sum, change| {
        *sum += change.2;
        Some(*sum)
    });
    u32::try_from(running.max().unwrap_or(0)).unwrap()
}

proptest! {
    #[test]
    fn every_job_runs_once_to_its_end_and_the_reserve_stays_free(jobs in jobs(), seed in 0_u64..100) {
        for named in ALL {
            let mut policy = named.build(Setting { reserve: RESERVE, workers: 8 }, seed);
            let records = run(&jobs, NODES, policy.as_mut()).unwrap();
            prop_assert_eq!(records.len(), jobs.len());
            for (record, job) in records.iter().zip(&jobs) {
                prop_assert_eq!(record.job, *job);
                prop_assert_eq!(record.outcome, Outcome::Done, "{:?} {}", named, job.id);
                prop_assert!(record.start_ms.unwrap() >= job.arrival_ms);
                prop_assert_eq!(record.end_ms, record.start_ms.unwrap() + job.service_ms);
            }
            prop_assert!(held_max(&records) <= NODES - RESERVE, "{:?}", named);
        }
    }

    #[test]
    fn easys_reserved_start_never_moves_later_because_of_backfill(
        waiting in prop::collection::vec((0_i64..30, 1_u32..20, 1_u64..5000), 1..40),
        running in prop::collection::vec((1_u64..5000, 1_u32..6), 0..8),
        free in 0_u32..12,
    ) {
        let mut queue = Queue::default();
        for (id, (value, nodes, limit_ms)) in (0_u32..).zip(waiting) {
            queue.insert(Rank { band: 0, value, id }, Waiting { id, nodes, limit_ms });
        }
        let mut ends = running;
        ends.sort_unstable();
        let room = Room { now_ms: 0, free, ends: ends.iter().copied() };
        let first = plan(&queue, room);
        let started: u32 = first.starts.iter().map(|(_, job)| job.nodes).sum();
        prop_assert!(started <= free);
        // Let it happen, and look at what the promise is now: with the backfilled jobs running, its holder starts no later.
        for (_, job) in &first.starts {
            ends.push((job.limit_ms, job.nodes));
        }
        ends.sort_unstable();
        let profile = Profile::new(0, free - started, ends.iter().copied());
        if let Some(promised) = first.reservation {
            let now = profile.soonest(promised.job.nodes, promised.job.limit_ms).unwrap();
            prop_assert!(now <= promised.start_ms, "{now} is after {promised:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let bytes = || {
        let rows = Experiment { seeds: 1, ..Experiment::open(ALL.to_vec()) }.run().unwrap();
        (serde_json::to_string(&rows).unwrap(), svg("x", &rows))
    };
    assert_eq!(bytes(), bytes());
}
