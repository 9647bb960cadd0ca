//! Nodes that somebody has locked or drained take no tasks, a paused queue starts none, and a lock ends by itself on every node at once.
#![allow(clippy::unwrap_used)]

mod support;

use shoal_core::clock::{TICK_S, Tick};
use shoal_core::event::{Action, Event};
use shoal_core::id::NodeId;
use shoal_core::lock::{LockEntry, Lockable};
use shoal_core::node::{Node, NodeConfig};
use shoal_core::time::BootMs;
use shoal_core::transition::Transition;
use shoal_core::view::{Fact, Snapshot};
use shoal_core::why::why;
use support::{cores, lock, node_up, queued, task};

fn node(n: u64, facts: &[Fact]) -> Node {
    let config = NodeConfig { name: format!("n{n}"), requeue_wait_ms: 0, requeue_stagger_ms: 0 };
    let mut node = Node::new(config);
    step(&mut node, 0, Event::Registered { node: support::node(n), created: n as i64 });
    let ups = (1..=2).map(|n| node_up(n, cores(4)));
    let snapshot = Snapshot { revision: 500, facts: ups.chain(facts.iter().cloned()).collect() };
    step(&mut node, 0, Event::Synced(Box::new(snapshot)));
    node
}

fn step(node: &mut Node, now: u64, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    node.step(BootMs(now), event, &mut actions);
    actions
}

/// Who would start how many of the tasks, as this node sees it.
fn planned(node: &Node, on: NodeId) -> usize {
    node.plan(BootMs(0)).placements.iter().filter(|p| p.node == on).count()
}

fn locked(what: Lockable, until: Option<u64>) -> Fact {
    Fact::Locked { what, entry: lock(until), revision: 400 }
}

fn of_node(n: u64) -> Lockable {
    Lockable::Node(format!("n{n}"))
}

fn clock(tick: u64) -> Event {
    Event::Changed { facts: vec![Fact::Clock { tick: Tick(tick), revision: 600 }], revision: 600 }
}

fn tasks() -> Vec<Fact> {
    (0..6).map(|n| queued(n, cores(1))).collect()
}

#[test]
fn a_locked_node_takes_nothing_and_the_others_do_not_wait_for_it() {
    let facts = [tasks(), vec![locked(of_node(2), None)]].concat();
    let (one, two) = (node(1, &facts), node(2, &facts));
    assert_eq!((one.local().len(), two.local().len()), (4, 0), "what they have stolen");
    assert_eq!((planned(&two, support::node(1)), planned(&two, support::node(2))), (4, 0));
    let said = why(one.view(), &one.plan(BootMs(0)), task(5), BootMs(0)).unwrap();
    assert!(
        said.nodes.contains(&("n2".to_owned(), "drained by ann: a new disk".to_owned())),
        "{:?}",
        said.nodes
    );
}

#[test]
fn what_runs_on_a_node_goes_on_when_it_is_locked() {
    let mut n = node(1, &tasks());
    let held: Vec<_> = n.local().keys().copied().collect();
    assert!(!held.is_empty());
    let lock = Event::Changed { facts: vec![locked(of_node(1), Some(9))], revision: 601 };
    let actions = step(&mut n, 10, lock);
    assert!(!actions.iter().any(|action| matches!(action, Action::Stop { .. })), "{actions:?}");
    assert_eq!(n.local().keys().copied().collect::<Vec<_>>(), held);
}

#[test]
fn a_lock_is_over_when_the_clusters_clock_says_so() {
    let facts = [tasks(), vec![locked(of_node(1), Some(7)), locked(of_node(2), Some(8))]].concat();
    let mut n = node(1, &facts);
    assert!(n.local().is_empty());
    step(&mut n, 10, clock(6));
    assert!(n.local().is_empty());
    let actions = step(&mut n, 20, clock(7));
    let steals = actions
        .iter()
        .filter(|action| matches!(action, Action::Propose { transition: Transition::Steal { .. }, .. }));
    assert!(steals.count() > 0, "its lock has ended: {actions:?}");
    assert!(n.view().lock(&of_node(2)).is_some(), "the other has not");
}

#[test]
fn a_paused_queue_starts_nothing_anywhere_and_says_so() {
    let facts = [tasks(), vec![locked(Lockable::Queue, Some(3))]].concat();
    let mut n = node(1, &facts);
    assert_eq!(n.plan(BootMs(0)).placements, []);
    assert_eq!(
        why(n.view(), &n.plan(BootMs(0)), task(0), BootMs(0)).unwrap().summary,
        "the queue is paused by ann: a new disk"
    );
    step(&mut n, 10, clock(3));
    assert!(!n.local().is_empty(), "over");
}

#[test]
fn a_step_of_the_clock_removes_the_locks_that_are_over_with_it() {
    let facts = [locked(of_node(1), Some(1)), locked(of_node(2), Some(2)), locked(Lockable::Queue, None)];
    let mut n = node(1, &facts);
    let actions = step(&mut n, TICK_S * 1_000 + 10_000, Event::Tick);
    let over: Vec<_> = actions
        .into_iter()
        .filter_map(|action| match action {
            Action::Advance { over, .. } => Some(over),
            _ => None,
        })
        .collect();
    assert_eq!(over, [vec![(of_node(1), 400)]]);
}

#[test]
fn a_lock_lasts_as_long_as_was_asked_for_and_hardly_longer() {
    let now = Tick(40);
    for ms in [1, 9_999, 10_000, 10_001, 3_600_000] {
        let until = LockEntry::end_after(now, ms);
        // It may have been made at the very end of its step.
        let least_ms = (until.seconds_since(now) - TICK_S) * 1_000;
        assert!(least_ms >= ms && least_ms < ms + TICK_S * 1_000, "{ms}: {until}");
    }
}
