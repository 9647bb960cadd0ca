//! The hedge: a peer that does not take its part is gone around within its patience, and trusted again when it is heard of.

mod support;

use shoal_core::clock::TICK_S;
use shoal_core::entry::QueueEntry;
use shoal_core::event::{Action, Decision, Event};
use shoal_core::id::TaskId;
use shoal_core::node::{Node, NodeConfig};
use shoal_core::rendezvous::{pick, weight};
use shoal_core::time::BootMs;
use shoal_core::transition::Transition;
use shoal_core::view::{Fact, Snapshot};
use std::collections::BTreeSet;
use support::{cores, node, node_entry, node_up, queue_entry, queued, queued_task, running, task};

/// Of a node whose own steals are fast.
const PATIENCE_MS: u64 = 300;
const PATIENCE_MAX_MS: u64 = 2_000;
const NOW: BootMs = BootMs(10_000);

/// Node 1 beside node 2 and these facts, with much room each.
fn node_one(facts: Vec<Fact>) -> (Node, Vec<Action>) {
    let config = NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 500 };
    let mut n = Node::new(config);
    step(&mut n, NOW, Event::Registered { node: node(1), created: 1 });
    let up = [node_up(1, cores(32)), node_up(2, cores(32))];
    let facts = up.into_iter().chain(facts).collect();
    let actions = step(&mut n, NOW, Event::Synced(Box::new(Snapshot { revision: 200, facts })));
    (n, actions)
}

fn step(n: &mut Node, now: BootMs, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    n.step(now, event, &mut actions);
    actions
}

fn stolen(actions: &[Action]) -> Vec<TaskId> {
    let steal = |a: &Action| match a {
        Action::Propose { task, transition: Transition::Steal { .. } } => Some(*task),
        _ => None,
    };
    actions.iter().filter_map(steal).collect()
}

fn wake(actions: &[Action]) -> Option<BootMs> {
    let wake = |a: &Action| match a {
        Action::WakeAt(at) => Some(*at),
        _ => None,
    };
    actions.iter().find_map(wake)
}

/// The first `count` tasks from number `from` on that fall to node `of` when both have room: as its own where many wait, by the hash that decides
/// between equal nodes where few do.
fn owned_by(of: u64, from: u64, count: usize) -> Vec<u64> {
    let theirs = |n: &u64| {
        (weight(task(*n).0, node(2)) > weight(task(*n).0, node(1))) == (of == 2)
            && pick(task(*n).0, &[1, 2]) == Some(&of)
    };
    (from..).filter(theirs).take(count).collect()
}

fn in_queue(numbers: &[u64]) -> Vec<Fact> {
    numbers.iter().map(|n| queued(*n, cores(1))).collect()
}

fn ids(numbers: &[u64]) -> Vec<TaskId> {
    numbers.iter().map(|n| task(*n)).collect()
}

#[test]
fn a_frozen_peers_part_is_taken_within_its_patience() {
    let theirs = owned_by(2, 0, 3);
    let (mut n, actions) = node_one(in_queue(&theirs));
    assert_eq!(stolen(&actions), [], "they are the peer's");
    assert_eq!(wake(&actions), Some(NOW.plus(PATIENCE_MS)));
    assert_eq!(stolen(&step(&mut n, NOW.plus(PATIENCE_MS - 1), Event::Tick)), []);
    let taken: BTreeSet<_> = stolen(&step(&mut n, NOW.plus(PATIENCE_MS), Event::Tick)).into_iter().collect();
    assert_eq!(taken, ids(&theirs).into_iter().collect());
}

#[test]
fn a_peer_known_to_be_late_is_not_waited_for_again() {
    let (mut n, _) = node_one(in_queue(&owned_by(2, 0, 1)));
    let late = NOW.plus(PATIENCE_MS);
    step(&mut n, late, Event::Tick);
    let more = owned_by(2, 100, 2);
    let news = Event::Changed { facts: in_queue(&more), revision: 300 };
    assert_eq!(stolen(&step(&mut n, late.plus(10), news)), ids(&more));
}

#[test]
fn a_late_peer_that_is_heard_again_is_trusted_again() {
    let (mut n, _) = node_one(in_queue(&owned_by(2, 0, 1)));
    let late = NOW.plus(PATIENCE_MS);
    step(&mut n, late, Event::Tick);
    let back = late.plus(50);
    let alive = vec![running(9_000, 2, cores(1))];
    step(&mut n, back, Event::Changed { facts: alive, revision: 300 });
    let more = owned_by(2, 100, 2);
    let news = Event::Changed { facts: in_queue(&more), revision: 310 };
    let actions = step(&mut n, back, news);
    assert_eq!(stolen(&actions), []);
    assert_eq!(wake(&actions), Some(back.plus(PATIENCE_MS)), "its patience starts anew");
}

#[test]
fn a_peer_that_takes_its_part_is_never_late() {
    let theirs = owned_by(2, 0, 20);
    let (mut n, _) = node_one(in_queue(&theirs));
    for (taken, revision) in theirs.iter().zip(300..) {
        let now = NOW.plus(u64::try_from(revision - 300).unwrap() * PATIENCE_MS / 20);
        let facts = vec![Fact::NotQueued(task(*taken)), running(*taken, 2, cores(1))];
        assert_eq!(stolen(&step(&mut n, now, Event::Changed { facts, revision })), []);
    }
    assert_eq!(stolen(&step(&mut n, NOW.plus(10 * PATIENCE_MS), Event::Tick)), []);
}

#[test]
fn a_node_that_was_full_blames_nobody_for_that_time() {
    let full = running(9_000, 1, cores(32));
    let theirs = owned_by(2, 0, 1);
    let (mut n, actions) = node_one([vec![full], in_queue(&theirs)].concat());
    let nothing_sooner = wake(&actions).is_none_or(|at| at >= NOW.plus(TICK_S * 1_000));
    assert!(nothing_sooner, "without room there is nothing to wait for but the clock: {actions:?}");
    let read = Event::Claimed { task: task(9_000), record: None, revision: 201 };
    let later = NOW.plus(10 * PATIENCE_MAX_MS);
    let actions = step(&mut n, later, read);
    assert_eq!(stolen(&actions), []);
    assert_eq!(wake(&actions), Some(later.plus(PATIENCE_MS)));
}

#[test]
fn patience_follows_what_a_steal_takes_here_and_is_capped() {
    for (takes, patience) in [(10, PATIENCE_MS), (1_000, 1_000), (60_000, PATIENCE_MAX_MS)] {
        let mine = owned_by(1, 0, 1);
        let (mut n, actions) = node_one(in_queue(&mine));
        assert_eq!(stolen(&actions), ids(&mine));
        let transition = support::steal(1);
        let decided = NOW.plus(takes);
        let decision = Decision::Committed { task: Box::new(queued_task(mine[0])), revision: 201 };
        step(&mut n, decided, Event::Decided { task: task(mine[0]), transition, decision });
        let facts = [vec![Fact::NotQueued(task(mine[0]))], in_queue(&owned_by(2, 100, 3))].concat();
        let actions = step(&mut n, decided, Event::Changed { facts, revision: 300 });
        assert_eq!(wake(&actions), Some(decided.plus(patience)), "a steal takes {takes} ms");
    }
}

#[test]
fn tasks_that_only_a_frozen_peer_can_hold_are_waited_for_without_a_busy_loop() {
    let mut entry = node_entry("n2", cores(32));
    entry.roots.push("lab".to_owned());
    let up = Fact::NodeUp { node: node(2), entry, created: 2 };
    let entry = QueueEntry { root: "lab".to_owned(), ..queue_entry(cores(1), 1) };
    let (mut n, actions) = node_one(vec![up, Fact::Queued { task: task(1), entry, created: 100 }]);
    assert_eq!(wake(&actions), Some(NOW.plus(PATIENCE_MS)));
    let mut at = wake(&actions);
    let mut wakes = 0;
    while let Some(now) = at.filter(|now| now.since(NOW) < 60_000) {
        wakes += 1;
        at = wake(&step(&mut n, now, Event::Tick));
    }
    assert!(wakes <= 60, "{wakes} wakes in a minute");
}
