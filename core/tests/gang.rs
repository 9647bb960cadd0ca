//! A task of several nodes: its transitions, and how a node offers, starts and takes back.

#![allow(clippy::unwrap_used)]

mod support;

use shoal_core::clock::Tick;
use shoal_core::entry::{PartEntry, QueueEntry, StatusEntry};
use shoal_core::event::{Action, Decision, Event};
use shoal_core::features::Features;
use shoal_core::gang::Member;
use shoal_core::node::{Node, NodeConfig, Phase};
use shoal_core::spec::{GangEnd, OnNodeLoss};
use shoal_core::task::{ExitHow, FailureKind, Task, TaskState};
use shoal_core::time::BootMs;
use shoal_core::transition::{Illegal, Outcome, Transition, apply};
use shoal_core::view::{Fact, Snapshot};
use support::{
    WALL, cancel, cores, exit_code, gang_spec, node, node_up, offer_entry, queue_entry, run_entry, task,
};

fn members(count: u64) -> Vec<Member> {
    let member = |n| Member { node: node(n), node_name: format!("n{n}"), address: "h".to_owned(), end: None };
    (1..=count).map(member).collect()
}

fn start(count: u64) -> Transition {
    Transition::Steal { node: node(1), node_name: "n1".to_owned(), tick: Tick(3), members: members(count) }
}

fn after(task: &Task, transition: &Transition) -> Task {
    apply(task, transition, WALL).unwrap_or_else(|why| panic!("{transition:?}: {why}"))
}

fn queued(rule: GangEnd) -> Task {
    let mut spec = gang_spec(3, cores(1));
    spec.gang_end = rule;
    Task::new(task(1), spec, (0, 1), WALL)
}

fn running(rule: GangEnd) -> Task {
    after(&queued(rule), &start(3))
}

fn finish(by: u64, outcome: Outcome) -> Transition {
    Transition::Finish { node: node(by), attempt: 1, outcome }
}

fn exits(by: u64, code: u8) -> Transition {
    finish(by, Outcome::Exited(exit_code(code)))
}

fn lose(of: u64) -> Transition {
    Transition::Lose { node: node(of), attempt: 1 }
}

/// The task after all of these, one after the other.
fn all(rule: GangEnd, transitions: &[Transition]) -> Task {
    transitions.iter().fold(running(rule), |task, transition| after(&task, transition))
}

fn exit_of(task: &Task) -> Option<u8> {
    match &task.state {
        TaskState::Complete { exit } => match exit.how {
            ExitHow::Code(code) => Some(code),
            ExitHow::Signal(_) => None,
        },
        _ => None,
    }
}

#[test]
fn it_is_taken_by_as_many_nodes_as_it_asks_for() {
    let task = queued(GangEnd::All);
    for count in [0, 2, 4] {
        let refused = apply(&task, &start(count), WALL);
        assert_eq!(refused, Err(Illegal::NotItsNodes { wanted: 3, got: (count as u32).max(1) }));
    }
    let running = running(GangEnd::All);
    assert_eq!(running.live_nodes(), [node(1), node(2), node(3)]);
    let one_node = apply(&support::queued_task(2), &start(2), WALL);
    assert_eq!(one_node, Err(Illegal::NotItsNodes { wanted: 1, got: 2 }));
}

#[test]
fn each_end_frees_its_node_and_the_last_one_ends_the_task() {
    let task = all(GangEnd::FirstFailure, &[exits(2, 0), exits(1, 0)]);
    assert_eq!(task.live_nodes(), [node(3)]);
    assert!(!task.is_stopping(), "all has gone well so far");
    let twice = apply(&task, &exits(2, 0), WALL);
    assert_eq!(twice, Err(Illegal::NotOwner), "a part ends once");
    assert_eq!(exit_of(&after(&task, &exits(3, 0))), Some(0));
}

#[test]
fn the_first_failure_stops_the_others_and_is_the_result() {
    let task = all(GangEnd::FirstFailure, &[exits(1, 0), exits(3, 7)]);
    let TaskState::Running { verdict, .. } = task.state else { panic!("one still runs") };
    assert_eq!(verdict, Some(2));
    let StatusEntry::Running(entry) = StatusEntry::of(&task, Some(1)) else { panic!("one still runs") };
    assert!(entry.cancel, "its node is told to end it");
    let killed =
        finish(2, Outcome::Exited(shoal_core::task::Exit { how: ExitHow::Signal(15), oom_killed: false }));
    let over = after(&task, &killed);
    assert_eq!(exit_of(&over), Some(7));
    assert_eq!(over.attempts[0].end, "exit 7 (member 2 on n3)");
}

#[test]
fn all_waits_for_all_and_a_failure_counts() {
    let task = all(GangEnd::All, &[exits(2, 4)]);
    assert!(!task.is_stopping());
    assert_eq!(exit_of(&all(GangEnd::All, &[exits(2, 4), exits(1, 0), exits(3, 5)])), Some(4));
}

#[test]
fn the_leads_end_is_the_tasks() {
    let task = all(GangEnd::Lead, &[exits(2, 4)]);
    assert!(!task.is_stopping(), "another's failure means nothing");
    let task = after(&task, &exits(1, 0));
    assert!(task.is_stopping());
    assert_eq!(exit_of(&after(&task, &exits(3, 9))), Some(0));
}

#[test]
fn a_lost_member_requeues_the_whole_after_all_are_dead() {
    for rule in [GangEnd::FirstFailure, GangEnd::All, GangEnd::Lead] {
        let task = all(rule, &[lose(2)]);
        assert!(task.is_stopping(), "{rule:?}");
        assert_eq!(task.attempt, 1, "{rule:?}: not before the others are dead");
        let again = after(&after(&task, &exits(1, 143)), &exits(3, 143));
        assert_eq!((&again.state, again.attempt), (&TaskState::Queued, 2), "{rule:?}");
        assert!(again.live_nodes().is_empty());
    }
}

#[test]
fn a_canceled_one_ends_as_canceled_however_its_members_end() {
    let canceling = after(&running(GangEnd::FirstFailure), &Transition::Cancel(cancel()));
    let two = after(&after(&canceling, &exits(1, 0)), &lose(2));
    assert!(matches!(after(&two, &exits(3, 1)).state, TaskState::Canceled { .. }));
}

#[test]
fn what_must_not_start_twice_does_not_when_one_members_launch_failed_and_others_had_begun() {
    let mut task = running(GangEnd::FirstFailure);
    task.spec.on_node_loss = OnNodeLoss::Fail;
    let failed = finish(2, Outcome::LaunchFailed("no cgroup".to_owned()));
    let over =
        [failed.clone(), exits(1, 0), exits(3, 0)].iter().fold(task.clone(), |task, t| after(&task, t));
    let TaskState::Failed { failure } = over.state else { panic!("{:?}", over.state) };
    assert_eq!(failure.kind, FailureKind::Launch);
    let none_began = [1, 2, 3].map(|n| finish(n, Outcome::LaunchFailed("no cgroup".to_owned())));
    let again = none_began.iter().fold(task, |task, t| after(&task, t));
    assert_eq!((again.state, again.attempt), (TaskState::Queued, 2));
}

const NOW: BootMs = BootMs(10_000);

/// Node 1 beside node 2, four cores each, and a task of both in the queue.
fn node_one() -> (Node, Vec<Action>) {
    let config = NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 500 };
    let mut n = Node::new(config);
    step(&mut n, NOW, Event::Registered { node: node(1), created: 1 });
    let parts = vec![PartEntry { nodes: 2, needs: Features::default() }];
    let entry = QueueEntry { parts, ..queue_entry(cores(3), 1) };
    let wide = Fact::Queued { task: task(1), entry, created: 150 };
    let facts = vec![node_up(1, cores(4)), node_up(2, cores(4)), wide];
    let actions = step(&mut n, NOW, Event::Synced(Box::new(Snapshot { revision: 200, facts })));
    (n, actions)
}

fn step(n: &mut Node, now: BootMs, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    n.step(now, event, &mut actions);
    actions.retain(|action| !matches!(action, Action::WakeAt(_) | Action::Advance { .. }));
    actions
}

fn offered(by: u64, created: i64) -> Fact {
    Fact::Offered { task: task(1), node: node(by), entry: offer_entry(cores(3), 1), created }
}

fn changed(revision: i64, facts: Vec<Fact>) -> Event {
    Event::Changed { facts, revision }
}

#[test]
fn a_node_offers_its_part_and_starts_nothing_before_all_have() {
    let (mut n, actions) = node_one();
    assert!(matches!(&actions[..], [Action::Offer { created: 150, .. }]), "{actions:?}");
    assert_eq!(step(&mut n, NOW, changed(201, vec![offered(1, 201)])), []);
    assert_eq!(n.local()[&task(1)].phase, Phase::Offering, "its room is kept meanwhile");
    let actions = step(&mut n, NOW, changed(202, vec![offered(2, 202)]));
    let lead = n.plan(NOW).gangs[0].nodes[0];
    if lead == node(1) {
        let [Action::Propose { transition: Transition::Steal { members, .. }, .. }] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(members.len(), 2);
    } else {
        assert_eq!(actions, [], "the other is the first");
        let late = NOW.plus(5_000);
        let actions = step(&mut n, late, Event::Tick);
        assert!(matches!(&actions[..], [Action::Propose { .. }]), "it does not wait for ever: {actions:?}");
    }
}

#[test]
fn what_another_has_started_for_all_is_claimed_with_the_room_that_was_kept() {
    let (mut n, _) = node_one();
    step(&mut n, NOW, changed(201, vec![offered(1, 201)]));
    let entry = run_entry(cores(3), 1);
    let begun = vec![
        Fact::NotQueued(task(1)),
        Fact::NotOffered { task: task(1), node: node(1) },
        Fact::Running { task: task(1), node: node(1), entry: entry.clone() },
        Fact::Running { task: task(1), node: node(2), entry },
    ];
    assert_eq!(step(&mut n, NOW, changed(210, begun)), [Action::Claim(task(1))]);
    let record = after(&Task::new(task(1), gang_spec(2, cores(3)), (0, 1), WALL), &start(2));
    let claimed = Event::Claimed { task: task(1), record: Some(Box::new(record)), revision: 210 };
    let actions = step(&mut n, NOW, claimed);
    assert!(matches!(&actions[..], [Action::Start(_)]), "{actions:?}");
}

#[test]
fn an_offer_is_taken_back_only_after_it_was_answered_and_its_room_is_free_only_then() {
    let (mut n, _) = node_one();
    let gone = step(&mut n, NOW, changed(205, vec![Fact::NotQueued(task(1))]));
    assert_eq!(gone, [], "its offer may still be on its way");
    assert_eq!(n.local()[&task(1)].phase, Phase::Withdrawing);
    let actions = step(&mut n, NOW, Event::Offered { task: task(1), node: node(1), revision: 204 });
    assert_eq!(actions, [Action::Withdraw { task: task(1), node: node(1) }]);
    assert!(n.local().contains_key(&task(1)));
    step(&mut n, NOW, Event::OfferGone { task: task(1), node: node(9) });
    assert!(n.local().contains_key(&task(1)), "that was another identity's");
    step(&mut n, NOW, Event::OfferGone { task: task(1), node: node(1) });
    assert!(n.local().is_empty());
}

#[test]
fn a_draining_node_takes_its_offer_back() {
    let (mut n, _) = node_one();
    step(&mut n, NOW, changed(201, vec![offered(1, 201)]));
    let actions = step(&mut n, NOW, Event::Drain(true));
    assert_eq!(actions, [Action::Withdraw { task: task(1), node: node(1) }]);
}

#[test]
fn after_a_restart_an_offer_that_nobody_knows_holds_its_room_until_it_is_taken_back() {
    let config = NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 500 };
    let mut n = Node::new(config);
    step(&mut n, NOW, Event::Registered { node: node(1), created: 1 });
    let facts = vec![node_up(1, cores(4)), offered(1, 90), support::queued(7, cores(4))];
    let actions = step(&mut n, NOW, Event::Synced(Box::new(Snapshot { revision: 200, facts })));
    assert_eq!(actions, [Action::Withdraw { task: task(1), node: node(1) }], "and nothing is stolen yet");
    let actions = step(&mut n, NOW, changed(210, vec![Fact::NotOffered { task: task(1), node: node(1) }]));
    assert!(matches!(&actions[..], [Action::Propose { .. }]), "now there is room: {actions:?}");
}

#[test]
fn a_refused_start_is_tried_again_later_while_the_plan_wants_it() {
    let (mut n, _) = node_one();
    step(&mut n, NOW, changed(202, vec![offered(1, 201), offered(2, 202)]));
    let late = NOW.plus(5_000);
    step(&mut n, late, Event::Tick);
    let transition = start(2);
    let refused =
        Event::Decided { task: task(1), transition, decision: Decision::Refused { runs_here: false } };
    assert_eq!(step(&mut n, late, refused), []);
    assert_eq!(n.local()[&task(1)].phase, Phase::Offering);
    let again = step(&mut n, late.plus(10_000), Event::Tick);
    assert!(matches!(&again[..], [Action::Propose { .. }]), "{again:?}");
}
