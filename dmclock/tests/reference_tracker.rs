//! The reference's client cases, each by its name: what the trackers say.

#![allow(clippy::unwrap_used)]

use dmclock::{BorrowingTracker, OriginalTracker, Phase, ReqParams, ServiceTracker, Time, Tracker};
use std::time::Duration;

const SERVER: u32 = 101;
const OTHER: u32 = 7;

#[derive(Clone, Copy)]
enum Step {
    Ask(u32),
    Hear(u32, Phase),
}

/// The reference's script, for both trackers.
fn told<T: Tracker>() -> Vec<(u32, u32)> {
    use Phase::{Priority, Reservation};
    use Step::{Ask, Hear};
    let script = [
        vec![
            Ask(SERVER),
            Ask(SERVER),
            Hear(SERVER, Priority),
            Ask(SERVER),
            Hear(OTHER, Priority),
            Ask(SERVER),
        ],
        vec![Ask(SERVER), Hear(OTHER, Reservation), Ask(SERVER), Hear(OTHER, Reservation)],
        vec![
            Hear(SERVER, Priority),
            Hear(OTHER, Priority),
            Hear(OTHER, Reservation),
            Hear(SERVER, Reservation),
        ],
        vec![Hear(SERVER, Priority), Hear(OTHER, Priority), Ask(SERVER), Ask(OTHER), Ask(SERVER), Ask(OTHER)],
    ];
    let mut tracker = ServiceTracker::<u32, T>::new();
    let mut told = Vec::new();
    for step in script.concat() {
        match step {
            Ask(server) => {
                let ReqParams { delta, rho } = tracker.request_params(server, Time::ZERO);
                told.push((delta, rho));
            }
            Hear(server, phase) => tracker.track_response(server, phase, 1, Time::ZERO),
        }
    }
    told
}

#[test]
fn delta_rho_values_orig_tracker() {
    let one_server = [(1, 1), (0, 0), (0, 0), (1, 0), (0, 0), (1, 1)];
    let told = told::<OriginalTracker>();
    assert_eq!(told[..6], one_server);
    assert_eq!(told[6..], [(4, 2), (3, 1), (0, 0), (0, 0)]);
}

#[test]
fn delta_rho_values_borrowing_tracker() {
    let told = told::<BorrowingTracker>();
    assert_eq!(told[..6], [(1, 1); 6]);
    assert_eq!(told[6..], [(5, 1), (9, 4), (1, 1), (1, 1)]);
}

#[test]
fn server_erase_forgets_who_was_not_used() {
    let ages = (Duration::from_secs(2), Duration::from_secs(3));
    let mut tracker = ServiceTracker::<u32, OriginalTracker>::with_ages(ages.0, ages.1);
    assert_eq!(tracker.server_count(), 0);
    tracker.request_params(SERVER, Time::from_secs(1));
    for (second, known) in [(2, 1), (4, 1), (5, 1), (6, 0), (7, 0)] {
        if second % 2 == 0 {
            tracker.clean(Time::from_secs(second));
        }
        assert_eq!(tracker.server_count(), known, "at {second} s");
    }
    assert_eq!(tracker.request_params(SERVER, Time::from_secs(8)), ReqParams::new(1, 1), "as if new");
}

#[test]
fn costs_count_as_so_many_requests() {
    let mut tracker = ServiceTracker::<u32, OriginalTracker>::new();
    tracker.request_params(SERVER, Time::ZERO);
    tracker.track_response(OTHER, Phase::Reservation, 5, Time::ZERO);
    tracker.track_response(OTHER, Phase::Priority, u32::MAX, Time::ZERO);
    assert_eq!(tracker.request_params(SERVER, Time::ZERO), ReqParams::new(u32::MAX, 5));
}
