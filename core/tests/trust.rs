//! Goal: a lost node's tasks wait out its containers' longest life as long as one live node cannot trust the store's leases.

mod support;

use shoal_core::event::{Action, Event};
use shoal_core::node::{Node, NodeConfig};
use shoal_core::time::BootMs;
use shoal_core::transition::Transition;
use shoal_core::view::{Fact, Snapshot};
use support::{cores, node, node_entry, running};

const WAIT_MS: u64 = 4_200;

/// When node 1 requeues what lost node 9 had, if node 2 trusts the leases or not.
fn requeued_at(second_trusts: bool) -> u64 {
    let config = NodeConfig { name: "n1".to_owned(), requeue_wait_ms: WAIT_MS, requeue_stagger_ms: 0 };
    let mut n = Node::new(config);
    let up = |id, trusts| {
        let mut entry = node_entry("n", cores(4));
        entry.leases_trusted = trusts;
        Fact::NodeUp { node: node(id), entry, created: 1 }
    };
    let facts = vec![up(1, true), up(2, second_trusts), running(1, 9, cores(1))];
    let mut actions = Vec::new();
    n.step(BootMs(0), Event::Registered { node: node(1), created: 1 }, &mut actions);
    n.step(BootMs(0), Event::Synced(Box::new(Snapshot { revision: 10, facts })), &mut actions);
    let mut now = 0;
    loop {
        let lose = |a: &Action| matches!(a, Action::Propose { transition: Transition::Lose { .. }, .. });
        if actions.iter().any(lose) {
            return now;
        }
        let wake = actions.iter().rev().find_map(|a| match a {
            Action::WakeAt(at) => Some(at.0),
            _ => None,
        });
        now = wake.expect("it wakes up until it has requeued");
        actions.clear();
        n.step(BootMs(now), Event::Tick, &mut actions);
    }
}

#[test]
fn all_who_trust_requeue_at_once() {
    assert_eq!(requeued_at(true), 0);
}

#[test]
fn one_who_does_not_makes_all_wait() {
    assert_eq!(requeued_at(false), WAIT_MS);
}
