//! The worked example of the specification, with the errors of its source corrected: three classes of a storage server, I/O (10/50/30 as r/l/w), Recovery
//! (5/40/20) and best effort (8/60/25).

#![allow(clippy::unwrap_used)]

mod support;

use dmclock::{Config, Phase, Pull, Time};
use support::{TestQueue, backlog, queue, returned, secs};

const IO: u32 = 1;
const REC: u32 = 2;
const BE: u32 = 3;
/// (client, r, w, l).
const CLASSES: &[(u32, f64, f64, f64)] =
    &[(IO, 10.0, 30.0, 50.0), (REC, 5.0, 20.0, 40.0), (BE, 8.0, 25.0, 60.0)];
/// The same with weights whose sum is below the capacity.
const LIGHT: &[(u32, f64, f64, f64)] = &[(IO, 10.0, 3.0, 50.0), (REC, 5.0, 2.0, 40.0), (BE, 8.0, 2.5, 60.0)];

fn all_at(queue: &mut TestQueue, second: u64) {
    [IO, REC, BE].iter().for_each(|client| queue.add(client, second, Time::from_secs(second)).unwrap());
}

#[test]
fn a_request_a_second_is_served_on_arrival_by_reservation() {
    for config in [Config::faithful(), Config::corrected()] {
        let mut queue = queue(config, CLASSES);
        for second in 0..4 {
            all_at(&mut queue, second);
            let tags = queue.head_tags(&IO).unwrap();
            assert_eq!(
                (tags.reservation, tags.limit),
                (Some(Time::from_secs(second)), Some(Time::from_secs(second)))
            );
            for _ in 0..3 {
                assert_eq!(returned(queue.pull(Time::from_secs(second))).2, Phase::Reservation);
            }
        }
    }
}

#[test]
fn a_device_busy_until_three_seconds_leaves_the_oldest_reservation_first() {
    let mut queue = queue(Config::faithful(), CLASSES);
    (0..4).for_each(|second| all_at(&mut queue, second));
    let now = Time::from_secs(3);
    let order: Vec<(u32, u64)> =
        (0..12).map(|_| returned(queue.pull(now))).map(|pulled| (pulled.0, pulled.1)).collect();
    let seconds: Vec<u64> = order.iter().map(|(_, second)| *second).collect();
    assert_eq!(seconds, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
    assert_eq!(queue.pull(now), Pull::None);
}

#[test]
fn a_burst_of_eight_each_is_served_by_reservation_and_weight_in_turns() {
    let mut queue = queue(Config::faithful(), CLASSES);
    (0..8).for_each(|_| all_at(&mut queue, 0));
    let mut order = Vec::new();
    for n in 0..10 {
        // A sixtieth of a second, rounded down: at 0.1 s to the nanosecond, the third of I/O would be due by reservation.
        let (client, _, phase) = returned(queue.pull(Time::from_nanos(n as u64 * 16_666_666)));
        if n < 3 {
            let tags = queue.head_tags(&client).unwrap();
            let second = [(0.1, 0.02, 0.0333), (0.2, 0.025, 0.05), (0.125, 0.0167, 0.04)][n];
            assert_eq!(tags.reservation, Some(secs(second.0)));
            assert!((tags.limit.unwrap().as_secs_f64() - second.1).abs() < 5e-5);
            assert!((tags.proportion.unwrap() - second.2).abs() < 5e-5);
        }
        order.push((client, phase == Phase::Reservation));
    }
    let by_reservation = |client| (client, true);
    let by_weight = |client| (client, false);
    let expected = [
        by_reservation(IO),
        by_reservation(REC),
        by_reservation(BE),
        by_weight(IO),
        by_weight(BE),
        by_weight(REC),
        by_weight(IO),
        // At 0.117 s: its tag was 0.3, and two services by weight made 0.1 of it.
        by_reservation(IO),
        by_reservation(BE),
        by_weight(REC),
    ];
    assert_eq!(order, expected);
}

/// `min(l, max(r, λw))` of each, with λ such that they sum up to the capacity.
fn entitled(classes: &[(u32, f64, f64, f64)], capacity: f64) -> Vec<f64> {
    let at =
        |scale: f64| classes.iter().map(|(_, r, w, l)| (scale * w).max(*r).min(*l)).collect::<Vec<f64>>();
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if at(middle).iter().sum::<f64>() < capacity { low = middle } else { high = middle }
    }
    at(low)
}

#[test]
fn a_steady_backlog_gets_what_each_is_entitled_to() {
    let cases = [(60.0, [24.0, 16.0, 20.0]), (200.0, [50.0, 40.0, 60.0])];
    for (capacity, expected) in cases {
        for (config, classes) in
            [(Config::faithful(), LIGHT), (Config::corrected(), LIGHT), (Config::corrected(), CLASSES)]
        {
            let shares = backlog(&mut queue(config, classes), &[IO, REC, BE], capacity, 0.0, 100.0);
            for ((client, entitled), expected) in (1..).zip(entitled(classes, capacity)).zip(expected) {
                assert!((entitled - expected).abs() < 1e-6);
                assert!((shares[&client] - expected).abs() < 0.15, "{capacity} a second: {shares:?}");
            }
        }
    }
}

#[test]
fn too_little_capacity_is_shared_by_reservations() {
    for config in [Config::faithful(), Config::corrected()] {
        let mut queue = queue(config, LIGHT);
        (0..2_000).for_each(|_| all_at(&mut queue, 0));
        let shares = backlog(&mut queue, &[IO, REC, BE], 20.0, 0.0, 100.0);
        for (client, expected) in [(IO, 8.70), (REC, 4.35), (BE, 6.96)] {
            assert!((shares[&client] - expected).abs() < 0.15, "{shares:?}");
        }
    }
}

#[test]
fn who_joins_gets_its_share_from_the_first_second() {
    for config in [Config::faithful(), Config::corrected()] {
        let mut queue = queue(config, LIGHT);
        backlog(&mut queue, &[IO, REC], 60.0, 0.0, 20.0);
        let joined = backlog(&mut queue, &[IO, REC, BE], 60.0, 20.0, 21.0);
        assert!((joined[&BE] - 20.0).abs() <= 2.0, "{joined:?}");
    }
}
