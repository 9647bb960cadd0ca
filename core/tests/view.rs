//! The view as a fold: whatever the history, equal revision means equal view, and what is used never drifts.

mod support;

use proptest::prelude::*;
use shoal_core::amount::Amount;
use shoal_core::backoff;
use shoal_core::clock::Tick;
use shoal_core::entry::{PartEntry, QueueEntry};
use shoal_core::features::Features;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::lock::Lockable;
use shoal_core::place::Place;
use shoal_core::plan::{Exclusions, Free, plan};
use shoal_core::resources::Resources;
use shoal_core::time::BootMs;
use shoal_core::view::{Fact, Snapshot, View};
use std::collections::BTreeMap;
use support::{cores, lock, node, node_entry, offer_entry, queue_entry, reserve, run_entry, task};

const NOW: BootMs = BootMs(1_000);

/// What the store holds, kept the simplest way there is.
#[derive(Clone, Debug, Default)]
struct Store {
    revision: i64,
    queued: BTreeMap<TaskId, Fact>,
    running: BTreeMap<(NodeId, TaskId), (Fact, Resources)>,
    offered: BTreeMap<(NodeId, TaskId), (Fact, Resources)>,
    nodes: BTreeMap<NodeId, Fact>,
    clock: Option<Fact>,
    locks: BTreeMap<Lockable, Fact>,
    reserve: Option<Fact>,
}

impl Store {
    fn take(&mut self, fact: &Fact) {
        self.revision += 1;
        match fact {
            Fact::Queued { task, .. } => drop(self.queued.insert(*task, fact.clone())),
            Fact::NotQueued(task) => drop(self.queued.remove(task)),
            Fact::Running { task, node, entry } => {
                self.running.insert((*node, *task), (fact.clone(), entry.resources));
            }
            Fact::NotRunning { task, node } => drop(self.running.remove(&(*node, *task))),
            Fact::Offered { task, node, entry, .. } => {
                self.offered.insert((*node, *task), (fact.clone(), entry.resources));
            }
            Fact::NotOffered { task, node } => drop(self.offered.remove(&(*node, *task))),
            Fact::NodeUp { node, .. } => drop(self.nodes.insert(*node, fact.clone())),
            Fact::NodeDown(node) => drop(self.nodes.remove(node)),
            Fact::Clock { .. } => self.clock = Some(fact.clone()),
            Fact::Locked { what, .. } => drop(self.locks.insert(what.clone(), fact.clone())),
            Fact::Unlocked(what) => drop(self.locks.remove(what)),
            Fact::Reserve(entry) => self.reserve = entry.as_ref().map(|_| fact.clone()),
        }
    }
    fn snapshot(&self) -> Snapshot {
        let running = self.running.values().chain(self.offered.values()).map(|(fact, _)| fact);
        let all = self
            .nodes
            .values()
            .chain(self.queued.values())
            .chain(running)
            .chain(&self.clock)
            .chain(&self.reserve)
            .chain(self.locks.values());
        let facts = all.cloned().collect();
        Snapshot { revision: self.revision, facts }
    }
    fn used_on(&self, node: NodeId) -> Amount {
        let runs = self.running.iter().filter(|((on, _), _)| *on == node).map(|(_, (_, ask))| *ask);
        let keeps = self.offered.iter().filter(|((on, _), _)| *on == node).map(|(_, (_, ask))| *ask);
        runs.chain(keeps).fold(Amount::default(), |sum, ask| sum.plus(&ask.into()))
    }
}

fn lockable(n: u64) -> Lockable {
    if n == 0 { Lockable::Queue } else { Lockable::Node(format!("n{n}")) }
}

/// Any fact at all, sensible or not: the fold must hold for what a broken peer writes, too.
fn any_fact() -> impl Strategy<Value = Fact> {
    let ids = (0..8u64, 0..4u64, 1..5u32, 1..4u32);
    (0..12u8, ids).prop_map(|(kind, (t, n, size, attempt))| match kind {
        0 => {
            let order = (attempt > 1).then_some(7);
            let (held, tick) = (size == 4, Tick(n));
            let moved =
                (t == 5).then(|| Place { step: -(n as i32), ..Place::of(&queue_entry(cores(1), 1), 100) });
            let parts = vec![PartEntry { nodes: 2, needs: Features::default() }; usize::from(n == 3)];
            let entry = QueueEntry { order, held, moved, tick, parts, ..queue_entry(cores(size), attempt) };
            Fact::Queued { task: task(t), entry, created: 100 }
        }
        1 => Fact::NotQueued(task(t)),
        2 => Fact::Running { task: task(t), node: node(n), entry: run_entry(cores(size), attempt) },
        3 => Fact::NotRunning { task: task(t), node: node(n) },
        4 => Fact::NodeUp { node: node(n), entry: node_entry("n", cores(size + 4)), created: 1 },
        5 => Fact::NodeDown(node(n)),
        6 => Fact::Clock { tick: Tick(t), revision: 7 },
        9 => Fact::Offered {
            task: task(t),
            node: node(n),
            entry: offer_entry(cores(size), attempt),
            created: 9,
        },
        10 => Fact::NotOffered { task: task(t), node: node(n) },
        11 => Fact::Reserve((n > 0).then(|| reserve(n as u32, None))),
        7 => Fact::Locked { what: lockable(n), entry: lock(Some(t)), revision: 8 },
        _ => Fact::Unlocked(lockable(n)),
    })
}

fn fold(facts: &[Fact], now: BootMs) -> (View, Store) {
    let (mut view, mut store) = (View::default(), Store::default());
    for fact in facts {
        view.apply(fact, now);
        store.take(fact);
    }
    view.revision = store.revision;
    (view, store)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_revision_means_equal_view_however_it_was_reached(
        facts in prop::collection::vec(any_fact(), 0..60), cut in 0..60usize,
    ) {
        let (mut folded, store) = fold(&facts, NOW);
        let mut listed = View::default();
        listed.reset(&store.snapshot(), NOW);
        let cut = cut.min(facts.len());
        let (mut caught_up, _) = fold(&facts[..facts.len() / 2], NOW);
        let (_, at_cut) = fold(&facts[..cut], NOW);
        caught_up.reset(&at_cut.snapshot(), NOW);
        for fact in &facts[cut..] {
            caught_up.apply(fact, NOW);
        }
        caught_up.revision = store.revision;
        for view in [&mut folded, &mut listed, &mut caught_up] {
            view.ripen(NOW.plus(backoff::MAX_MS));
        }
        let plan = |view: &View| plan(view, &Free::of(view), &Exclusions::default());
        prop_assert_eq!(folded.to_string(), listed.to_string());
        prop_assert_eq!(folded.to_string(), caught_up.to_string());
        prop_assert_eq!(plan(&folded), plan(&listed));
        prop_assert_eq!(plan(&folded), plan(&caught_up));
    }

    #[test]
    fn what_is_free_never_drifts(facts in prop::collection::vec(any_fact(), 0..120)) {
        let (view, store) = fold(&facts, NOW);
        for (id, peer) in view.nodes() {
            prop_assert_eq!(view.free_on(*id), peer.amount.minus(&store.used_on(*id)));
        }
    }

    #[test]
    fn each_queued_task_is_ripe_exactly_when_its_back_off_has_passed(
        facts in prop::collection::vec((any_fact(), 0..900u64, any::<bool>()), 0..60), last in 0..5_000u64,
    ) {
        let (mut view, mut now) = (View::default(), NOW);
        for (fact, pause, ripen) in &facts {
            now = now.plus(*pause);
            view.apply(fact, now);
            if *ripen {
                view.ripen(now);
            }
        }
        now = now.plus(last);
        view.ripen(now);
        let mut ripe: Vec<TaskId> = view.lines().flat_map(|line| &line.orders).map(|order| order.task).collect();
        let free: Vec<_> = view.all_queued().filter(|(_, q)| !q.held).collect();
        let due = |(_, q): &&(TaskId, &shoal_core::view::Queued)| q.ripe_at() <= now;
        let mut expected: Vec<TaskId> = free.iter().filter(due).map(|(task, _)| *task).collect();
        ripe.sort();
        expected.sort();
        prop_assert_eq!(view.ripe_len(), ripe.len());
        prop_assert_eq!(ripe, expected);
        prop_assert!(view.next_ripe().is_none_or(|at| at > now));
        prop_assert_eq!(view.next_ripe(), free.iter().map(|(_, q)| q.ripe_at()).filter(|at| *at > now).min());
        prop_assert!(view.lines().all(|line| !line.orders.is_empty()));
    }
}

#[test]
fn a_new_list_does_not_start_the_back_off_again() {
    let mut view = View::default();
    let fact = Fact::Queued { task: task(1), entry: queue_entry(cores(1), 2), created: 5 };
    view.apply(&fact, BootMs(0));
    view.reset(&Snapshot { revision: 9, facts: vec![fact] }, BootMs(900));
    assert_eq!(view.next_ripe(), Some(BootMs(backoff::wait_ms(2))));
    let next = Fact::Queued { task: task(1), entry: queue_entry(cores(1), 3), created: 12 };
    view.reset(&Snapshot { revision: 15, facts: vec![next] }, BootMs(950));
    assert_eq!(view.next_ripe(), Some(BootMs(950 + backoff::wait_ms(3))), "a new attempt waits anew");
}

#[test]
fn a_requeued_task_keeps_its_place_in_the_queue() {
    let mut view = View::default();
    view.apply(&support::queued(5, cores(1)), NOW);
    let again = QueueEntry { order: Some(101), ..queue_entry(cores(1), 2) };
    view.apply(&Fact::Queued { task: task(1), entry: again, created: 900 }, NOW);
    view.ripen(NOW.plus(backoff::MAX_MS));
    let order: Vec<TaskId> = view.lines().flat_map(|line| &line.orders).map(|order| order.task).collect();
    assert_eq!(order, [task(1), task(5)]);
}
