//! When a task probably starts, as people are told.

#![allow(clippy::unwrap_used)]

mod support;

use shoal_core::clock::{TICK_S, Tick};
use shoal_core::entry::{PartEntry, QueueEntry, RunEntry};
use shoal_core::features::Features;
use shoal_core::plan::estimate::{Guess, start_of};
use shoal_core::time::BootMs;
use shoal_core::view::{Fact, View};
use support::{cores, node, node_up, queue_entry, run_entry, task};

const NOW: Tick = Tick(500);

fn view_of(facts: impl IntoIterator<Item = Fact>) -> View {
    let mut view = View::default();
    view.apply(&Fact::Clock { tick: NOW, revision: 1 }, BootMs(0));
    facts.into_iter().for_each(|fact| view.apply(&fact, BootMs(0)));
    view.ripen(BootMs(0));
    view
}

/// Task `n` of one core takes so many seconds; in the queue by number.
fn waits(n: u64, expected_s: u32) -> Fact {
    // All cost the same, so that number is place.
    let entry = QueueEntry { expected_s, tick: Tick(n * 100_000), ..queue_entry(cores(1), 1) };
    Fact::Queued { task: task(n), entry, created: 100 + n as i64 }
}

fn runs(n: u64, on: u64, since_s: u64, expected_s: u32) -> Fact {
    let tick = Tick(NOW.0 - since_s / TICK_S);
    let entry = RunEntry { tick, expected_s, ..run_entry(cores(1), 1) };
    Fact::Running { task: task(n), node: node(on), entry }
}

fn sure(seconds: u64) -> Option<Guess> {
    Some(Guess { seconds, is_rough: false })
}

#[test]
fn the_queue_before_it_is_played_in_order() {
    let view =
        view_of([node_up(1, cores(1)), runs(90, 1, 40, 100), waits(1, 300), waits(2, 50), waits(3, 5)]);
    assert_eq!([1, 2, 3].map(|n| start_of(&view, task(n))), [sure(60), sure(360), sure(410)]);
}

#[test]
fn two_slots_serve_it_twice_as_fast_and_room_serves_it_at_once() {
    let view = view_of([node_up(1, cores(2)), runs(90, 1, 0, 100), waits(1, 300), waits(2, 50)]);
    assert_eq!([1, 2].map(|n| start_of(&view, task(n))), [sure(0), sure(100)]);
}

#[test]
fn a_task_of_two_nodes_waits_for_the_later_of_them() {
    let parts = vec![PartEntry { nodes: 2, needs: Features::default() }];
    let entry = QueueEntry { parts, expected_s: 60, ..queue_entry(cores(1), 1) };
    let wide = Fact::Queued { task: task(1), entry, created: 5 };
    let ups = [node_up(1, cores(1)), node_up(2, cores(1))];
    let view = view_of(ups.into_iter().chain([runs(90, 1, 0, 30), runs(91, 2, 0, 200), wide]));
    assert_eq!(start_of(&view, task(1)), sure(200));
}

#[test]
fn what_is_not_known_is_said_and_what_takes_longer_takes_some_longer_still() {
    let view = view_of([node_up(1, cores(1)), runs(90, 1, 0, 0), waits(1, 5)]);
    assert_eq!(start_of(&view, task(1)), Some(Guess { seconds: 600, is_rough: true }));
    let view = view_of([node_up(1, cores(1)), runs(90, 1, 400, 100), waits(1, 5)]);
    assert_eq!(start_of(&view, task(1)), sure(100));
}

#[test]
fn what_can_never_start_has_no_start_and_stops_nobody() {
    let large = QueueEntry { tick: Tick(0), ..queue_entry(cores(9), 1) };
    let large = Fact::Queued { task: task(1), entry: large, created: 5 };
    let view = view_of([node_up(1, cores(1)), large, runs(90, 1, 0, 70), waits(2, 5)]);
    assert_eq!([1, 2].map(|n| start_of(&view, task(n))), [None, sure(70)]);
}

#[test]
fn far_back_in_a_long_queue_nothing_is_said() {
    let view = view_of([node_up(1, cores(1))].into_iter().chain((0..3_000).map(|n| waits(n, 1))));
    assert!(start_of(&view, task(1_999)).is_some());
    assert_eq!(start_of(&view, task(2_999)), None);
}
