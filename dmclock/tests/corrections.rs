//! Each correction: the flaw in the faithful mode, and its cure.

#![allow(clippy::unwrap_used)]

mod support;

use dmclock::{AtLimit, Config, Corrections, Phase, Pull, Time};
use std::collections::BTreeMap;
use std::time::Duration;
use support::{TestQueue, backlog, queue, secs};

const FAITHFUL: Config = Config::faithful();

const fn only(corrections: Corrections) -> Config {
    Config { corrections, ..FAITHFUL }
}

const CREDIT: Config = only(Corrections { credit: Some(Duration::from_secs(1)), ..Corrections::NONE });
const VIRTUAL: Config = only(Corrections { virtual_time: true, ..Corrections::NONE });
const REFUND: Config = only(Corrections { refund: true, ..Corrections::NONE });

/// Pulls at `capacity` a second from `from` to `to` seconds; what each client got.
fn drain(queue: &mut TestQueue, capacity: f64, from: f64, to: f64) -> BTreeMap<u32, f64> {
    let mut counts = BTreeMap::new();
    for n in 0..((to - from) * capacity).round() as u64 {
        if let Pull::Request(pulled) = queue.pull(secs(from + n as f64 / capacity)) {
            *counts.entry(pulled.client).or_insert(0.0) += 1.0 / (to - from);
        }
    }
    counts
}

fn fill(queue: &mut TestQueue, client: u32, requests: u64, at: f64) {
    (0..requests).for_each(|n| queue.add(&client, n, secs(at)).unwrap());
}

/// A client with a limit of 40 gets 10 of 60 a second for 20 seconds, beside one that then stops. What it gets from 21 to 30 seconds.
fn after_long_waiting(config: Config) -> f64 {
    let mut queue = queue(config, &[(1, 0.0, 0.1, 40.0), (2, 0.0, 0.5, 0.0)]);
    fill(&mut queue, 1, 2_000, 0.0);
    fill(&mut queue, 2, 1_000, 0.0);
    let before = drain(&mut queue, 60.0, 0.0, 20.0);
    assert!((before[&1] - 10.0).abs() < 0.5, "{before:?}");
    drain(&mut queue, 60.0, 20.0, 21.0);
    drain(&mut queue, 60.0, 21.0, 30.0)[&1]
}

#[test]
fn bounded_credit_keeps_limits_of_who_waited_long() {
    let flaw = after_long_waiting(FAITHFUL);
    assert!(flaw > 55.0, "its limit tags lag, so that it has no limit for half a minute: {flaw}");
    for config in [CREDIT, Config::corrected()] {
        let cure = after_long_waiting(config);
        // What a credit of a second leaves for the first second is 20 requests beyond the limit; the last of the 40 come just after.
        assert!(cure <= 40.0 + 20.0 / 9.0 + 0.2, "{cure}");
    }
}

/// Two reservations of 60 on a device of 60, for ten seconds; then a third of 20. What that gets from three to nine seconds after.
fn third_reservation(config: Config) -> f64 {
    let mut queue = queue(config, &[(1, 60.0, 1.0, 0.0), (2, 60.0, 1.0, 0.0), (3, 20.0, 1.0, 0.0)]);
    [1, 2].iter().for_each(|client| fill(&mut queue, *client, 2_000, 0.0));
    drain(&mut queue, 60.0, 0.0, 10.0);
    fill(&mut queue, 3, 2_000, 10.0);
    drain(&mut queue, 60.0, 10.0, 13.0);
    drain(&mut queue, 60.0, 13.0, 19.0).get(&3).copied().unwrap_or_default()
}

#[test]
fn bounded_credit_lets_a_newcomer_in_where_reservations_exceed_capacity() {
    assert_eq!(third_reservation(FAITHFUL), 0.0, "the others' reservation tags are five seconds behind");
    for config in [CREDIT, Config::corrected()] {
        let cure = third_reservation(config);
        let fair = 60.0 * 20.0 / 140.0;
        assert!((cure - fair).abs() < 0.3, "{cure} of {fair}");
    }
}

#[test]
fn bounded_credit_starves_nobody_when_the_server_was_away() {
    for config in [CREDIT, Config::corrected()] {
        let mut queue = queue(config, &[(1, 10.0, 100.0, 0.0), (2, 10.0, 1.0, 0.0)]);
        fill(&mut queue, 1, 1_000, 0.0);
        drain(&mut queue, 30.0, 0.0, 1.0);
        fill(&mut queue, 2, 1_000, 3_599.0);
        let shares = drain(&mut queue, 30.0, 3_600.0, 3_610.0);
        assert!((shares[&2] - 10.0).abs() < 1.5, "{shares:?}");
    }
}

const ARTICLE: &[(u32, f64, f64, f64)] = &[(1, 10.0, 30.0, 50.0), (2, 5.0, 20.0, 40.0), (3, 8.0, 25.0, 60.0)];

#[test]
fn virtual_time_makes_weights_scale_free() {
    let shares = |config| backlog(&mut queue(config, ARTICLE), &[1, 2, 3], 60.0, 0.0, 100.0);
    let flaw = shares(FAITHFUL);
    for (client, expected) in [(1, 20.7), (2, 19.1), (3, 20.2)] {
        assert!((flaw[&client] - expected).abs() < 0.2, "capacity is below the sum of weights: {flaw:?}");
    }
    for config in [VIRTUAL, Config::corrected()] {
        let cure = shares(config);
        for (client, expected) in [(1, 24.0), (2, 16.0), (3, 20.0)] {
            assert!((cure[&client] - expected).abs() < 0.1, "{cure:?}");
        }
    }
}

/// Two clients of equal weight; the second may take 10 of 60 a second, for 20 seconds. Then its limit is lifted. What it takes in the next ten.
fn after_throttling(config: Config) -> f64 {
    let table = support::Table::of(&[(1, 0.0, 1.0, 0.0), (2, 0.0, 1.0, 10.0)]);
    let mut queue = TestQueue::new(config, table.clone()).unwrap();
    let before = backlog(&mut queue, &[1, 2], 60.0, 0.0, 20.0);
    assert!((before[&2] - 10.0).abs() < 0.5, "{before:?}");
    table.set(2, 0.0, 1.0, 0.0);
    queue.update_client(&2);
    backlog(&mut queue, &[1, 2], 60.0, 20.0, 30.0)[&2]
}

#[test]
fn virtual_time_lets_nobody_hoard_what_its_limit_kept_it_from() {
    let flaw = after_throttling(FAITHFUL);
    assert!(flaw > 45.0, "400 that it was not allowed to take, it takes later: {flaw}");
    for config in [VIRTUAL, Config::corrected()] {
        let cure = after_throttling(config);
        assert!((cure - 30.0).abs() < 0.5, "{cure}");
    }
}

/// Two clients of equal weight; the second pauses for ten seconds, less than the idle age. What it takes in the first five after.
fn after_pause(config: Config) -> f64 {
    let mut queue = queue(config, &[(1, 0.0, 1.0, 0.0), (2, 0.0, 1.0, 0.0)]);
    backlog(&mut queue, &[1, 2], 60.0, 0.0, 10.0);
    queue.remove_client(&2, dmclock::Visit::Forwards);
    backlog(&mut queue, &[1], 60.0, 10.0, 20.0);
    backlog(&mut queue, &[1, 2], 60.0, 20.0, 25.0)[&2]
}

#[test]
fn virtual_time_gives_nothing_for_a_pause() {
    let flaw = after_pause(FAITHFUL);
    assert!(flaw > 55.0, "only who is idle for the idle age is moved to the others: {flaw}");
    for config in [VIRTUAL, Config::corrected()] {
        let cure = after_pause(config);
        assert!((cure - 30.0).abs() < 0.5, "{cure}");
    }
}

#[test]
fn virtual_time_takes_nothing_for_having_run_alone() {
    for config in [VIRTUAL, Config::corrected()] {
        let mut queue = queue(config, &[(1, 50.0, 1.0, 0.0), (2, 0.0, 1.0, 0.0)]);
        for n in 0..1_000 {
            let now = Time::from_millis(10 * n);
            queue.add(&1, n, now).unwrap();
            assert!(matches!(queue.pull(now), Pull::Request(_)));
        }
        let shares = backlog(&mut queue, &[1, 2], 200.0, 10.0, 15.0);
        assert!((shares[&1] - 100.0).abs() < 1.0, "{shares:?}");
    }
}

#[test]
fn virtual_time_takes_nothing_for_having_used_what_nobody_wanted() {
    let second = |config| {
        let config = Config { at_limit: AtLimit::Allow, ..config };
        let mut queue = queue(config, &[(1, 0.0, 1.0, 10.0), (2, 0.0, 1.0, 10.0)]);
        backlog(&mut queue, &[1], 100.0, 0.0, 10.0);
        backlog(&mut queue, &[1, 2], 100.0, 10.0, 15.0)[&2]
    };
    for config in [VIRTUAL, Config::corrected()] {
        let cure = second(config);
        assert!((cure - 50.0).abs() < 2.0, "{cure}");
    }
}

/// Ten requests of a client with limit 1, nine of them cancelled. When the one added then may be served.
fn after_cancelling(config: Config) -> Time {
    let mut queue = queue(config, &[(1, 0.0, 1.0, 1.0)]);
    fill(&mut queue, 1, 10, 100.0);
    assert!(matches!(queue.pull(secs(100.0)), Pull::Request(_)));
    assert_eq!(queue.remove_client(&1, dmclock::Visit::Forwards).len(), 9);
    queue.add(&1, 10, secs(100.0)).unwrap();
    match queue.pull(secs(100.0)) {
        Pull::Future(at) => at,
        other => panic!("{other:?}"),
    }
}

#[test]
fn refund_charges_nobody_for_what_was_cancelled() {
    assert_eq!(after_cancelling(FAITHFUL), secs(110.0), "it pays for nine that were never served");
    for config in [REFUND, Config::corrected()] {
        assert_eq!(after_cancelling(config), secs(101.0));
    }
}

#[test]
fn refund_of_the_first_moves_the_second_up() {
    for (config, is_refunded) in [(FAITHFUL, false), (CREDIT, false), (VIRTUAL, false), (REFUND, true)] {
        let mut queue = queue(config, &[(1, 0.0, 1.0, 1.0)]);
        fill(&mut queue, 1, 4, 100.0);
        queue.pull(secs(100.0));
        assert_eq!(queue.pull(secs(100.0)), Pull::Future(secs(101.0)));
        assert_eq!(queue.remove_if(dmclock::Visit::Forwards, |_, n| *n == 1), [1]);
        assert!(matches!(queue.pull(secs(102.0)), Pull::Request(_)), "the third one");
        let fourth = queue.pull(secs(102.0));
        assert_eq!(fourth == Pull::Future(secs(103.0)), !is_refunded, "{fourth:?}");
    }
}

#[test]
fn refund_charges_nobody_for_what_was_rejected() {
    let config = |config| Config { at_limit: AtLimit::Reject { threshold: Duration::ZERO }, ..config };
    let taken = |mode| {
        let mut queue = queue(config(mode), &[(1, 0.0, 1.0, 1.0)]);
        [1.0, 1.5, 2.0].map(|at| queue.add(&1, 0, secs(at)).is_ok())
    };
    assert_eq!(taken(FAITHFUL), [true, false, false]);
    assert_eq!(taken(REFUND), [true, false, true]);
    assert_eq!(taken(Config::corrected()), [true, false, true]);
}

#[test]
fn settlement_moves_the_tags_to_the_actual_cost() {
    for config in [FAITHFUL, Config::corrected()] {
        let mut queue = queue(config, &[(1, 0.0, 1.0, 10.0)]);
        fill(&mut queue, 1, 3, 100.0);
        let Pull::Request(first) = queue.pull(secs(100.0)) else { panic!("it is due") };
        assert_eq!((first.phase, first.cost), (Phase::Priority, 1));
        assert_eq!(queue.pull(secs(100.0)), Pull::Future(secs(100.1)));
        queue.settle(&1, first.phase, first.cost, 11);
        assert_eq!(queue.pull(secs(100.1)), Pull::Future(secs(101.1)), "ten more at ten a second");
        queue.settle(&1, first.phase, 11, 0);
        assert!(matches!(queue.pull(secs(100.1)), Pull::Request(_)));
    }
}
