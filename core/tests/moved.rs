//! A task that somebody has moved stands where it was put: before everything behind it, equals too, on every node alike, until its priority is changed.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use shoal_core::clock::Tick;
use shoal_core::entry::{QueueEntry, StatusEntry};
use shoal_core::id::TaskId;
use shoal_core::place::{Moved, Place};
use shoal_core::plan::{Exclusions, Free, plan};
use shoal_core::priority::Priority;
use shoal_core::task::Task;
use shoal_core::time::BootMs;
use shoal_core::transition::{Adjust, Illegal, Transition, apply};
use shoal_core::view::{Fact, Snapshot, View};
use support::{WALL, cores, node, node_up, queue_entry, queued_task, task, view_of};

const CREATED: i64 = 100;

fn entry(priority: u64, tick: u64) -> QueueEntry {
    QueueEntry { priority: Priority::new(priority).unwrap(), tick: Tick(tick), ..queue_entry(cores(1), 1) }
}

fn waiting(n: u64, entry: QueueEntry) -> Fact {
    Fact::Queued { task: task(n), entry, created: CREATED + n as i64 }
}

fn place(n: u64, entry: &QueueEntry) -> Place {
    Place::of(entry, CREATED + n as i64)
}

/// All tasks in the order of the queue.
fn order(view: &View) -> Vec<TaskId> {
    let mut all: Vec<_> = view.all_queued().map(|(task, queued)| queued.order(task)).collect();
    all.sort_unstable();
    all.into_iter().map(|order| order.task).collect()
}

/// What starts on node `n` alone, which has one core.
fn starts_on(view: &View, n: u64) -> Vec<TaskId> {
    let others = view.nodes().keys().filter(|id| **id != node(n)).copied();
    let exclude = Exclusions { nodes: others.collect(), ..Exclusions::default() };
    plan(view, &Free::of(view), &exclude).placements.iter().map(|p| p.task).collect()
}

#[test]
fn what_is_moved_before_an_equal_is_next_on_whichever_node_comes_free() {
    let plain = || (0..60).map(|n| waiting(n, entry(500, 0)));
    let first = place(0, &entry(500, 0)).before(&[]);
    let moved = waiting(59, QueueEntry { moved: Some(first), ..entry(500, 0) });
    let ups = || (1..=8).map(|n| node_up(n, cores(1)));
    let view = view_of(plain().chain(ups()).chain([moved]));
    for n in 1..=8 {
        assert_eq!(starts_on(&view, n), [task(59)], "node {n}");
    }
    // Without the move, nodes choose among equals by a hash.
    let view = view_of(plain().chain(ups()));
    assert!((1..=8).any(|n| starts_on(&view, n) != [task(59)]));
}

#[test]
fn a_place_before_an_urgent_task_is_in_the_urgent_class() {
    let urgent = entry(950, 5);
    let moved = QueueEntry { moved: Some(place(1, &urgent).before(&[])), ..entry(1, 9) };
    let view =
        view_of([waiting(1, urgent), waiting(2, entry(899, 0)), waiting(3, moved), node_up(1, cores(1))]);
    assert_eq!(order(&view), [task(3), task(1), task(2)]);
    assert_eq!(starts_on(&view, 1), [task(3)]);
}

#[test]
fn a_held_task_can_be_moved_and_stops_nobody() {
    let first = place(0, &entry(500, 0)).before(&[]);
    let held = QueueEntry { moved: Some(first), held: true, ..entry(500, 0) };
    let view = view_of([waiting(0, entry(500, 0)), waiting(1, held), node_up(1, cores(1))]);
    assert_eq!(order(&view), [task(1), task(0)]);
    assert_eq!(starts_on(&view, 1), [task(0)]);
}

#[test]
fn a_later_priority_ends_a_move_and_only_what_waits_is_moved() {
    let to = |place| Adjust::Move(Moved { place, by: "ann".to_owned(), to: "first".to_owned(), at: WALL });
    let after = |task: &Task, adjust| apply(task, &Transition::Adjust(adjust), WALL);
    let first = place(7, &entry(500, 0)).before(&[]);
    let moved = after(&queued_task(1), to(first)).unwrap();
    let StatusEntry::Queued(entry) = StatusEntry::of(&moved, Some(5)) else { panic!("it is queued") };
    assert_eq!(entry.moved, Some(first));
    let running = apply(&moved, &support::steal(1), WALL).unwrap();
    assert_eq!(after(&running, to(first)), Err(Illegal::NotQueued));
    let again = apply(&running, &Transition::Lose { node: node(1), attempt: 1 }, WALL).unwrap();
    assert!(again.moved.is_some(), "it comes back to its place");
    assert_eq!(after(&again, Adjust::Priority(Priority::HIGH)).unwrap().moved, None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However tasks are moved: each stands right before (or behind) the other one, all others keep their order, and a node that lists everything
    /// anew has the same order as one that saw it change.
    #[test]
    fn moves_give_one_total_order_that_is_equal_on_all_nodes(
        tasks in prop::collection::vec((1..=1000u64, 0..500u64), 2..12),
        moves in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()), 0..12),
    ) {
        let mut entries: Vec<QueueEntry> = tasks.iter().map(|(priority, tick)| entry(*priority, *tick)).collect();
        let facts = |entries: &[QueueEntry]| (0..).zip(entries).map(|(n, e)| waiting(n, e.clone())).collect::<Vec<_>>();
        let mut view = view_of(facts(&entries));
        for (which, other, before) in moves {
            let (which, other) = (which.index(entries.len()), other.index(entries.len()));
            if which == other { continue; }
            let at = place(other as u64, &entries[other]);
            let steps = view.steps_beside(at, task(which as u64));
            entries[which].moved = Some(if before { at.before(&steps) } else { at.behind(&steps) });
            let was = order(&view);
            view.apply(&waiting(which as u64, entries[which].clone()), BootMs(1));
            let is = order(&view);
            let rest = |order: &[TaskId]| order.iter().copied().filter(|t| *t != task(which as u64)).collect::<Vec<_>>();
            prop_assert_eq!(rest(&was), rest(&is));
            let at = |n: usize| is.iter().position(|t| *t == task(n as u64)).unwrap();
            // Right there: nothing is between them.
            prop_assert_eq!(at(which) + usize::from(before), at(other) + usize::from(!before));
        }
        let mut other = View::default();
        other.reset(&Snapshot { revision: 1, facts: facts(&entries) }, BootMs(9));
        prop_assert_eq!(order(&other), order(&view));
    }
}
