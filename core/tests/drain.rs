//! A locked node is empty when it has said that it has seen the lock, and nothing runs there: not before, though nothing ran there all the time.
#![allow(clippy::unwrap_used)]

mod support;

use shoal_core::drain::{Drain, of};
use shoal_core::event::{Action, Decision, Event};
use shoal_core::lock::Lockable;
use shoal_core::node::{Node, NodeConfig};
use shoal_core::time::BootMs;
use shoal_core::transition::Transition;
use shoal_core::view::{Fact, Snapshot, View};
use support::{cores, lock, node_entry, node_up, queued, running, task};

const LOCK: i64 = 601;

fn locked() -> Fact {
    Fact::Locked { what: Lockable::Node("n1".to_owned()), entry: lock(None), revision: LOCK }
}

fn seen(revision: i64) -> Fact {
    let entry = shoal_core::entry::NodeEntry { lock_seen: Some(revision), ..node_entry("n1", cores(4)) };
    Fact::NodeUp { node: support::node(1), entry, created: 1 }
}

fn view_of(facts: &[Fact]) -> View {
    let mut view = View::default();
    facts.iter().for_each(|fact| view.apply(fact, BootMs(0)));
    view
}

fn step(node: &mut Node, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    node.step(BootMs(10), event, &mut actions);
    actions
}

fn says(actions: &[Action]) -> bool {
    actions.contains(&Action::LockSeen(LOCK))
}

#[test]
fn a_node_says_that_it_has_seen_a_lock_only_when_its_steals_are_decided() {
    let config = NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 0 };
    let mut node = Node::new(config);
    step(&mut node, Event::Registered { node: support::node(1), created: 1 });
    let facts = vec![node_up(1, cores(4)), queued(1, cores(1))];
    let actions = step(&mut node, Event::Synced(Box::new(Snapshot { revision: 500, facts })));
    let Some(Action::Propose { transition, .. }) =
        actions.iter().find(|a| matches!(a, Action::Propose { .. }))
    else {
        panic!("it steals: {actions:?}")
    };
    assert!(matches!(transition, Transition::Steal { .. }));
    let lock = Event::Changed { facts: vec![locked()], revision: LOCK };
    assert!(!says(&step(&mut node, lock)), "a steal is under way");
    let refused = Decision::Refused { runs_here: false };
    let decided = Event::Decided { task: task(1), transition: transition.clone(), decision: refused };
    assert!(says(&step(&mut node, decided)));
    assert!(!says(&step(&mut node, Event::Tick)), "once");
    let again = Fact::Locked {
        what: Lockable::Node("n1".to_owned()),
        entry: support::lock(None),
        revision: LOCK + 5,
    };
    let actions = step(&mut node, Event::Changed { facts: vec![again], revision: LOCK + 5 });
    assert!(actions.contains(&Action::LockSeen(LOCK + 5)), "each lock anew: {actions:?}");
}

#[test]
fn a_node_is_empty_when_it_has_seen_the_lock_and_runs_nothing() {
    let up = || node_up(1, cores(4));
    assert_eq!(of(&view_of(&[up()]), "n1"), Drain::Open);
    assert_eq!(of(&view_of(&[up(), locked()]), "n1"), Drain::Busy { running: 0, has_seen: false });
    assert_eq!(of(&view_of(&[seen(LOCK - 9), locked()]), "n1"), Drain::Busy { running: 0, has_seen: false });
    let one = running(3, 1, cores(1));
    assert_eq!(of(&view_of(&[seen(LOCK), locked(), one]), "n1"), Drain::Busy { running: 1, has_seen: true });
    assert_eq!(of(&view_of(&[seen(LOCK), locked()]), "n1"), Drain::Empty);
}

#[test]
fn a_node_that_is_gone_is_empty_once_no_lost_node_has_anything() {
    let lost = [locked(), running(3, 1, cores(1))];
    assert_eq!(of(&view_of(&lost), "n1"), Drain::Busy { running: 1, has_seen: true });
    assert_eq!(of(&view_of(&[locked()]), "n1"), Drain::Empty);
}
