//! The reservation and what may run around it; and that a wide task's start never moves later because of it.

#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use shoal_core::clock::{TICK_S, Tick};
use shoal_core::counts::Counts;
use shoal_core::entry::{PartEntry, QueueEntry, RunEntry};
use shoal_core::features::{Features, label};
use shoal_core::id::NodeId;
use shoal_core::plan::{Exclusions, Free, Gathering, Own, Plan, plan};
use shoal_core::time::BootMs;
use shoal_core::view::{Fact, View};
use shoal_core::why::why;
use support::{cores, node, node_entry, node_up, offer_entry, queue_entry, run_entry, task};

const NOW: Tick = Tick(1_000);

fn view_of(facts: impl IntoIterator<Item = Fact>) -> View {
    let mut view = View::default();
    view.apply(&Fact::Clock { tick: NOW, revision: 1 }, BootMs(0));
    for fact in facts {
        view.apply(&fact, BootMs(0));
    }
    view.ripen(BootMs(0));
    view
}

fn plan_of(view: &View) -> Plan {
    plan(view, &Free::of(view), &Exclusions::default())
}

fn minutes(n: u64) -> u64 {
    n * 60 / TICK_S
}

/// Task `n` of so many nodes and cores on each; `limit` in minutes, 0 is none. Urgent, so that it comes before what has waited, or not.
fn waiting(n: u64, nodes: u32, size: u32, limit: u32) -> Fact {
    let parts = match nodes {
        1 => Vec::new(),
        _ => vec![PartEntry { nodes, needs: Features::default() }],
    };
    let entry = QueueEntry { parts, limit_s: limit * 60, tick: NOW, ..queue_entry(cores(size), 1) };
    Fact::Queued { task: task(n), entry: first(n, entry), created: 2_000 + n as i64 }
}

/// Task 0 is before all others, whatever it costs.
fn first(n: u64, entry: QueueEntry) -> QueueEntry {
    if n == 0 {
        QueueEntry { tick: Tick(0), priority: shoal_core::priority::Priority::HIGH, ..entry }
    } else {
        entry
    }
}

/// Runs on node `on` for `limit` minutes at most from now on; 0 is without a limit.
fn busy(n: u64, on: u64, size: u32, limit: u32) -> Fact {
    let entry = RunEntry { tick: NOW, limit_s: limit * 60, ..run_entry(cores(size), 1) };
    Fact::Running { task: task(n), node: node(on), entry }
}

fn starts(plan: &Plan) -> Vec<(u64, u64)> {
    let number = |id| (0..500).find(|n| task(*n) == id).unwrap();
    let place = |id| (0..500).find(|n| node(*n) == id).unwrap();
    plan.placements.iter().map(|p| (number(p.task), place(p.node))).collect()
}

fn sorted(nodes: &[NodeId]) -> Vec<NodeId> {
    let mut nodes = nodes.to_vec();
    nodes.sort();
    nodes
}

#[test]
fn a_task_of_three_nodes_starts_on_three_or_on_none() {
    let ups = || (1..=3).map(|n| node_up(n, cores(4)));
    let plan = plan_of(&view_of(ups().chain([waiting(0, 3, 2, 0)])));
    assert_eq!(plan.gangs.len(), 1);
    assert_eq!(sorted(&plan.gangs[0].nodes), [node(1), node(2), node(3)]);
    let one_is_full = [busy(99, 2, 3, 10), waiting(0, 3, 2, 0)];
    let plan = plan_of(&view_of(ups().chain(one_is_full)));
    assert_eq!(plan.gangs, []);
    let kept = plan.reservation.unwrap();
    assert_eq!((kept.task, kept.start), (task(0), Some(Tick(NOW.0 + minutes(10) + 2))));
}

#[test]
fn parts_of_two_types_go_to_nodes_of_their_types() {
    let typed = |n: u64, kind: &str| {
        let mut entry = node_entry(&format!("n{n}"), cores(4));
        entry.offers.has.insert(label(kind));
        Fact::NodeUp { node: node(n), entry, created: n as i64 }
    };
    let needs = |kind: &str| Features { has: [label(kind)].into(), ..Features::default() };
    let parts =
        vec![PartEntry { nodes: 2, needs: needs("type=a") }, PartEntry { nodes: 1, needs: needs("type=b") }];
    let entry = QueueEntry { parts, ..queue_entry(cores(1), 1) };
    let wants = Fact::Queued { task: task(0), entry, created: 50 };
    let ups = [typed(1, "type=a"), typed(2, "type=b"), typed(3, "type=a"), typed(4, "type=b")];
    let plan = plan_of(&view_of(ups.into_iter().chain([wants])));
    let nodes = &plan.gangs[0].nodes;
    assert_eq!(sorted(&nodes[..2]), [node(1), node(3)]);
    assert!(nodes[2] == node(2) || nodes[2] == node(4));
}

#[test]
fn what_ends_in_time_or_leaves_room_runs_before_a_wide_task_and_nothing_else_does() {
    let ups = (1..=2).map(|n| node_up(n, cores(4)));
    let facts = [
        busy(90, 1, 4, 30),
        waiting(0, 2, 3, 0),
        waiting(1, 1, 2, 60),
        waiting(2, 1, 2, 10),
        waiting(3, 1, 1, 60),
        waiting(4, 1, 2, 0),
    ];
    let plan = plan_of(&view_of(ups.chain(facts)));
    assert_eq!(plan.reservation.as_ref().map(|kept| kept.task), Some(task(0)));
    // Task 1 would still hold two cores of node 2 when node 1 is free; task 2 has ended by then; task 3 needs only what is left over.
    let mut started = starts(&plan);
    started.sort_unstable();
    assert_eq!(started, [(2, 2), (3, 2)]);
}

#[test]
fn what_no_set_of_live_nodes_could_hold_stops_nobody() {
    let ups = (1..=2).map(|n| node_up(n, cores(4)));
    let plan = plan_of(&view_of(ups.chain([waiting(0, 3, 1, 0), waiting(1, 1, 4, 0)])));
    assert_eq!((plan.reservation, plan.gangs), (None, vec![]));
    assert_eq!(plan.placements.len(), 1);
}

#[test]
fn who_has_offered_stays_in_the_plan() {
    let ups = || (1..=4).map(|n| node_up(n, cores(4)));
    let before = plan_of(&view_of(ups().chain([waiting(0, 2, 2, 0)]))).gangs[0].nodes.clone();
    let other = (1..=4).map(node).find(|n| !before.contains(n)).unwrap();
    let offered = Fact::Offered { task: task(0), node: other, entry: offer_entry(cores(2), 1), created: 9 };
    // The offer takes its room from all others, so that the node would be the fullest for anybody else.
    let view = view_of(ups().chain([waiting(0, 2, 2, 0), offered]));
    assert_eq!(view.free_on(other), cores(2).into());
    let Gathering { nodes, .. } = plan_of(&view).gangs[0].clone();
    assert_eq!(nodes[0], other);
}

#[test]
fn why_says_what_is_kept_and_until_when() {
    let ups = (1..=2).map(|n| node_up(n, cores(4)));
    let view = view_of(ups.chain([busy(90, 1, 4, 30), waiting(0, 2, 3, 0), waiting(1, 1, 2, 60)]));
    let said = |n| why(&view, &plan_of(&view), task(n), BootMs(0)).unwrap();
    let wide = said(0).summary;
    assert!(
        wide.starts_with("it takes 2 nodes at once, 1 have room; 0 queued before it; kept for it: "),
        "{wide}"
    );
    assert!(wide.contains("; it starts in at most 30 min; probably in about 10 min (how long"), "{wide}");
    assert_eq!(said(0).latest_s, Some(1_820));
    assert_eq!(said(1).nodes[1].1, format!("has room, kept for {}", task(0).short()));
}

/// A cluster in use, tasks of all widths, some without limits; the first of them is wide.
fn any_cluster() -> impl Strategy<Value = Vec<Fact>> {
    let busy_tasks = prop::collection::vec((1..8u64, 1..4u32, 0..40u32), 0..16);
    let tasks = prop::collection::vec((1..4u32, 1..5u32, 0..90u32), 0..24);
    let head = (2..7u32, 1..5u32, 0..60u32);
    (busy_tasks, head, tasks).prop_map(|(busy_tasks, (nodes, size, limit), tasks)| {
        let mut facts: Vec<Fact> = (1..=7).map(|n| node_up(n, cores(4))).collect();
        let mut left = [4_u32; 8];
        for ((on, size, limit), n) in busy_tasks.into_iter().zip(300..) {
            let room = &mut left[on as usize];
            if *room >= size {
                *room -= size;
                facts.push(busy(n, on, size, limit));
            }
        }
        facts.push(waiting(0, nodes, size, limit));
        facts.extend(
            tasks.into_iter().zip(1..).map(|((nodes, size, limit), n)| waiting(n, nodes, size, limit)),
        );
        facts
    })
}

/// The plan carried out: what starts runs from now on.
fn carried_out(facts: &[Fact], plan: &Plan) -> Vec<Fact> {
    let mut facts = facts.to_vec();
    let singles = plan.placements.iter().map(|p| (p.task, vec![p.node]));
    for (started, nodes) in singles.chain(plan.gangs.iter().map(|gang| (gang.task, gang.nodes.clone()))) {
        let entry = facts.iter().find_map(|fact| match fact {
            Fact::Queued { task, entry, .. } if *task == started => Some(entry.clone()),
            _ => None,
        });
        let entry = entry.unwrap();
        facts.push(Fact::NotQueued(started));
        for node in nodes {
            let run = RunEntry { tick: NOW, limit_s: entry.limit_s, ..run_entry(entry.resources, 1) };
            facts.push(Fact::Running { task: started, node, entry: run });
        }
    }
    facts
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn backfill_never_moves_a_reserved_start(facts in any_cluster()) {
        let before = view_of(facts.clone());
        let plan = plan_of(&before);
        let Some(kept) = plan.reservation.clone() else { return Ok(()) };
        let after = view_of(carried_out(&facts, &plan));
        let again = plan_of(&after);
        let started_now = again.gangs.iter().any(|gang| gang.task == kept.task)
            || again.placements.iter().any(|p| p.task == kept.task);
        // A tail of the plan that came before the reservation counts as done; what is kept next is kept for the same.
        let next = again.reservation.clone().filter(|next| next.task == kept.task);
        // Of equal tasks of one node, one that was before it in the queue may be who is kept for now.
        let place = |task| before.queued(task).unwrap().order(task);
        let is_gang = before.shape(before.queued(kept.task).unwrap()).is_gang();
        let gave_way = again.reservation.as_ref().is_some_and(|next| !is_gang && place(next.task) < place(kept.task));
        prop_assert!(started_now || next.is_some() || gave_way, "{kept:?} is forgotten: {again:?}");
        if let (Some(was), Some(next)) = (kept.start, next) {
            prop_assert!(next.start.is_some_and(|is| is <= was), "{was} became {:?}", next.start);
        }
    }

    #[test]
    fn no_node_is_overfull_and_no_task_is_on_a_node_twice(facts in any_cluster()) {
        let view = view_of(facts.clone());
        let plan = plan_of(&view);
        for gang in &plan.gangs {
            let distinct: std::collections::BTreeSet<_> = gang.nodes.iter().collect();
            prop_assert_eq!(distinct.len(), gang.nodes.len());
        }
        let mut used = std::collections::BTreeMap::<NodeId, u32>::new();
        let size = |task| view.shape(view.queued(task).unwrap()).amount.resources.cpu_milli;
        let singles = plan.placements.iter().map(|p| (p.node, size(p.task)));
        let parts = plan.gangs.iter().flat_map(|gang| gang.nodes.iter().map(|node| (*node, size(gang.task))));
        for (node, size) in singles.chain(parts) {
            *used.entry(node).or_default() += size;
            prop_assert!(used[&node] <= view.free_on(node).resources.cpu_milli);
        }
    }
}

#[test]
fn counted_things_are_waited_for_like_cores() {
    let gpus = |n| Counts([("gpu".to_owned(), n)].into());
    let mut entry = node_entry("n1", cores(8));
    entry.counts = gpus(2);
    let up = Fact::NodeUp { node: node(1), entry, created: 1 };
    let run = RunEntry { tick: NOW, limit_s: 600, counts: gpus(1), ..run_entry(cores(1), 1) };
    let runs = Fact::Running { task: task(90), node: node(1), entry: run };
    let wants = QueueEntry { counts: gpus(2), ..queue_entry(cores(1), 1) };
    let view =
        view_of([up, runs, Fact::Queued { task: task(0), entry: wants, created: 50 }, waiting(1, 1, 1, 0)]);
    let plan = plan_of(&view);
    assert_eq!(plan.reservation.as_ref().and_then(|kept| kept.start), Some(Tick(NOW.0 + 62)));
    assert_eq!(starts(&plan), [(1, 1)], "it takes no gpu");
}

#[test]
fn what_a_node_has_just_begun_to_take_ends_as_well() {
    // The node's own steals are not in the store yet. If they had no end, a reservation would have no start, and a stream of small tasks would never let
    // the wide one in.
    let ups = (1..=2).map(|n| node_up(n, cores(4)));
    let view = view_of(ups.chain([busy(90, 2, 4, 10), waiting(0, 2, 3, 0), waiting(1, 1, 1, 10)]));
    let mut free = Free::of(&view);
    let end = Some(Tick(NOW.0 + 7));
    let held = vec![(cores(2).into(), end), (cores(2).into(), end)];
    free.correct(&view, node(1), cores(0).into(), Own { held, ..Own::default() });
    let plan = plan(&view, &free, &Exclusions::default());
    assert_eq!(plan.reservation.and_then(|kept| kept.start), Some(Tick(NOW.0 + minutes(10) + 2)));
}
