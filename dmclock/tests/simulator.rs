//! The configurations of the reference's simulator, replayed: the faithful mode against the figures of an independent replay ("virtual" in the specification),
//! and the corrected mode against what is fair.

#![allow(clippy::unwrap_used)]

mod support;

use dmclock::{Config, Tagging};
use support::sim::{Clients, Outcome, Scenario, run};

const SEED: u64 = 1;

fn both(scenario: &Scenario) -> [Outcome; 2] {
    [Config::faithful(), Config::corrected()].map(|config| run(scenario, config, SEED))
}

/// Every client's rate in this window is one of these, to within `tolerance`.
#[track_caller]
fn assert_rates(outcome: &Outcome, window_s: (f64, f64), expected: &[f64], tolerance: f64) {
    for (client, expected) in expected.iter().enumerate() {
        let rate = outcome.rate(client, window_s.0, window_s.1);
        assert!((rate - expected).abs() <= tolerance, "client {client}: {rate} instead of {expected}");
    }
}

/// sim/dmc_sim_example: 160 a second, hard limits of 40, 50 and 50 on the last three, the last one's requests cost 3.
fn example() -> Scenario {
    let one = |wait_s, weight, limit, cost| {
        let params = (0.0, weight, limit);
        Clients { wait_s, total_ops: 2_000, params, cost, ..Clients::DEFAULT }
    };
    Scenario {
        servers: 1,
        server_iops: 160.0,
        random_selection: false,
        soft_limit: false,
        clients: vec![
            one(0, 1.0, 0.0, 1),
            one(5, 1.0, 40.0, 1),
            one(10, 2.0, 50.0, 1),
            one(10, 2.0, 50.0, 3),
        ],
    }
}

#[test]
fn dmc_sim_example_keeps_limits_weights_and_cost() {
    for outcome in both(&example()) {
        assert_rates(&outcome, (1.0, 5.0), &[160.0, 0.0, 0.0, 0.0], 0.5);
        assert_rates(&outcome, (6.0, 10.0), &[120.0, 40.0, 0.0, 0.0], 0.5);
        for client in [2, 3] {
            let rate = outcome.rate(client, 11.0, 29.0);
            let expected = [50.0, 50.0 / 3.0][client - 2];
            assert!((rate - expected).abs() < 0.3, "{rate} instead of {expected}");
        }
    }
}

#[test]
fn dmc_sim_example_shows_the_hoarding_of_a_throttled_client_and_its_cure() {
    let [faithful, corrected] = both(&example());
    // 400 units of weight that its limit had kept it from, taken from the other at 20 a second.
    assert_rates(&faithful, (12.0, 29.0), &[20.0, 40.0], 0.5);
    assert_rates(&faithful, (31.0, 36.0), &[30.0, 30.0], 0.5);
    assert_rates(&corrected, (11.0, 29.0), &[30.0, 30.0], 0.5);
}

/// sim/dmc_sim_100th: 100 clients on 100 servers of 40 a second, each on ten of them at random; limits may be broken; one joins after ten seconds.
fn hundredth() -> Scenario {
    let many = Clients {
        count: 99,
        select_range: 10,
        iops_goal: 50.0,
        outstanding: 100,
        params: (20.0, 1.0, 60.0),
        ..Clients::DEFAULT
    };
    Scenario {
        servers: 100,
        server_iops: 40.0,
        random_selection: true,
        soft_limit: true,
        clients: vec![many, Clients { count: 1, wait_s: 10, ..many }],
    }
}

#[test]
fn dmc_sim_100th_gives_each_its_share_and_the_newcomer_as_well() {
    for outcome in both(&hundredth()) {
        // Nobody alone, as long as all ask: random servers are uneven, and what one lacks another has.
        let mean = (0..99).map(|client| outcome.rate(client, 10.0, 20.0)).sum::<f64>() / 99.0;
        assert!((mean - 40.0).abs() < 1.0, "{mean}");
        let lowest = (0..99).map(|client| outcome.rate(client, 2.0, 20.0)).fold(f64::MAX, f64::min);
        assert!(lowest > 20.0, "{lowest} is below the reservation");
        let newcomer = outcome.rate(99, 12.0, 22.0);
        assert!((40.0..=57.0).contains(&newcomer), "{newcomer}");
        let part = outcome.reservation_part();
        assert!((part - 0.791).abs() < 0.01, "{part}");
    }
}

/// Pull request 22: ten servers of 180 a second by turns, r 300 and 250, w 1:1, the second joins after six seconds.
fn pull_request_22() -> Scenario {
    let one = |wait_s, total_ops, reservation| Clients {
        wait_s,
        total_ops,
        select_range: 10,
        iops_goal: 2_000.0,
        params: (reservation, 1.0, 0.0),
        ..Clients::DEFAULT
    };
    Scenario {
        servers: 10,
        server_iops: 180.0,
        random_selection: false,
        soft_limit: false,
        clients: vec![one(0, 18_000, 300.0), one(6, 10_000, 250.0)],
    }
}

#[test]
fn pull_request_22_a_client_that_joins_is_neither_ahead_nor_behind() {
    for outcome in both(&pull_request_22()) {
        assert_rates(&outcome, (1.0, 6.0), &[1_800.0, 0.0], 5.0);
        assert_rates(&outcome, (6.0, 7.0), &[900.0, 900.0], 20.0);
        assert_rates(&outcome, (7.0, 13.0), &[900.0, 900.0], 5.0);
    }
}

/// Pull request 80: one server of 5,000 a second; a client with r = 100 whose requests cost 5, served by weight for four seconds; then two heavy ones.
fn pull_request_80() -> Scenario {
    let first = Clients {
        total_ops: 5_000,
        iops_goal: 5_000.0,
        outstanding: 10_000,
        params: (100.0, 100.0, 1e8),
        cost: 5,
        ..Clients::DEFAULT
    };
    let heavy = Clients {
        count: 2,
        wait_s: 4,
        total_ops: 40_000,
        iops_goal: 40_000.0,
        outstanding: 100_000,
        params: (1_000.0, 1e6, 1e8),
        cost: 1,
        ..first
    };
    Scenario {
        servers: 1,
        server_iops: 5_000.0,
        random_selection: true,
        soft_limit: false,
        clients: vec![first, heavy],
    }
}

#[test]
fn pull_request_80_reservations_count_the_cost() {
    for outcome in both(&pull_request_80()) {
        assert_rates(&outcome, (6.0, 20.0), &[20.0, 2_450.0, 2_450.0], 0.1);
    }
}

/// Pull request 58: ten servers of 50 a second at random; r 50, l 100, 500 requests under way.
fn pull_request_58() -> Scenario {
    let one = Clients {
        total_ops: 10_000,
        select_range: 10,
        iops_goal: 2_000.0,
        outstanding: 500,
        params: (50.0, 10.0, 100.0),
        ..Clients::DEFAULT
    };
    Scenario { servers: 10, server_iops: 50.0, random_selection: true, soft_limit: false, clients: vec![one] }
}

#[test]
fn pull_request_58_the_first_burst_reaches_all_servers_before_any_delta_does() {
    // No server can know better: neither mode cures it. A scheduler of many servers has to hand out its limit by other means, or in parts.
    for outcome in both(&pull_request_58()) {
        let first = outcome.rate(0, 0.0, 2.0) / 100.0;
        assert!((first - 3.25).abs() < 0.05, "{first} times the limit");
        assert_rates(&outcome, (2.0, 60.0), &[100.0], 1.0);
    }
}

#[test]
fn pull_request_58_delayed_tags_smooth_the_burst_and_lose_deltas() {
    let outcome = run(&pull_request_58(), Config { tagging: Tagging::Delayed, ..Config::faithful() }, SEED);
    let (first, later) = (outcome.rate(0, 0.0, 2.0), outcome.rate(0, 10.0, 40.0));
    assert!(first < 200.0 && later > 110.0, "{first} at first, {later} later");
}

/// The reference's tests of its test client, at 100 operations a second.
fn test_client(outstanding: usize, server_iops: f64) -> Scenario {
    let one = Clients { iops_goal: 100.0, outstanding, ..Clients::DEFAULT };
    Scenario { servers: 1, server_iops, random_selection: false, soft_limit: false, clients: vec![one] }
}

#[test]
fn full_bore_timing_is_the_goal_s() {
    let outcome = run(&test_client(5, 1e6), Config::faithful(), SEED);
    assert_eq!(outcome.done.len(), 1_000);
    assert!((9.98..12.0).contains(&outcome.end(0)), "{}", outcome.end(0));
}

#[test]
fn paused_timing_stops_at_the_outstanding_requests() {
    // A first request that takes five seconds stands for a server that does not answer for as long.
    let pause = Clients { cost: 500, total_ops: 1, ..Clients::DEFAULT };
    let mut scenario = test_client(50, 100.0);
    scenario.server_iops = 100.0;
    scenario.clients.insert(0, pause);
    let paused = run(&scenario, Config::faithful(), SEED);
    let in_pause = paused.done.iter().filter(|(client, at, _)| *client == 1 && *at < 5.0).count();
    assert_eq!(in_pause, 0);
    // 50 under way when it answers, the other 950 at the goal's rate.
    assert!((14.5..16.5).contains(&paused.end(1)), "{}", paused.end(1));
}

#[test]
fn the_same_seed_plays_the_same() {
    let [one, two] = [0, 1].map(|_| run(&hundredth(), Config::corrected(), 7));
    assert!(one.done == two.done);
}
