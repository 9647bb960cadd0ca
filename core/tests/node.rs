//! The node's state machine, one claim at a time: what it does when events come late, doubled or in an unlucky order.

mod support;

use shoal_core::event::{Action, Decision, Event, Found};
use shoal_core::id::{AttemptId, TaskId};
use shoal_core::node::{Node, NodeConfig, Phase};
use shoal_core::task::Task;
use shoal_core::time::BootMs;
use shoal_core::transition::{Outcome, Transition, apply};
use shoal_core::view::{Fact, Snapshot};
use support::{WALL, cores, exit_code, node, node_up, queued, queued_task, run_entry, running, task};

const NOW: BootMs = BootMs(10_000);

fn step(n: &mut Node, now: BootMs, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    n.step(now, event, &mut actions);
    actions
}

fn do_now(n: &mut Node, event: Event) -> Vec<Action> {
    step(n, NOW, event)
}

fn synced(revision: i64, facts: Vec<Fact>) -> Event {
    Event::Synced(Box::new(Snapshot { revision, facts }))
}

fn changed(revision: i64, facts: Vec<Fact>) -> Event {
    Event::Changed { facts, revision }
}

/// Node 1 of revision 1 with four cores and this view at revision 200, its first actions thrown away.
fn node_one(facts: Vec<Fact>) -> Node {
    let config = NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 500 };
    let mut n = Node::new(config);
    do_now(&mut n, Event::Registered { node: node(1), created: 1 });
    let facts = [node_up(1, cores(4))].into_iter().chain(facts).collect();
    do_now(&mut n, synced(200, facts));
    n
}

fn attempt(n: u64, number: u32) -> AttemptId {
    AttemptId { task: task(n), number }
}

fn exited() -> Outcome {
    Outcome::Exited(exit_code(0))
}

/// Task `n` as its attempt `number` on node 1.
fn record(n: u64, number: u32) -> Task {
    let steal = support::steal(1);
    apply(&Task { attempt: number, ..queued_task(n) }, &steal, WALL).expect("a queued task can be stolen")
}

/// Node 1 with attempt `number` of task `n` stolen at `revision` and started; its watch has not shown that yet.
fn steal_and_start(n: &mut Node, which: u64, number: u32, revision: i64) {
    let steal = support::steal(1);
    let decision = Decision::Committed { task: Box::new(record(which, number)), revision };
    let actions = do_now(n, Event::Decided { task: task(which), transition: steal, decision });
    assert!(starts(&actions).contains(&attempt(which, number)), "{actions:?}");
}

fn starts(actions: &[Action]) -> Vec<AttemptId> {
    let start = |a: &Action| match a {
        Action::Start(task) => Some(task.attempt_id()),
        _ => None,
    };
    actions.iter().filter_map(start).collect()
}

fn stops(actions: &[Action]) -> Vec<AttemptId> {
    let stop = |a: &Action| match a {
        Action::Stop { attempt, .. } => Some(*attempt),
        _ => None,
    };
    actions.iter().filter_map(stop).collect()
}

fn proposals(actions: &[Action]) -> Vec<(TaskId, Transition)> {
    let propose = |a: &Action| match a {
        Action::Propose { task, transition } => Some((*task, transition.clone())),
        _ => None,
    };
    actions.iter().filter_map(propose).collect()
}

fn claims(actions: &[Action]) -> Vec<TaskId> {
    let claim = |a: &Action| match a {
        Action::Claim(task) => Some(*task),
        _ => None,
    };
    actions.iter().filter_map(claim).collect()
}

#[test]
fn an_old_end_in_a_late_batch_does_not_kill_the_next_attempt() {
    let mut n = node_one(vec![Fact::Queued {
        task: task(1),
        entry: support::queue_entry(cores(1), 1),
        created: 150,
    }]);
    steal_and_start(&mut n, 1, 2, 212);
    let late = vec![
        Fact::Running { task: task(1), node: node(1), entry: run_entry(cores(1), 1) },
        Fact::NotRunning { task: task(1), node: node(1) },
        Fact::Running { task: task(1), node: node(1), entry: run_entry(cores(1), 2) },
        queued(9, cores(64)),
    ];
    let actions = do_now(&mut n, changed(220, late));
    assert_eq!(stops(&actions), [], "the batch as a whole says that attempt 2 runs here");
}

#[test]
fn a_batch_that_shows_a_whole_life_claims_nothing() {
    let mut n = node_one(vec![]);
    let life = vec![running(1, 1, cores(1)), Fact::NotRunning { task: task(1), node: node(1) }];
    assert_eq!(claims(&do_now(&mut n, changed(220, life))), []);
}

#[test]
fn a_disowned_attempt_is_killed() {
    let mut n = node_one(vec![queued(1, cores(1))]);
    steal_and_start(&mut n, 1, 1, 212);
    let gone = vec![running(1, 1, cores(1)), Fact::NotRunning { task: task(1), node: node(1) }];
    assert_eq!(stops(&do_now(&mut n, changed(220, gone))), [attempt(1, 1)]);
}

#[test]
fn changes_in_other_ranges_do_not_look_like_a_lost_key() {
    let config = NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 500 };
    let mut n = Node::new(config);
    do_now(&mut n, synced(200, vec![]));
    do_now(&mut n, Event::Registered { node: node(1), created: 210 });
    let actions = do_now(&mut n, changed(220, vec![queued(1, cores(1))]));
    assert!(!actions.contains(&Action::Fence(node(1))), "the range of node keys is behind that of tasks");
    let actions = do_now(&mut n, changed(210, vec![node_up(1, cores(4))]));
    assert_eq!(proposals(&actions).len(), 1, "{actions:?}");
    assert_eq!(n.view().revision, 220, "revisions never go back");
}

#[test]
fn a_missing_own_key_fences() {
    let mut n = node_one(vec![]);
    assert!(do_now(&mut n, changed(220, vec![Fact::NodeDown(node(1))])).contains(&Action::Fence(node(1))));
    let mut n = node_one(vec![]);
    assert!(do_now(&mut n, synced(220, vec![])).contains(&Action::Fence(node(1))));
    assert_eq!(n.identity(), None);
}

#[test]
fn a_kept_identity_whose_key_is_gone_fences_without_waiting_for_the_next_event() {
    let config = NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 500 };
    let mut n = Node::new(config);
    do_now(&mut n, synced(200, vec![]));
    let actions = do_now(&mut n, Event::Registered { node: node(1), created: 150 });
    assert!(actions.contains(&Action::Fence(node(1))), "{actions:?}");
}

#[test]
fn a_requeue_that_was_decided_is_not_proposed_again_before_the_watch_shows_it() {
    let lost = || vec![running(1, 2, cores(1))];
    for committed in [true, false] {
        let mut n = node_one(vec![]);
        let proposed = proposals(&do_now(&mut n, changed(210, lost())));
        let [(_, lose)] = proposed.as_slice() else { panic!("{proposed:?}") };
        let decision = match committed {
            true => Decision::Committed { task: Box::new(queued_task(1)), revision: 212 },
            false => Decision::Refused { runs_here: false },
        };
        let decided = Event::Decided { task: task(1), transition: lose.clone(), decision };
        let actions = do_now(&mut n, decided);
        assert_eq!(proposals(&actions), [], "committed: {committed}");
        let Some(Action::WakeAt(at)) = actions.last() else { panic!("no one looks again: {actions:?}") };
        assert!(at.since(NOW) >= 100, "that is a busy loop");
        assert_eq!(proposals(&step(&mut n, *at, Event::Tick)), proposed, "a view that stays so is acted on");
    }
}

#[test]
fn a_cancel_that_comes_while_the_record_is_read_is_carried_out() {
    let mut n = node_one(vec![]);
    assert_eq!(claims(&do_now(&mut n, changed(210, vec![running(1, 1, cores(1))]))), [task(1)]);
    let entry = shoal_core::entry::RunEntry { cancel: true, ..run_entry(cores(1), 1) };
    do_now(&mut n, changed(212, vec![Fact::Running { task: task(1), node: node(1), entry }]));
    let read_before = Some(Box::new(record(1, 1)));
    let actions = do_now(&mut n, Event::Claimed { task: task(1), record: read_before, revision: 210 });
    assert_eq!((starts(&actions), stops(&actions)), (vec![attempt(1, 1)], vec![attempt(1, 1)]));
}

#[test]
fn an_adopted_attempt_is_not_started_again() {
    let mut n = node_one(vec![running(1, 1, cores(1))]);
    do_now(&mut n, Event::Adopted { attempt: attempt(1, 1), found: Found::Alive });
    let claimed = Event::Claimed { task: task(1), record: Some(Box::new(record(1, 1))), revision: 190 };
    assert_eq!(starts(&do_now(&mut n, claimed)), []);
    assert_eq!(n.local()[&task(1)].phase, Phase::Running);
}

#[test]
fn an_adopted_attempt_that_is_canceled_has_the_grace_of_its_record() {
    let mut n = node_one(vec![running(1, 1, cores(1))]);
    do_now(&mut n, Event::Adopted { attempt: attempt(1, 1), found: Found::Alive });
    let mut record = record(1, 1);
    let canceled = shoal_core::entry::RunEntry { cancel: true, ..run_entry(cores(1), 1) };
    let cancel = || Fact::Running { task: task(1), node: node(1), entry: canceled.clone() };
    // The read that the list has asked for is under way, or is asked for now; in no case is the attempt stopped by a guess.
    assert_eq!(stops(&do_now(&mut n, changed(212, vec![cancel()]))), []);
    record.spec.kill_grace_ms = 77_000;
    let actions =
        do_now(&mut n, Event::Claimed { task: task(1), record: Some(Box::new(record)), revision: 212 });
    assert_eq!(starts(&actions), []);
    let stop = Action::Stop { attempt: attempt(1, 1), grace_ms: 77_000 };
    assert_eq!(actions.iter().filter(|action| **action == stop).count(), 1, "{actions:?}");
    assert_eq!(stops(&do_now(&mut n, changed(213, vec![cancel()]))), [], "asked twice");
}

#[test]
fn an_attempt_adopted_before_the_list_is_read_when_somebody_cancels_it() {
    let mut n = Node::new(NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 500 });
    do_now(&mut n, Event::Registered { node: node(1), created: 1 });
    do_now(&mut n, Event::Adopted { attempt: attempt(1, 1), found: Found::Alive });
    do_now(&mut n, synced(200, vec![node_up(1, cores(4)), running(1, 1, cores(1))]));
    let entry = shoal_core::entry::RunEntry { cancel: true, ..run_entry(cores(1), 1) };
    let actions = do_now(&mut n, changed(212, vec![Fact::Running { task: task(1), node: node(1), entry }]));
    assert_eq!((claims(&actions), stops(&actions)), (vec![task(1)], vec![]));
    let record = Some(Box::new(record(1, 1)));
    let actions = do_now(&mut n, Event::Claimed { task: task(1), record, revision: 212 });
    assert_eq!((starts(&actions), stops(&actions)), (vec![], vec![attempt(1, 1)]));
}

#[test]
fn an_adopted_attempt_that_the_store_does_not_know_is_killed_in_an_idle_cluster_too() {
    let mut n = node_one(vec![]);
    let now = do_now(&mut n, Event::Adopted { attempt: attempt(1, 1), found: Found::Alive });
    let mut stopped = stops(&now);
    stopped.extend(stops(&do_now(&mut n, synced(200, vec![node_up(1, cores(4))]))));
    assert!(stopped.contains(&attempt(1, 1)));
}

#[test]
fn the_latest_of_two_adopted_attempts_counts() {
    let config = NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 500 };
    let mut n = Node::new(config);
    do_now(&mut n, Event::Registered { node: node(1), created: 1 });
    let ended = |number| Event::Adopted { attempt: attempt(1, number), found: Found::Ended(exited()) };
    do_now(&mut n, ended(1));
    let actions = do_now(&mut n, ended(2));
    let finish = Transition::Finish { node: node(1), attempt: 2, outcome: exited() };
    assert_eq!(proposals(&actions), [(task(1), finish)], "the end of attempt 2 is lost: {actions:?}");
}

#[test]
fn an_attempt_hidden_behind_an_older_one_is_claimed_when_that_is_released() {
    let config = NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 500 };
    let mut n = Node::new(config);
    do_now(&mut n, Event::Registered { node: node(1), created: 1 });
    do_now(&mut n, Event::Adopted { attempt: attempt(1, 1), found: Found::Ended(exited()) });
    let entry = run_entry(cores(1), 2);
    let here = Fact::Running { task: task(1), node: node(1), entry };
    let mut actions = do_now(&mut n, synced(200, vec![node_up(1, cores(4)), here]));
    let transition = Transition::Finish { node: node(1), attempt: 1, outcome: exited() };
    let refused =
        Event::Decided { task: task(1), transition, decision: Decision::Refused { runs_here: false } };
    actions.extend(do_now(&mut n, refused));
    assert_eq!(claims(&actions), [task(1)]);
}

#[test]
fn nothing_is_proposed_after_a_fence() {
    let mut n = node_one(vec![queued(1, cores(1)), running(2, 1, cores(1)), running(3, 7, cores(1))]);
    assert_eq!(do_now(&mut n, Event::LeaseLost), [Action::Fence(node(1))]);
    let late = [
        Event::Ended { attempt: attempt(2, 1), outcome: exited() },
        changed(220, vec![queued(4, cores(1))]),
        Event::LeaseLost,
        Event::Tick,
    ];
    for event in late {
        assert_eq!(do_now(&mut n, event), []);
    }
}

#[test]
fn a_draining_node_takes_nothing_and_finishes_what_it_has() {
    let mut n = node_one(vec![queued(1, cores(1))]);
    steal_and_start(&mut n, 1, 1, 212);
    do_now(&mut n, Event::Drain(true));
    assert_eq!(proposals(&do_now(&mut n, changed(220, vec![queued(2, cores(1))]))), []);
    let ended = do_now(&mut n, Event::Ended { attempt: attempt(1, 1), outcome: exited() });
    assert_eq!(proposals(&ended).len(), 1);
    assert_eq!(proposals(&do_now(&mut n, Event::Drain(false))).len(), 1);
}

#[test]
fn a_restarted_server_starts_what_it_stole_and_never_started() {
    let n = &mut node_one(vec![running(1, 1, cores(1))]);
    let claimed = Event::Claimed { task: task(1), record: Some(Box::new(record(1, 1))), revision: 190 };
    assert_eq!(starts(&do_now(n, claimed)), [attempt(1, 1)]);
}

#[test]
fn capacity_is_reserved_before_the_steal_is_proposed() {
    let mut n = node_one(vec![]);
    let many: Vec<Fact> = (0..9).map(|i| queued(i, cores(1))).collect();
    assert_eq!(proposals(&do_now(&mut n, changed(220, many))).len(), 4);
    assert_eq!(proposals(&do_now(&mut n, Event::Tick)), [], "the four are still under way");
}

#[test]
fn a_refused_steal_is_left_alone_until_the_view_moves_or_a_second_has_passed() {
    let mut n = node_one(vec![]);
    let [(_, steal)] = &proposals(&do_now(&mut n, changed(220, vec![queued(1, cores(1))])))[..] else {
        panic!("not proposed")
    };
    let refused = Event::Decided {
        task: task(1),
        transition: steal.clone(),
        decision: Decision::Refused { runs_here: false },
    };
    let actions = do_now(&mut n, refused);
    let [Action::WakeAt(at)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(proposals(&step(&mut n, BootMs(at.0 - 1), Event::Tick)), []);
    assert_eq!(proposals(&step(&mut n, *at, Event::Tick)).len(), 1);
}

#[test]
fn an_end_that_comes_between_two_identities_is_released() {
    let mut n = node_one(vec![running(1, 1, cores(1))]);
    do_now(&mut n, Event::Adopted { attempt: attempt(1, 1), found: Found::Alive });
    do_now(&mut n, Event::LeaseLost);
    do_now(&mut n, Event::Ended { attempt: attempt(1, 1), outcome: exited() });
    let actions = do_now(&mut n, Event::Registered { node: node(3), created: 300 });
    let [(_, finish)] = &proposals(&actions)[..] else { panic!("the runner keeps it for ever: {actions:?}") };
    let refused = Event::Decided {
        task: task(1),
        transition: finish.clone(),
        decision: Decision::Refused { runs_here: false },
    };
    assert!(do_now(&mut n, refused).contains(&Action::Release(attempt(1, 1))));
}

#[test]
fn an_end_that_comes_before_a_kept_identity_is_registered_is_recorded() {
    let mut n = Node::new(NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 500 });
    do_now(&mut n, Event::Ended { attempt: attempt(1, 1), outcome: exited() });
    let mut actions = do_now(&mut n, Event::Registered { node: node(1), created: 1 });
    actions.extend(do_now(&mut n, Event::Adopted { attempt: attempt(1, 1), found: Found::Alive }));
    let finish = Transition::Finish { node: node(1), attempt: 1, outcome: exited() };
    assert_eq!(proposals(&actions), [(task(1), finish)]);
}

#[test]
fn a_result_decided_after_its_identity_was_lost_is_released_all_the_same() {
    let mut n = node_one(vec![running(1, 1, cores(1))]);
    do_now(&mut n, Event::Adopted { attempt: attempt(1, 1), found: Found::Alive });
    let actions = do_now(&mut n, Event::Ended { attempt: attempt(1, 1), outcome: exited() });
    let [(_, finish)] = &proposals(&actions)[..] else { panic!("not recorded: {actions:?}") };
    do_now(&mut n, Event::LeaseLost);
    do_now(&mut n, Event::Registered { node: node(3), created: 300 });
    let refused = Event::Decided {
        task: task(1),
        transition: finish.clone(),
        decision: Decision::Refused { runs_here: false },
    };
    assert!(do_now(&mut n, refused).contains(&Action::Release(attempt(1, 1))));
}

#[test]
fn a_result_of_an_attempt_that_is_not_known_yet_is_offered_to_the_store_before_it_is_let_go() {
    let mut n = Node::new(NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 500 });
    do_now(&mut n, Event::Registered { node: node(1), created: 1 });
    let actions = do_now(&mut n, Event::Ended { attempt: attempt(1, 1), outcome: exited() });
    let finish = Transition::Finish { node: node(1), attempt: 1, outcome: exited() };
    assert_eq!(actions, [Action::Propose { task: task(1), transition: finish.clone() }]);
    let actions = do_now(&mut n, synced(200, vec![node_up(1, cores(4)), running(1, 1, cores(1))]));
    assert_eq!(claims(&actions), [], "it is not started a second time");
    let decision = Decision::Committed { task: Box::new(record(1, 1)), revision: 210 };
    let decided = Event::Decided { task: task(1), transition: finish, decision };
    assert!(do_now(&mut n, decided).contains(&Action::Release(attempt(1, 1))));
}

#[test]
fn a_steal_that_is_refused_though_the_store_says_that_it_runs_here_is_claimed() {
    let mut n = node_one(vec![]);
    let [(_, steal)] = &proposals(&do_now(&mut n, changed(210, vec![queued(1, cores(1))])))[..] else {
        panic!("not proposed")
    };
    // Applied, its reply lost, and canceled before it was read back: the proposer finds another record than it wrote.
    let entry = shoal_core::entry::RunEntry { cancel: true, ..run_entry(cores(1), 1) };
    let here = vec![Fact::NotQueued(task(1)), Fact::Running { task: task(1), node: node(1), entry }];
    assert_eq!(claims(&do_now(&mut n, changed(212, here))), []);
    let refused = Event::Decided {
        task: task(1),
        transition: steal.clone(),
        decision: Decision::Refused { runs_here: false },
    };
    assert_eq!(claims(&do_now(&mut n, refused)), [task(1)], "else it is canceling until the next reconcile");
}

#[test]
fn a_node_that_cannot_launch_leaves_the_queue_to_others_until_a_launch_succeeds() {
    let mut n = node_one(vec![]);
    let fail = |n: &mut Node, which: u64, now: BootMs| {
        let steal = support::steal(1);
        let decision = Decision::Committed { task: Box::new(record(which, 1)), revision: 200 };
        step(n, now, Event::Decided { task: task(which), transition: steal, decision });
        let outcome = Outcome::LaunchFailed("no room".to_owned());
        step(n, now, Event::Ended { attempt: attempt(which, 1), outcome })
    };
    do_now(&mut n, changed(210, vec![queued(1, cores(1))]));
    fail(&mut n, 1, NOW);
    let actions = do_now(&mut n, changed(220, vec![queued(2, cores(1))]));
    assert_eq!(proposals(&actions), [], "the next task would fail too");
    let Some(Action::WakeAt(at)) = actions.last() else { panic!("no one looks again: {actions:?}") };
    assert_eq!(proposals(&step(&mut n, *at, Event::Tick)).len(), 1, "one more try");
    let late = fail(&mut n, 2, *at);
    let Some(Action::WakeAt(next)) = late.last() else { panic!("no one looks again: {late:?}") };
    assert!(next.since(*at) > at.since(NOW), "longer each time");
    step(&mut n, *next, changed(230, vec![queued(3, cores(1))]));
    step(&mut n, *next, Event::Started(attempt(3, 1)));
    fail(&mut n, 3, *next);
    let again = step(&mut n, *next, Event::Tick);
    let Some(Action::WakeAt(after)) = again.last() else { panic!("no one looks again: {again:?}") };
    assert_eq!(after.since(*next), at.since(NOW), "a launch that succeeded makes it healthy");
}

#[test]
fn images_that_fail_say_nothing_about_the_node() {
    let mut n = node_one(vec![]);
    do_now(&mut n, changed(210, vec![queued(1, cores(1))]));
    let failures = [Outcome::ImageNotReady("no holder".to_owned()), Outcome::NoImage("removed".to_owned())];
    for (which, outcome) in (1..).zip(failures.into_iter().cycle().take(8)) {
        let steal = support::steal(1);
        let decision = Decision::Committed { task: Box::new(record(which, 1)), revision: 200 + which as i64 };
        do_now(&mut n, Event::Decided { task: task(which), transition: steal, decision });
        do_now(&mut n, Event::Ended { attempt: attempt(which, 1), outcome });
        let next = do_now(&mut n, changed(300 + which as i64, vec![queued(which + 1, cores(1))]));
        let taken = proposals(&next);
        assert!(taken.iter().any(|(id, _)| *id == task(which + 1)), "after {which} failures: {next:?}");
    }
}

#[test]
fn a_node_whose_task_cannot_be_killed_takes_no_more_and_keeps_that_one_until_it_is_dead() {
    let mut n = node_one(vec![queued(1, cores(1))]);
    steal_and_start(&mut n, 1, 1, 201);
    let stuck = |which| Event::Stuck { attempt: attempt(which, 1), why: "a disk does not answer".to_owned() };
    let actions = do_now(&mut n, stuck(1));
    let [Action::Unfit(reason), ..] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(
        reason.contains(&attempt(1, 1).to_string()) && reason.contains("a disk does not answer"),
        "{reason}"
    );
    assert!(!do_now(&mut n, stuck(1)).iter().any(|action| matches!(action, Action::Unfit(_))), "said once");
    // There is room, and yet nothing is taken; the task stays what it is, and nothing is reported of it.
    let more = changed(210, vec![queued(7, cores(1))]);
    let actions = do_now(&mut n, more);
    assert!(!actions.iter().any(|action| matches!(action, Action::Propose { .. })), "{actions:?}");
    assert_eq!(n.local()[&task(1)].phase, Phase::Starting);
    // A task that was under way in the meantime starts; that says nothing of the one that is stuck.
    do_now(&mut n, Event::Started(attempt(1, 1)));
    let actions = do_now(&mut n, Event::Tick);
    assert!(actions.iter().all(|action| matches!(action, Action::WakeAt(_))), "{actions:?}");
    let actions = do_now(&mut n, Event::Ended { attempt: attempt(1, 1), outcome: exited() });
    assert!(actions.contains(&Action::Unfit(String::new())), "{actions:?}");
    let proposed = |wanted: TaskId| {
        actions.iter().any(|action| matches!(action, Action::Propose { task, .. } if *task == wanted))
    };
    assert!(proposed(task(1)), "its end: {actions:?}");
    assert!(proposed(task(7)), "the next task: {actions:?}");
}
