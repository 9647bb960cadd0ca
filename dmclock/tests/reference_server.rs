//! The reference's server cases, each by its name. They hold in the faithful mode; where the corrections do not touch what a case is about, in the corrected
//! mode as well. Where the reference sleeps, time is an argument here.

#![allow(clippy::unwrap_used)]

mod support;

use dmclock::{
    AtLimit, Config, ConfigError, Counts, Params, ParamsError, Phase, Pull, Reason, ReqParams, Tagging, Time,
    Visit,
};
use std::time::Duration;
use support::{Table, TestQueue, pull_counts, queue, returned, secs};

const BOTH: [Config; 2] = [Config::faithful(), Config::corrected()];
const ONE: ReqParams = ReqParams::new(1, 1);
const NONE: ReqParams = ReqParams::new(0, 0);

fn add(queue: &mut TestQueue, client: u32, request: u64, at: f64) {
    queue.add_with(&client, request, secs(at), 1, ONE).unwrap();
}

#[test]
fn bad_tag_deathtest_is_an_error_and_not_a_death() {
    for limit in [0.0, 1.0] {
        assert_eq!(Params::new(0.0, 0.0, limit), Err(ParamsError::NothingPromised));
    }
    let at_limit = AtLimit::Reject { threshold: Duration::ZERO };
    let config = Config { at_limit, tagging: Tagging::Delayed, ..Config::faithful() };
    assert_eq!(TestQueue::new(config, Table::default()).unwrap_err(), ConfigError::RejectNeedsImmediate);
}

const fn short_ages(config: Config) -> Config {
    let (idle_age, erase_age) = (Duration::from_secs(3), Duration::from_secs(5));
    Config { idle_age, erase_age, check_every: Duration::from_secs(2), ..config }
}

/// Looks every two seconds, as the reference's thread does, and says at 1, 7 and 9 seconds whether the client is idle.
fn ages(config: Config) -> Vec<Option<bool>> {
    let mut queue = queue(short_ages(config), &[(17, 100.0, 1.0, 0.0)]);
    assert_eq!(queue.client_count(), 0);
    add(&mut queue, 17, 1, 0.0);
    returned(queue.pull(Time::ZERO));
    let mut seen = Vec::new();
    for second in 1..=9 {
        if second % 2 == 0 {
            queue.clean_if_due(Time::from_secs(second));
        }
        if [1, 7, 9].contains(&second) {
            seen.push(queue.is_idle(&17));
        }
    }
    seen
}

#[test]
fn client_idle_erase_follows_the_ages() {
    for config in BOTH {
        assert_eq!(ages(config), [Some(false), Some(true), None]);
    }
}

#[test]
fn add_req_pushprio_queue_remembers_a_client_until_its_age() {
    for config in BOTH {
        let mut queue = queue(short_ages(config), &[(17, 0.0, 1.0, 0.0), (34, 0.0, 1.0, 0.0)]);
        for client in [17, 34] {
            add(&mut queue, client, 1, 0.0);
            returned(queue.pull(Time::ZERO));
        }
        assert_eq!((queue.client_count(), queue.is_idle(&17)), (2, Some(false)));
        [2, 4, 6].into_iter().for_each(|second| queue.clean(Time::from_secs(second)));
        assert_eq!((queue.client_count(), queue.is_idle(&34)), (2, Some(true)));
        queue.clean(Time::from_secs(8));
        assert_eq!(queue.client_count(), 0);
    }
}

#[test]
fn schedule_req_pushprio_queue_is_drained_within_four_seconds() {
    for config in BOTH {
        let mut queue = queue(config, &[(17, 1.0, 1.0, 1.0), (34, 1.0, 1.0, 1.0), (48, 1.0, 1.0, 1.0)]);
        [17, 17, 34, 48].into_iter().for_each(|client| add(&mut queue, client, 1, 0.0));
        let mut now = Time::ZERO;
        loop {
            match queue.pull(now) {
                Pull::Request(_) => {}
                Pull::Future(at) => {
                    assert!(at > now, "a wait that is over at once would spin");
                    now = at;
                }
                Pull::None => break,
            }
        }
        assert!(queue.is_empty() && now <= Time::from_secs(4), "{now}");
    }
}

#[test]
fn delayed_tag_calc_uses_the_latest_delta() {
    let pulls = |tagging| {
        let mut queue = queue(Config { tagging, ..Config::faithful() }, &[(17, 0.0, 1.0, 1.0)]);
        for (n, params) in [NONE, NONE, ReqParams::new(10, 10)].into_iter().enumerate() {
            queue.add_with(&17, n as u64, Time::from_secs(1 + n as u64), 1, params).unwrap();
        }
        [1, 2, 3].map(|second| queue.pull(Time::from_secs(second)))
    };
    let delayed = pulls(Tagging::Delayed);
    assert!(matches!(delayed[0], Pull::Request(_)));
    assert_eq!(delayed[1], Pull::Future(Time::from_secs(12)), "eleven seconds after the first");
    let immediate = pulls(Tagging::Immediate);
    assert!(matches!(immediate[1], Pull::Request(_)));
    assert_eq!(immediate[2], Pull::Future(Time::from_secs(13)), "twelve seconds after the first");
}

const PLAIN: &[(u32, f64, f64, f64)] = &[(17, 0.0, 1.0, 0.0), (98, 0.0, 1.0, 0.0)];

fn allowing(config: Config) -> TestQueue {
    queue(Config { at_limit: AtLimit::Allow, ..config }, PLAIN)
}

fn nine(config: Config) -> TestQueue {
    let mut queue = allowing(config);
    let requests = [(17, 1), (17, 11), (98, 2), (98, 0), (98, 13), (98, 2), (98, 13), (98, 98), (17, 44)];
    requests.into_iter().for_each(|(client, id)| add(&mut queue, client, id, 0.0));
    assert_eq!((queue.client_count(), queue.request_count()), (2, 9));
    queue
}

#[test]
fn remove_by_req_filter_removes_what_it_names() {
    for config in BOTH {
        let mut queue = nine(config);
        queue.remove_if(Visit::Forwards, |_, id| id % 2 == 1);
        assert_eq!(queue.request_count(), 5);
        let rest = queue.remove_if(Visit::Backwards, |_, id| id % 2 == 0);
        assert_eq!((queue.request_count(), rest.len(), rest.iter().sum::<u64>()), (0, 5, 146));
        assert_eq!(queue.pull(Time::ZERO), Pull::None);
    }
}

fn six(config: Config) -> TestQueue {
    let mut queue = allowing(config);
    (1..=6).for_each(|id| add(&mut queue, 17, id, 0.0));
    assert_eq!((queue.client_count(), queue.request_count()), (1, 6));
    queue
}

#[test]
fn remove_by_req_filter_ordering_forwards_visit() {
    for config in BOTH {
        let mut queue = six(config);
        assert_eq!(queue.remove_if(Visit::Forwards, |_, id| id % 2 == 1), [1, 3, 5]);
        assert_eq!(queue.request_count(), 3);
        assert_eq!(queue.remove_if(Visit::Forwards, |_, id| id % 2 == 0), [2, 4, 6]);
        assert!(queue.is_empty());
    }
}

#[test]
fn remove_by_req_filter_ordering_backwards_visit() {
    for config in BOTH {
        let mut queue = six(config);
        let mut asked = Vec::new();
        let removed = queue.remove_if(Visit::Backwards, |_, id| {
            asked.push(*id);
            id % 2 == 1
        });
        assert_eq!((asked, removed), (vec![6, 5, 4, 3, 2, 1], vec![5, 3, 1]));
        assert_eq!(queue.remove_if(Visit::Backwards, |_, id| id % 2 == 0), [6, 4, 2]);
    }
}

#[test]
fn remove_by_client_leaves_the_others_in_order() {
    for config in BOTH {
        let mut queue = nine(config);
        assert_eq!(queue.remove_client(&17, Visit::Backwards), [44, 11, 1]);
        assert_eq!(queue.request_count(), 6);
        assert_eq!(returned(queue.pull(Time::ZERO)).1, 2);
        assert_eq!(returned(queue.pull(Time::ZERO)).1, 0);
        queue.remove_client(&98, Visit::Forwards);
        assert!(queue.is_empty());
        assert_eq!(queue.remove_client(&5, Visit::Forwards), [0; 0], "nobody knows it");
    }
}

/// Requests 1 to 5, by turns of two clients.
fn five(params: Option<ReqParams>) -> TestQueue {
    let mut queue = allowing(Config::faithful());
    for (id, client) in (1..).zip([17, 98, 17, 98, 98]) {
        match params {
            Some(params) => queue.add_with(&client, id, Time::ZERO, 1, params).unwrap(),
            None => queue.add(&client, id, Time::ZERO).unwrap(),
        }
    }
    queue
}

#[test]
fn add_req_ref_hands_requests_over_and_back() {
    let mut queue = five(Some(ONE));
    queue.remove_if(Visit::Forwards, |_, id| id % 2 == 0);
    assert_eq!(queue.request_count(), 3);
    let rest = queue.remove_if(Visit::Backwards, |_, _| true);
    assert_eq!((queue.request_count(), rest.iter().sum::<u64>()), (0, 9));
}

#[test]
fn add_req_ref_null_req_params_needs_no_delta() {
    let mut queue = five(None);
    queue.remove_if(Visit::Forwards, |_, id| id % 2 == 1);
    assert_eq!(queue.request_count(), 2);
    let rest = queue.remove_if(Visit::Backwards, |_, _| true);
    assert_eq!((queue.request_count(), rest.iter().sum::<u64>()), (0, 6));
}

fn two_backlogs(config: Config, rows: [(u32, f64, f64, f64); 2]) -> TestQueue {
    let mut queue = queue(config, &rows);
    for n in 0..5 {
        rows.iter().for_each(|row| add(&mut queue, row.0, n, n as f64 * 0.0001));
    }
    queue
}

#[test]
fn pull_weight_shares_by_weight() {
    for config in BOTH {
        let mut queue = two_backlogs(config, [(17, 0.0, 1.0, 0.0), (98, 0.0, 2.0, 0.0)]);
        let counts = pull_counts(&mut queue, secs(1.0), 6, Some(Phase::Priority));
        assert_eq!((counts[&17], counts[&98]), (2, 4));
    }
}

#[test]
fn pull_reservation_shares_by_reservation() {
    // With a bounded credit, what is a hundred seconds late is not: the corrected mode does not owe it.
    let mut queue = two_backlogs(Config::faithful(), [(52, 2.0, 0.0, 0.0), (8, 1.0, 0.0, 0.0)]);
    let counts = pull_counts(&mut queue, secs(100.0), 6, Some(Phase::Reservation));
    assert_eq!((counts[&52], counts[&8]), (4, 2));
    assert_eq!(queue.counts(), Counts { reservation: 6, priority: 0, limit_break: 0 });
}

#[test]
fn update_client_info_changes_what_comes_after() {
    for config in BOTH {
        let table = Table::of(&[(17, 0.0, 100.0, 0.0), (98, 0.0, 200.0, 0.0)]);
        let mut queue = TestQueue::new(config, table.clone()).unwrap();
        let fill = |queue: &mut TestQueue, at| {
            (0..5).for_each(|n| [17, 98].iter().for_each(|c| add(queue, *c, n, at)))
        };
        fill(&mut queue, 0.0);
        let before = pull_counts(&mut queue, secs(0.1), 6, Some(Phase::Priority));
        assert_eq!((before[&17], before[&98]), (2, 4));
        pull_counts(&mut queue, secs(0.1), 4, None);
        table.set(17, 0.0, 200.0, 0.0);
        queue.update_client(&17);
        fill(&mut queue, 1.0);
        let after = pull_counts(&mut queue, secs(1.1), 6, Some(Phase::Priority));
        assert_eq!((after[&17], after[&98]), (3, 3));
    }
}

#[test]
fn dynamic_cli_info_f_is_read_for_every_tag() {
    for config in BOTH {
        let table = Table::of(&[(17, 0.0, 100.0, 0.0), (98, 0.0, 200.0, 0.0)]);
        let config = Config { tagging: Tagging::Delayed, reread_params: true, ..config };
        let mut queue = TestQueue::new(config, table.clone()).unwrap();
        (0..1_000).for_each(|n| [17, 98].iter().for_each(|client| add(&mut queue, *client, n, 0.0)));
        let before = pull_counts(&mut queue, secs(0.1), 1_000, Some(Phase::Priority));
        assert!((before[&17] as f64 / 1_000.0 - 1.0 / 3.0).abs() <= 0.002, "{before:?}");
        table.set(17, 0.0, 150.0, 0.0);
        table.set(98, 0.0, 50.0, 0.0);
        let after = pull_counts(&mut queue, secs(0.2), 666, Some(Phase::Priority));
        assert!((after[&17] as f64 / 666.0 - 0.75).abs() <= 0.002, "{after:?}");
    }
}

#[test]
fn ready_and_under_limit_waits_for_reservations() {
    for config in BOTH {
        let mut queue = queue(config, &[(52, 1.0, 0.0, 0.0), (8, 1.0, 0.0, 0.0)]);
        for n in 0..3 {
            [52, 8].iter().for_each(|client| queue.add(client, n, Time::ZERO).unwrap());
        }
        for (half_seconds, left) in
            [(1, Pull::Future(secs(1.0))), (3, Pull::Future(secs(2.0))), (5, Pull::None)]
        {
            let now = Time::from_millis(500 * half_seconds);
            assert_eq!(pull_counts(&mut queue, now, 2, Some(Phase::Reservation)).len(), 2);
            assert_eq!(queue.pull(now), left);
        }
    }
}

#[test]
fn pull_none_of_nothing() {
    for config in BOTH {
        assert_eq!(queue(config, &[(1, 1.0, 1.0, 1.0)]).pull(secs(100.0)), Pull::None);
    }
}

#[test]
fn pull_future_says_when() {
    for config in BOTH {
        let mut queue = queue(config, &[(52, 1.0, 0.0, 1.0)]);
        add(&mut queue, 52, 1, 100.0);
        assert_eq!(queue.pull(Time::ZERO), Pull::Future(secs(100.0)));
    }
}

fn limit_break(config: Config, r: f64, w: f64) -> Phase {
    let mut queue = queue(Config { at_limit: AtLimit::Allow, ..config }, &[(52, r, w, 1.0)]);
    add(&mut queue, 52, 1, 100.0);
    let (client, _, phase) = returned(queue.pull(Time::ZERO));
    assert_eq!((client, queue.counts().limit_break), (52, 1));
    phase
}

#[test]
fn pull_future_limit_break_weight() {
    assert_eq!(BOTH.map(|config| limit_break(config, 0.0, 1.0)), [Phase::Priority; 2]);
}

#[test]
fn pull_future_limit_break_reservation() {
    assert_eq!(BOTH.map(|config| limit_break(config, 1.0, 0.0)), [Phase::Reservation; 2]);
}

fn rejecting(threshold: Duration) -> TestQueue {
    let config = Config { at_limit: AtLimit::Reject { threshold }, ..Config::faithful() };
    queue(config, &[(52, 0.0, 1.0, 1.0), (53, 0.0, 1.0, 1.0)])
}

#[test]
fn pull_reject_at_limit_counts_what_it_rejects() {
    let mut queue = rejecting(Duration::ZERO);
    let mut is_taken = |client, at| queue.add(&client, 7, secs(at)).map_err(|refused| refused.request);
    assert_eq!([1.0, 2.0, 3.0].map(|at| is_taken(52, at)), [Ok(()); 3]);
    assert_eq!(is_taken(52, 3.9), Err(7));
    assert_eq!(is_taken(52, 4.0), Err(7), "the one before counts against the limit");
    assert_eq!(is_taken(52, 6.0), Ok(()));
    assert_eq!(is_taken(53, 1.0), Ok(()));
    assert_eq!(is_taken(53, 1.0), Err(7), "it is still the caller's");
}

#[test]
fn pull_reject_threshold_lets_so_much_wait() {
    let mut queue = rejecting(Duration::from_secs(3));
    let mut at = |at| queue.add(&52, 0, secs(at)).map_err(|refused| refused.reason);
    assert_eq!([1.0; 4].map(&mut at), [Ok(()); 4]);
    assert_eq!(at(1.0), Err(Reason::AtLimit { at: secs(5.0) }));
    assert_eq!(at(3.0), Ok(()));
}

#[test]
fn pull_wait_at_limit_restores_the_limit() {
    for config in BOTH {
        let mut queue = queue(config, &[(52, 1.0, 2.0, 100.0), (8, 1.0, 1.0, 2.0)]);
        let (now, start) = (secs(11.0), 10.0);
        for n in 0..50 {
            [52, 8].iter().for_each(|client| add(&mut queue, *client, n, start + n as f64 * 0.01));
        }
        let mut counts = pull_counts(&mut queue, now, 2, Some(Phase::Reservation));
        assert_eq!((counts[&52], counts[&8], queue.request_count()), (1, 1, 98));
        for (client, count) in pull_counts(&mut queue, now, 50, Some(Phase::Priority)) {
            *counts.get_mut(&client).unwrap() += count;
        }
        assert_eq!((queue.client_count(), queue.request_count()), (2, 48));
        assert_eq!(queue.pull(now), Pull::Future(secs(start + 2.0)));
        assert_eq!((counts[&52], counts[&8]), (50, 2));
        assert_eq!(returned(queue.pull(secs(start + 2.0))).0, 8);
        assert_eq!(queue.request_count(), 47);
    }
}

/// What the specification's table of rules says beyond the named cases.
mod rules {
    use super::*;

    #[test]
    fn two_thousand_are_forgotten_a_pass_and_the_rest_five_seconds_later() {
        let everybody = |_: &u32| Params::new(1.0, 1.0, 0.0).ok();
        let mut queue =
            dmclock::Queue::<u32, u64, _>::new(short_ages(Config::faithful()), everybody).unwrap();
        for client in 0..2_500 {
            queue.add(&client, 0, Time::ZERO).unwrap();
            queue.pull(Time::ZERO);
        }
        let mut counts = Vec::new();
        for second in 1..=14 {
            queue.clean_if_due(Time::from_secs(second));
            counts.push(queue.client_count());
        }
        assert_eq!(counts[6..], [2_500, 500, 500, 500, 500, 500, 0, 0]);
    }

    #[test]
    fn who_has_requests_is_never_forgotten() {
        for config in BOTH {
            let mut queue = queue(short_ages(config), &[(1, 1.0, 1.0, 0.0)]);
            (0..2).for_each(|n| queue.add(&1, n, Time::ZERO).unwrap());
            (1..100).for_each(|second| queue.clean_if_due(Time::from_secs(second)));
            assert_eq!((queue.request_count(), queue.is_idle(&1)), (2, Some(false)));
        }
    }

    #[test]
    fn anticipation_keeps_the_place_of_who_comes_back_at_once() {
        let third = |anticipation_ms| {
            let anticipation = Duration::from_millis(anticipation_ms);
            let mut queue = queue(Config { anticipation, ..Config::faithful() }, &[(1, 0.0, 1.0, 10.0)]);
            queue.add(&1, 1, secs(10.0)).unwrap();
            returned(queue.pull(secs(10.0)));
            (2..4).for_each(|n| queue.add(&1, n, secs(10.3)).unwrap());
            returned(queue.pull(secs(10.3)));
            queue.pull(secs(10.3))
        };
        assert_eq!(third(0), Pull::Future(secs(10.4)));
        assert_eq!(returned(third(500)).1, 3, "its tag is 10.2");
        assert_eq!(third(200), Pull::Future(secs(10.4)), "it came later than that");
    }

    #[test]
    fn update_client_infos_reads_all_again() {
        for config in BOTH {
            let table = Table::of(&[(1, 0.0, 1.0, 1.0), (2, 0.0, 1.0, 1.0)]);
            let mut queue = TestQueue::new(config, table.clone()).unwrap();
            [1, 2].iter().for_each(|client| queue.add(client, 0, secs(1.0)).unwrap());
            pull_counts(&mut queue, secs(1.0), 2, None);
            [1, 2].iter().for_each(|client| table.set(*client, 0.0, 1.0, 0.0));
            queue.update_clients();
            [1, 2].iter().for_each(|client| queue.add(client, 1, secs(1.0)).unwrap());
            assert_eq!(pull_counts(&mut queue, secs(1.0), 2, None).len(), 2, "no limit any more");
        }
    }

    #[test]
    fn service_by_weight_gives_back_cost_and_rho() {
        for config in BOTH {
            let mut queue = queue(config, &[(1, 1.0, 1.0, 0.0)]);
            let params = ReqParams::new(4, 4);
            (0..3).for_each(|n| queue.add_with(&1, n, secs(10.0), 5, params).unwrap());
            let reservation = |queue: &TestQueue| queue.head_tags(&1).unwrap().reservation;
            assert_eq!(returned(queue.pull(secs(10.0))).2, Phase::Reservation);
            assert_eq!(reservation(&queue), Some(secs(19.0)), "nine units later");
            assert_eq!(returned(queue.pull(secs(10.0))).2, Phase::Priority);
            assert_eq!(reservation(&queue), Some(secs(19.0)), "nine more, and nine back");
        }
    }

    #[test]
    fn a_cost_of_zero_and_an_unknown_client_are_refused() {
        let mut queue = queue(Config::faithful(), &[(1, 1.0, 1.0, 0.0)]);
        let refused = queue.add_with(&1, 7, Time::ZERO, 0, NONE).unwrap_err();
        assert_eq!((refused.request, refused.to_string()), (7, "cost must be at least 1, was 0".to_owned()));
        assert_eq!(queue.add(&9, 8, Time::ZERO).unwrap_err().reason, Reason::UnknownClient);
        assert_eq!((queue.client_count(), queue.request_count()), (0, 0));
    }
}
