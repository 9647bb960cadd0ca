//! What people say of a queued task holds in the plan and in the table of transitions: its priority, its waiting, and that it is held.

#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use shoal_core::charge::Cost;
use shoal_core::clock::{TICK_S, Tick};
use shoal_core::entry::{QueueEntry, StatusEntry};
use shoal_core::event::{Action, Event};
use shoal_core::node::{Node, NodeConfig};
use shoal_core::plan::{Exclusions, Free, Plan, plan};
use shoal_core::priority::{Priority, Rank};
use shoal_core::task::{Hold, Task, TaskState};
use shoal_core::time::BootMs;
use shoal_core::transition::{Adjust, Illegal, Transition, apply};
use shoal_core::view::{Fact, Snapshot, View};
use shoal_core::why::why;
use support::{WALL, cancel, cores, node, node_up, queue_entry, queued_task, task, view_of};

fn waiting(n: u64, priority: u64, tick: u64) -> Fact {
    let priority = Priority::new(priority).unwrap();
    let entry = QueueEntry { priority, tick: Tick(tick), ..queue_entry(cores(1), 1) };
    Fact::Queued { task: task(n), entry, created: 100 + n as i64 }
}

/// What starts when nodes 1 to `nodes` have one core each.
fn starts(view: &View, nodes: u64) -> Vec<shoal_core::id::TaskId> {
    let others = view.nodes().keys().filter(|id| !(1..=nodes).any(|n| node(n) == **id)).copied();
    let exclude = Exclusions { nodes: others.collect(), ..Exclusions::default() };
    plan(view, &Free::of(view), &exclude).placements.iter().map(|p| p.task).collect()
}

fn step(node: &mut Node, now: u64, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    node.step(BootMs(now), event, &mut actions);
    actions
}

fn hold() -> Hold {
    Hold { by: "ann".to_owned(), reason: "wait for the mirror".to_owned(), at: WALL }
}

#[test]
fn a_higher_priority_starts_first_whoever_came_first() {
    let low_first = (0..5).map(|n| waiting(n, 250, 9)).chain((5..8).map(|n| waiting(n, 750, 9)));
    let view = view_of(low_first.chain([node_up(1, cores(1)), node_up(2, cores(1)), node_up(3, cores(1))]));
    let mut started = starts(&view, 3);
    started.sort();
    let mut expected: Vec<_> = (5..8).map(task).collect();
    expected.sort();
    assert_eq!(started, expected);
}

#[test]
fn an_urgent_task_does_not_wait_for_its_owner() {
    // Whatever node it hashes to, the one that has room takes it before its own share of the others.
    for n in 0..40 {
        let others = (100..300).map(|n| waiting(n, 500, 0));
        let ups = (1..=8).map(|n| node_up(n, cores(1)));
        let view = view_of(others.chain(ups).chain([waiting(n, 900, 7)]));
        assert_eq!(starts(&view, 1), [task(n)]);
    }
}

#[test]
fn waiting_makes_up_for_priority_below_the_urgent_class_only() {
    let hours = |h: u64| h * 3600 / TICK_S;
    let view = view_of([waiting(1, 250, 0), waiting(2, 750, hours(10)), node_up(1, cores(1))]);
    assert_eq!(starts(&view, 1), [task(1)], "low, ten hours longer in the queue");
    let view = view_of([waiting(1, 250, hours(4)), waiting(2, 750, hours(10)), node_up(1, cores(1))]);
    assert_eq!(starts(&view, 1), [task(2)], "low, six hours longer");
    let view = view_of([waiting(1, 899, 0), waiting(2, 900, hours(10_000)), node_up(1, cores(1))]);
    assert_eq!(starts(&view, 1), [task(2)], "nothing is older than urgent");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// With one slot the first of the order starts, or an equal of it; and the order is the same at any later time.
    #[test]
    fn the_first_group_of_equals_is_served_first(tasks in prop::collection::vec((1..=1000u64, 0..5_000u64), 1..40)) {
        let facts = tasks.iter().zip(0..).map(|((priority, tick), n)| waiting(n, *priority, *tick));
        let view = view_of(facts.chain([node_up(1, cores(1)), node_up(2, cores(1))]));
        let best = view.all_queued().map(|(task, q)| q.order(task).rank).min().unwrap();
        let started = starts(&view, 1);
        prop_assert_eq!(started.len(), 1);
        prop_assert_eq!(view.queued(started[0]).unwrap().order(started[0]).rank.group(), best.group());
        for (priority, tick) in tasks {
            let rank = |tick| Rank::of(Priority::new(priority).unwrap(), Tick(tick), Cost::new(1, 60, 0));
            prop_assert!(rank(tick) < rank(tick + 1));
        }
    }
}

#[test]
fn a_held_task_starts_nowhere_until_it_is_released() {
    let held = |held| Fact::Queued {
        task: task(1),
        entry: QueueEntry { held, ..queue_entry(cores(1), 1) },
        created: 5,
    };
    let mut view = view_of([held(true), node_up(1, cores(1))]);
    assert_eq!(starts(&view, 1), []);
    assert_eq!(view.queue_len(), 1, "it is still in the queue");
    let said = why(&view, &Plan::default(), task(1), BootMs(0)).unwrap().summary;
    assert!(said.contains("holds it") && said.contains("shoal release"), "{said}");
    view.apply(&held(false), BootMs(10));
    view.ripen(BootMs(10));
    assert_eq!(starts(&view, 1), [task(1)]);
    view.apply(&held(true), BootMs(20));
    assert_eq!(starts(&view, 1), [], "also one that was ripe");
}

fn steal() -> Transition {
    support::steal(1)
}

fn after(task: &Task, adjust: Adjust) -> Result<Task, Illegal> {
    apply(task, &Transition::Adjust(adjust), WALL)
}

#[test]
fn a_steal_that_a_hold_has_overtaken_is_refused() {
    let held = after(&queued_task(1), Adjust::Hold(hold())).unwrap();
    assert_eq!(apply(&held, &steal(), WALL), Err(Illegal::Held));
    let StatusEntry::Queued(entry) = StatusEntry::of(&held, Some(7)) else { panic!("it is queued") };
    assert!(entry.held);
    let released = after(&held, Adjust::Release).unwrap();
    assert!(apply(&released, &steal(), WALL).is_ok());
    let canceled = apply(&held, &Transition::Cancel(cancel()), WALL).unwrap();
    assert!(matches!(canceled.state, TaskState::Canceled { .. }), "a held task can be canceled");
}

#[test]
fn what_runs_cannot_be_held_and_what_has_ended_cannot_be_changed() {
    let running = apply(&queued_task(1), &steal(), WALL).unwrap();
    assert_eq!(after(&running, Adjust::Hold(hold())), Err(Illegal::NotQueued));
    let sooner = after(&running, Adjust::Priority(Priority::HIGH)).unwrap();
    let lost = Transition::Lose { node: node(1), attempt: 1 };
    let again = apply(&sooner, &lost, WALL).unwrap();
    let StatusEntry::Queued(entry) = StatusEntry::of(&again, Some(7)) else { panic!("it is queued again") };
    assert_eq!((entry.priority, again.spec.priority), (Priority::HIGH, Priority::NORMAL));
    let ended = apply(&queued_task(1), &Transition::Cancel(cancel()), WALL).unwrap();
    for adjust in [Adjust::Priority(Priority::LOW), Adjust::Hold(hold()), Adjust::Release] {
        assert_eq!(after(&ended, adjust), Err(Illegal::Terminal));
    }
}

/// Nodes 1 to `count`, registered, in one view.
fn cluster(count: u64) -> Vec<Node> {
    let facts: Vec<Fact> = (1..=count).map(|n| node_up(n, cores(1))).collect();
    (1..=count)
        .map(|n| {
            let config = NodeConfig { name: format!("n{n}"), requeue_wait_ms: 0, requeue_stagger_ms: 0 };
            let mut node = Node::new(config);
            step(&mut node, 0, Event::Registered { node: support::node(n), created: n as i64 });
            step(&mut node, 0, Event::Synced(Box::new(Snapshot { revision: 50, facts: facts.clone() })));
            node
        })
        .collect()
}

fn advances(actions: &[Action]) -> Vec<(u64, i64)> {
    let advance = |action: &Action| match action {
        Action::Advance { to, after, .. } => Some((to.0, *after)),
        _ => None,
    };
    actions.iter().filter_map(advance).collect()
}

#[test]
fn the_clock_is_advanced_by_one_node_and_by_another_when_that_one_does_not() {
    let mut nodes = cluster(3);
    let at = TICK_S * 1_000;
    let first: Vec<_> = nodes.iter_mut().map(|node| advances(&step(node, at, Event::Tick))).collect();
    assert_eq!(first.iter().flatten().collect::<Vec<_>>(), [&(1, 0)], "one of three: {first:?}");
    // It is heard: nobody advances again before its time, and then on top of that step.
    let facts = vec![Fact::Clock { tick: Tick(1), revision: 60 }];
    for node in &mut nodes {
        let changed = Event::Changed { facts: facts.clone(), revision: 60 };
        assert_eq!(advances(&step(node, at + 100, changed)), []);
        assert_eq!(advances(&step(node, at + 5_000, Event::Tick)), []);
    }
    // Whoever's turn it is stands still: the others are there a little later, and each tries once.
    let mut proposed = Vec::new();
    for node in &mut nodes {
        proposed.extend(advances(&step(node, 2 * at + 3_000, Event::Tick)));
    }
    assert_eq!(proposed, [(2, 60); 3]);
    assert_eq!(advances(&step(&mut nodes[0], 2 * at + 3_100, Event::Tick)), [], "not twice at once");
    assert_eq!(
        advances(&step(&mut nodes[0], 2 * at + 9_000, Event::Tick)),
        [(2, 60)],
        "but again after a while"
    );
}
