//! What defines each policy, on cases small enough to follow by hand: 4 nodes, none kept for people, times in seconds.

#![allow(clippy::unwrap_used)]

use shoal_sim::engine::{Outcome, run};
use shoal_sim::job::{HOUR_MS, Job, SECOND_MS, URGENT};
use shoal_sim::policy::named::{Named, Setting};
use shoal_sim::policy::workers::{Params, Workers};

/// (arrival s, priority, nodes, service s)
fn jobs(of: &[(u64, i32, u32, u64)]) -> Vec<Job> {
    let job = |(id, (arrival, priority, nodes, service)): (u32, &(u64, i32, u32, u64))| {
        let (arrival_ms, service_ms) = (arrival * SECOND_MS, service * SECOND_MS);
        Job {
            id,
            arrival_ms,
            priority: *priority,
            nodes: *nodes,
            service_ms,
            estimate_ms: service_ms,
            limit_ms: service_ms,
        }
    };
    (0..).zip(of).map(job).collect()
}

/// Starts in seconds.
fn starts(named: Named, of: &[(u64, i32, u32, u64)]) -> Vec<Option<u64>> {
    let mut policy = named.build(Setting { reserve: 0, workers: 3 }, 1);
    let records = run(&jobs(of), 4, policy.as_mut()).unwrap();
    records.iter().map(|record| record.start_ms.map(|ms| ms / SECOND_MS)).collect()
}

/// Half of the nodes are taken, the next job needs all, small ones wait behind it.
const WIDE_IN_THE_WAY: [(u64, i32, u32, u64); 4] =
    [(0, 0, 2, 1000), (1, 0, 4, 500), (2, 0, 2, 900), (3, 0, 2, 2000)];

#[test]
fn the_dispatchers_head_is_not_overtaken_and_each_start_costs_c() {
    assert_eq!(starts(Named::Dispatcher(5), &[(0, 0, 1, 100), (0, 0, 1, 100)]), [Some(5), Some(10)]);
    let seen = starts(Named::Dispatcher(5), &WIDE_IN_THE_WAY);
    // The second is asked for at 10 and every 10 s, and its nodes are free at 1005. The third is popped when that starts, asked for at 1015 and
    // every 10 s, and its nodes are free at 1510.
    assert_eq!(seen, [Some(5), Some(1010), Some(1515), Some(1520)]);
}

#[test]
fn an_impossible_head_stops_the_dispatcher_for_ever() {
    assert_eq!(starts(Named::Dispatcher(5), &[(0, 0, 5, 10), (0, 0, 1, 10)]), [None, None]);
    assert_eq!(starts(Named::Shoal, &[(0, 0, 5, 10), (0, 0, 1, 10)]), [None, Some(0)]);
}

#[test]
fn workers_let_small_jobs_pass_a_wide_one_and_only_so_many_enter() {
    let seen = starts(Named::Workers, &WIDE_IN_THE_WAY);
    assert!(seen[2] < seen[1], "{seen:?}");
    // Three workers: the fourth job is not looked at before one of the first three has ended, whatever it is.
    let seen = starts(Named::Workers, &[(0, 0, 1, 100), (0, 0, 1, 100), (0, 0, 1, 100), (0, 0, 1, 100)]);
    assert_eq!(seen, [Some(0), Some(0), Some(0), Some(100)]);
}

#[test]
fn workers_kill_by_the_time_since_the_pop_when_told_to() {
    let limit = Some(200 * SECOND_MS);
    let mut policy = Workers::new(Params { workers: 3, reserve: 0, job_ms_max: limit }, 1);
    let records = run(&jobs(&[(0, 0, 4, 150), (1, 0, 4, 100), (2, 0, 5, 1)]), 4, &mut policy).unwrap();
    let outcomes: Vec<_> = records.iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, [Outcome::Done, Outcome::Dead, Outcome::Dead]);
    assert!((200..=215).contains(&(records[1].end_ms / SECOND_MS)), "{:?}", records[1]);
}

#[test]
fn easy_fills_in_what_ends_before_the_promise_and_nothing_else() {
    assert_eq!(starts(Named::Easy(0), &WIDE_IN_THE_WAY), [Some(0), Some(1000), Some(2), Some(1500)]);
}

#[test]
fn easys_aging_lets_the_old_pass_even_the_urgent() {
    let of = [(0, 0, 4, 11 * 3600), (1, 0, 4, 10), (10 * 3600 + 100, 950, 4, 10)];
    assert_eq!(starts(Named::Easy(100), &of)[2], Some(11 * 3600 + 10));
    assert_eq!(starts(Named::Easy(0), &of)[2], Some(11 * 3600));
    assert_eq!(starts(Named::Shoal, &of)[2], Some(11 * 3600));
}

#[test]
fn shoal_takes_the_urgent_first_then_the_cheap_and_nobody_waits_for_ever() {
    let hours = HOUR_MS / SECOND_MS;
    let of = [(0, 0, 4, 100), (1, 0, 4, 4 * hours), (2, 0, 1, hours), (3, URGENT, 4, 100)];
    let seen = starts(Named::Shoal, &of);
    assert_eq!((seen[3], seen[2]), (Some(100), Some(200)));
    // Cheap jobs come without end, each taking three of four nodes: the dear one starts all the same.
    let mut endless = vec![(0, 0, 2, hours), (0, 0, 4, 2 * hours)];
    endless.extend((0..80).map(|n| (n * 1800, 0, 2, hours)));
    let seen = starts(Named::Shoal, &endless);
    assert!(seen[1].is_some_and(|start| start < 16 * hours), "{:?}", seen[1]);
}
