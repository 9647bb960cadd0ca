//! The plan: fits, keeps the order it promises, starves nobody, and makes full nodes choose apart without talking.

mod support;

use proptest::prelude::*;
use shoal_core::amount::Amount;
use shoal_core::counts::Counts;
use shoal_core::entry::{NodeState, QueueEntry};
use shoal_core::features::{Features, PIDS};
use shoal_core::id::{NodeId, TaskId};
use shoal_core::plan::{Exclusions, Free, Own, Plan, WINDOW_MIN, plan};
use shoal_core::time::BootMs;
use shoal_core::view::{Fact, View};
use shoal_core::why::why;
use std::collections::{BTreeMap, BTreeSet};
use support::{cores, node, node_entry, node_up, queue_entry, queued, running, task, view_of};

fn plan_of(view: &View) -> Plan {
    plan(view, &Free::of(view), &Exclusions::default())
}

/// What is left on each node that takes tasks.
fn rooms(view: &View) -> BTreeMap<NodeId, Amount> {
    let free = Free::of(view);
    view.nodes().keys().filter_map(|node| Some((*node, free.on(view, *node)?.clone()))).collect()
}

/// What nodes of kind 0 to 3 offer, and what tasks of that kind need.
fn features(kind: u8) -> Features {
    let has = [vec![], vec!["mount:data"], vec!["mount:data", "net:host"], vec!["net:host"]];
    let up_to = [None, Some(2048), None, Some(4096)][usize::from(kind)];
    Features {
        has: has[usize::from(kind)].iter().map(|word| (*word).to_owned()).collect(),
        up_to: up_to.into_iter().map(|most| (PIDS.to_owned(), most)).collect(),
    }
}

/// Nodes of several sizes, roots and offers, some draining; tasks of several sizes, roots and needs.
fn any_facts() -> impl Strategy<Value = Vec<Fact>> {
    let nodes = prop::collection::vec((1..9u32, 0..3u8, 0..4u8, prop::bool::weighted(0.2)), 0..6);
    let tasks = prop::collection::vec((1..10u32, 0..3u8, 0..4u8), 0..60);
    let busy = prop::collection::vec((0..6u64, 1..6u32), 0..10);
    (nodes, tasks, busy).prop_map(|(nodes, tasks, busy)| {
        let root = |kind: u8| ["default", "host", "lab"][usize::from(kind)].to_owned();
        let ups = nodes.into_iter().zip(1..).map(|((size, kind, offers, draining), n)| {
            let mut entry = node_entry("n", cores(size));
            entry.roots = (0..=kind).map(root).collect();
            entry.offers = features(offers);
            entry.state = if draining { NodeState::Draining } else { NodeState::Ready };
            Fact::NodeUp { node: node(n), entry, created: 1 }
        });
        let waiting = tasks.into_iter().zip(0..).map(|((size, kind, needs), n)| {
            let needs = features(needs);
            let entry = QueueEntry { root: root(kind), needs, ..queue_entry(cores(size), 1) };
            Fact::Queued { task: task(n), entry, created: 100 + n as i64 }
        });
        let busy = busy.into_iter().zip(1_000..).map(|((on, size), n)| running(n, on, cores(size)));
        ups.chain(waiting).chain(busy).collect()
    })
}

fn any_view() -> impl Strategy<Value = View> {
    any_facts().prop_map(view_of)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_placed_fits_and_may_run_there(view in any_view()) {
        let mut free = rooms(&view);
        let mut placed = BTreeSet::new();
        for p in plan_of(&view).placements {
            let shape = view.shape(view.queued(p.task).expect("only queued tasks are placed"));
            prop_assert!(view.nodes()[&p.node].could_hold(shape));
            prop_assert!(view.nodes()[&p.node].entry.offers.meets(&shape.parts[0].needs));
            prop_assert!(free[&p.node].fits(&shape.amount), "{} is overfull", p.node);
            free.insert(p.node, free[&p.node].minus(&shape.amount));
            prop_assert!(placed.insert(p.task), "placed twice");
        }
    }

    /// What is left out fits nowhere, or only where a node is kept for an earlier task, or for one that counts as equal.
    #[test]
    fn nothing_that_fits_is_left_out(view in any_view()) {
        let mut free = rooms(&view);
        let plan = plan_of(&view);
        let placed: BTreeSet<TaskId> = plan.placements.iter().map(|p| p.task).collect();
        for p in &plan.placements {
            let ask = &view.shape(view.queued(p.task).expect("queued")).amount;
            free.insert(p.node, free[&p.node].minus(ask));
        }
        for (task, left) in view.all_queued().filter(|(task, _)| !placed.contains(task)) {
            let group = |task, queued: &shoal_core::view::Queued| queued.order(task).rank.group();
            let kept = plan.reservation.as_ref().filter(|kept| {
                group(kept.task, view.queued(kept.task).expect("queued")) <= group(task, left)
            });
            let fits = |(id, room): (&NodeId, &Amount)| {
                let is_kept = kept.is_some_and(|kept| kept.nodes.contains(id));
                room.fits(&view.shape(left).amount) && view.nodes()[id].could_hold(view.shape(left)) && !is_kept
            };
            prop_assert!(!free.iter().any(fits), "{task} could start");
        }
    }

    #[test]
    fn the_same_facts_give_the_same_view_and_plan_in_whatever_order_they_come(
        (facts, by) in (any_facts(), 0..3usize)
    ) {
        let mut other = facts.clone();
        let by = by * other.len() / 3;
        other.rotate_left(by);
        let (one, other) = (view_of(facts), view_of(other));
        prop_assert_eq!(one.to_string(), other.to_string());
        prop_assert_eq!(plan_of(&one), plan_of(&other));
    }

    #[test]
    fn of_equal_tasks_a_node_takes_the_older_of_its_own_first(count in 1..80u64, slots in 1..9u32) {
        let facts = (0..count).map(|n| queued(n, cores(1))).chain((1..=3).map(|n| node_up(n, cores(slots))));
        let view = view_of(facts);
        let plan = plan_of(&view);
        for on in 1..=3 {
            let part = plan.placements.iter().filter(|p| p.node == node(on) && p.by_owner);
            let orders: Vec<_> = part.map(|p| view.queued(p.task).expect("queued").order(p.task)).collect();
            prop_assert!(orders.is_sorted(), "{orders:?}");
        }
        let last = plan.placements.iter().map(|p| view.queued(p.task).expect("queued").order(p.task).revision).max();
        prop_assert!(last.is_none_or(|last| last < 100 + WINDOW_MIN as i64));
    }
}

#[test]
fn excluded_tasks_and_nodes_take_no_part() {
    let view = view_of((0..20).map(|n| queued(n, cores(1))).chain((1..=3).map(|n| node_up(n, cores(4)))));
    let exclude = Exclusions { tasks: [task(3)].into(), nodes: [node(2)].into() };
    let plan = plan(&view, &Free::of(&view), &exclude);
    assert_eq!(plan.placements.len(), 8);
    assert!(plan.placements.iter().all(|p| p.task != task(3) && p.node != node(2)));
}

/// Share of what the nodes want that another wants as well: each believes that all others are full and has `slots` free itself.
fn overlap(nodes: u64, slots: u32, backlog: u64) -> f64 {
    let total = cores(64);
    let facts = (0..backlog).map(|n| queued(n, cores(1))).chain((1..=nodes).map(|n| node_up(n, total)));
    let view = view_of(facts);
    let mut wanted = BTreeMap::<TaskId, u32>::new();
    for me in 1..=nodes {
        let room = |n| if n == me { cores(slots) } else { cores(0) };
        let mut free = Free::of(&view);
        let others = (1..=nodes).filter(|n| *n != me);
        others.chain([me]).for_each(|n| free.correct(&view, node(n), room(n).into(), Own::default()));
        let plan = plan(&view, &free, &Exclusions::default());
        assert_eq!(plan.placements.len(), slots as usize);
        for p in plan.placements {
            *wanted.entry(p.task).or_default() += 1;
        }
    }
    let all: u32 = wanted.values().sum();
    f64::from(all - wanted.len() as u32) / f64::from(all)
}

#[test]
fn full_nodes_with_a_deep_backlog_choose_apart() {
    for (nodes, slots, most) in
        [(2, 4, 0.0), (3, 1, 0.0), (3, 8, 0.0), (10, 1, 0.0), (10, 8, 0.0), (50, 1, 0.01), (50, 8, 0.02)]
    {
        let share = overlap(nodes, slots, 1_000);
        println!("{nodes} nodes, {slots} free each: {:.1} % wanted twice", share * 100.0);
        assert!(share <= most, "{nodes} nodes with {slots} free: {share}");
    }
}

#[test]
fn nodes_that_own_nothing_of_what_waits_do_not_all_want_the_first() {
    let nodes = 50;
    let first = (0..2_000).filter(|n| owner(*n, nodes) == 1);
    let facts = first.map(|n| queued(n, cores(1))).chain((1..=nodes).map(|n| node_up(n, cores(64))));
    let view = view_of(facts);
    let wanted: BTreeSet<TaskId> = (2..=nodes)
        .map(|me| {
            let mut free = Free::of(&view);
            let room = |n| if n == me { cores(1) } else { cores(0) };
            let others = (1..=nodes).filter(|n| *n != me);
            others.chain([me]).for_each(|n| free.correct(&view, node(n), room(n).into(), Own::default()));
            plan(&view, &free, &Exclusions::default()).placements[0].task
        })
        .collect();
    // By chance alone 31 of 49.
    assert!(wanted.len() > 25, "{} of 49", wanted.len());
}

#[test]
fn an_empty_cluster_is_filled_by_one_plan() {
    let facts = (0..1_000).map(|n| queued(n, cores(1))).chain((1..=10).map(|n| node_up(n, cores(40))));
    let placements = plan_of(&view_of(facts)).placements;
    assert_eq!(placements.len(), 400);
    let by_owner = placements.iter().filter(|p| p.by_owner).count();
    assert!(by_owner > 340, "{by_owner} of 400");
}

/// How many younger tasks start before the oldest one, when node 1 never has room and the others have one slot that ends again and again.
fn overtakes(nodes: u64) -> u64 {
    let long = running(1_000_000, 1, cores(1));
    let mut view = view_of((1..=nodes).map(|n| node_up(n, cores(1))).chain([long]));
    let mut next = 0;
    let mut overtaken = 0;
    let head = (0..).find(|n| owner(*n, nodes) == 1).expect("node 1 owns some task");
    loop {
        while view.queue_len() < 2 * WINDOW_MIN * nodes as usize {
            view.apply(&queued(head + next, cores(1)), BootMs(0));
            next += 1;
        }
        view.ripen(BootMs(0));
        view.revision += 1;
        for p in plan_of(&view).placements {
            if p.task == task(head) {
                return overtaken;
            }
            overtaken += 1;
            view.apply(&Fact::NotQueued(p.task), BootMs(0));
        }
    }
}

fn owner(n: u64, nodes: u64) -> u64 {
    let all: Vec<u64> = (1..=nodes).collect();
    *shoal_core::rendezvous::pick(task(n).0, &all).expect("there is a node")
}

#[test]
fn the_head_of_the_queue_is_overtaken_a_bounded_number_of_times() {
    for nodes in [2, 3] {
        let count = overtakes(nodes);
        println!("{nodes} nodes, one full for ever: the head is overtaken {count} times");
        assert!(count <= WINDOW_MIN as u64 * (nodes - 1) * 5 / 4, "{nodes} nodes: {count}");
    }
}

/// The plan's text with ids as they are numbered here.
fn text_of(view: &View) -> String {
    let mut text = plan_of(view).to_string();
    for n in 0..9 {
        text = text.replace(&task(n).short(), &format!("task {n}"));
        text = text.replace(&node(n).to_string(), &format!("node {n}"));
    }
    text
}

#[test]
fn with_more_tasks_than_nodes_each_goes_to_its_owner() {
    let facts = (1..=3).map(|n| node_up(n, cores(4))).chain((0..5).map(|n| queued(n, cores(1))));
    let expected = "\
task 0 -> node 3: its owner has room
task 1 -> node 2: its owner has room
task 2 -> node 3: its owner has room
task 3 -> node 1: its owner has room
task 4 -> node 3: its owner has room
";
    assert_eq!(text_of(&view_of(facts)), expected);
}

#[test]
fn few_tasks_go_where_they_fit_best() {
    let facts = [node_up(1, cores(8)), node_up(2, cores(4)), node_up(3, cores(8)), running(99, 3, cores(5))];
    let tasks = [queued(0, cores(3)), queued(1, cores(4))];
    let expected = "\
task 0 -> node 3: it fits best
task 1 -> node 2: it fits best
";
    assert_eq!(text_of(&view_of(facts.into_iter().chain(tasks))), expected);
}

#[test]
fn what_needs_no_gpu_keeps_off_the_node_that_has_one() {
    let mut entry = node_entry("n1", cores(1));
    entry.counts = Counts([("gpu".to_owned(), 1)].into());
    let up = Fact::NodeUp { node: node(1), entry, created: 1 };
    let entry = QueueEntry { counts: Counts([("gpu".to_owned(), 1)].into()), ..queue_entry(cores(1), 1) };
    let asks = Fact::Queued { task: task(1), entry, created: 200 };
    let expected = "\
task 0 -> node 2: it fits best
task 1 -> node 1: it fits best
";
    assert_eq!(text_of(&view_of([up, node_up(2, cores(8)), queued(0, cores(1)), asks])), expected);
}

#[test]
fn who_wants_a_node_alone_takes_an_empty_one_whole() {
    let entry = QueueEntry { exclusive: true, ..queue_entry(cores(1), 1) };
    let alone = Fact::Queued { task: task(0), entry, created: 50 };
    let facts =
        [node_up(1, cores(4)), node_up(2, cores(4)), running(99, 1, cores(1)), alone, queued(1, cores(1))];
    let expected = "\
task 0 -> node 2: it fits best
task 1 -> node 1: it fits best
";
    assert_eq!(text_of(&view_of(facts)), expected);
}

#[test]
fn a_full_owner_is_gone_around_after_the_others_have_taken_their_own() {
    let full = running(99, 1, cores(4));
    let facts = [node_up(1, cores(4)), node_up(2, cores(4)), full];
    let expected = "\
task 0 -> node 2: its owner has room
task 1 -> node 2: its owner has room
task 2 -> node 2: its owner has room
task 4 -> node 2: its owner has room
node 2 kept for task 3, which waits for tasks without a limit
";
    assert_eq!(text_of(&view_of(facts.into_iter().chain((0..5).map(|n| queued(n, cores(1)))))), expected);
}

#[test]
fn a_need_is_waited_for_and_the_next_goes() {
    let needy = |n, needs: Features| Fact::Queued {
        task: task(n),
        entry: QueueEntry { needs, ..queue_entry(cores(1), 1) },
        created: 100 + n as i64,
    };
    let mut offering = node_entry("n2", cores(1));
    offering.offers = features(2);
    let up = Fact::NodeUp { node: node(2), entry: offering, created: 1 };
    let facts = [node_up(1, cores(4)), up, needy(0, features(1)), needy(1, features(2)), queued(2, cores(1))];
    let expected = "\
task 1 -> node 2: its owner has room
task 2 -> node 1: it fits best
";
    assert_eq!(text_of(&view_of(facts)), expected);
}

#[test]
fn why_names_the_need_that_is_missing() {
    let needs = |words: &[&str]| Features {
        has: words.iter().map(|word| (*word).to_owned()).collect(),
        ..Features::default()
    };
    let mut entry = node_entry("n2", cores(1));
    entry.offers = needs(&["mount:data"]);
    let waiting = |n, words: &[&str]| Fact::Queued {
        task: task(n),
        entry: QueueEntry { needs: needs(words), ..queue_entry(cores(1), 1) },
        created: 100 + n as i64,
    };
    let view = view_of([
        node_up(1, cores(1)),
        Fact::NodeUp { node: node(2), entry, created: 1 },
        waiting(0, &["mount:datasets"]),
        waiting(1, &["mount:data"]),
    ]);
    let nowhere = why(&view, &plan_of(&view), task(0), BootMs(0)).expect("it is queued");
    assert_eq!(nowhere.summary, "it can start nowhere: no live node offers the mount \"datasets\"");
    let lacks = |node: &str, name: &str| (node.to_owned(), format!("does not offer the mount {name:?}"));
    assert_eq!(nowhere.nodes, [lacks("n1", "datasets"), lacks("n2", "datasets")]);
    let somewhere = why(&view, &plan_of(&view), task(1), BootMs(0)).expect("it is queued");
    assert_eq!(somewhere.nodes, [lacks("n1", "data"), ("n2".to_owned(), "has room".to_owned())]);
}

#[test]
fn nothing_is_planned_from_a_view_that_has_not_seen_to_a_change_of_its_nodes() {
    let mut view = view_of((1..=3).map(|n| node_up(n, cores(1))).chain((0..9).map(|n| queued(n, cores(1)))));
    for change in [Fact::NodeDown(node(2)), node_up(7, cores(1))] {
        view.apply(&change, BootMs(0));
        assert_eq!(plan_of(&view), Plan::default());
        assert!(why(&view, &plan_of(&view), task(0), BootMs(0)).is_some(), "an answer all the same");
        view.ripen(BootMs(0));
        assert!(!plan_of(&view).placements.is_empty());
    }
}
