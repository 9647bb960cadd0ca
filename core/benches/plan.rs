//! What a view and a plan cost: `cargo bench -p shoal-core --bench plan`. Memory for each queued task, time for each change folded in, and starts planned a
//! second, with a million tasks queued on 1,000 and 10,000 nodes. One thread; figures go to docs/benchmarks.md.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/support/mod.rs"]
mod support;

use shoal_core::clock::Tick;
use shoal_core::entry::{PartEntry, QueueEntry, RunEntry};
use shoal_core::features::Features;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::plan::{Exclusions, Free, Plan, plan};
use shoal_core::priority::Priority;
use shoal_core::time::BootMs;
use shoal_core::view::{Fact, View};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::{Rng, cores, node, node_up, queue_entry, run_entry, task};

const TASKS: u64 = 1_000_000;
const ROUNDS: usize = 5;
const NOW: BootMs = BootMs(0);
/// Cores of a node; tasks take one, two or four.
const CORES: u32 = 8;

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap() * 4_096
}

fn entry(rng: &mut Rng, n: u64) -> QueueEntry {
    let size = [1, 1, 1, 2, 4][rng.within(0, 4) as usize];
    let priority = Priority::new([250, 500, 500, 500, 750][rng.within(0, 4) as usize]).unwrap();
    let limit_s = [0, 600, 3_600, 3_600, 14_400][rng.within(0, 4) as usize];
    let expected_s = [30, 300, 1_800][rng.within(0, 2) as usize];
    QueueEntry { priority, limit_s, expected_s, tick: Tick(n / 5_000), ..queue_entry(cores(size), 1) }
}

/// A world that carries out what is planned.
struct World {
    view: View,
    rng: Rng,
    entries: BTreeMap<TaskId, QueueEntry>,
    running: Vec<(TaskId, NodeId)>,
    next: u64,
}

impl World {
    fn new(nodes: u64, keep_entries: bool) -> World {
        let mut world = World {
            view: View::default(),
            rng: Rng(7),
            entries: BTreeMap::new(),
            running: Vec::new(),
            next: 0,
        };
        world.view.apply(&Fact::Clock { tick: Tick(TASKS / 5_000 + 1), revision: 1 }, NOW);
        (1..=nodes).for_each(|n| world.view.apply(&node_up(n, cores(CORES)), NOW));
        world.submit(TASKS, keep_entries);
        world.view.ripen(NOW);
        world
    }

    fn submit(&mut self, count: u64, keep_entries: bool) {
        for _ in 0..count {
            let (id, entry) = (task(self.next), entry(&mut self.rng, self.next));
            let created = 1_000 + (self.next / 500) as i64;
            let entry = QueueEntry { seq: (self.next % 500) as u32, ..entry };
            self.view.apply(&Fact::Queued { task: id, entry: entry.clone(), created }, NOW);
            if keep_entries {
                self.entries.insert(id, entry);
            }
            self.next += 1;
        }
    }

    fn plan(&self) -> Plan {
        plan(&self.view, &Free::of(&self.view), &Exclusions::default())
    }

    /// What is planned starts; how many, and how many facts that made.
    fn start(&mut self, plan: &Plan) -> (usize, Duration) {
        let placements = plan.placements.iter().map(|p| (p.task, vec![p.node]));
        let all: Vec<_> = placements.chain(plan.gangs.iter().map(|g| (g.task, g.nodes.clone()))).collect();
        let begun = Instant::now();
        for (task, nodes) in &all {
            let entry = self.entries.remove(task).unwrap();
            self.view.apply(&Fact::NotQueued(*task), NOW);
            let run = RunEntry {
                tick: self.view.clock().0,
                limit_s: entry.limit_s,
                ..run_entry(entry.resources, 1)
            };
            for node in nodes {
                self.view.apply(&Fact::Running { task: *task, node: *node, entry: run.clone() }, NOW);
                self.running.push((*task, *node));
            }
        }
        (all.len(), begun.elapsed())
    }

    /// So many of those that run end.
    fn end(&mut self, count: usize) -> Duration {
        let begun = Instant::now();
        for _ in 0..count.min(self.running.len()) {
            let at = self.rng.within(0, self.running.len() as u64 - 1) as usize;
            let (task, node) = self.running.swap_remove(at);
            self.view.apply(&Fact::NotRunning { task, node }, NOW);
        }
        begun.elapsed()
    }

    /// A task of so many nodes that comes before all others.
    fn wide(&mut self, nodes: u32) {
        let parts = vec![PartEntry { nodes, needs: Features::default() }];
        let entry = QueueEntry {
            parts,
            tick: Tick(0),
            priority: Priority::HIGH,
            limit_s: 3_600,
            expected_s: 6 * 3_600,
            ..queue_entry(cores(CORES), 1)
        };
        let id = task(10_000_000 + self.next);
        self.entries.insert(id, entry.clone());
        self.view.apply(&Fact::Queued { task: id, entry, created: 1 }, NOW);
        self.view.ripen(NOW);
    }
}

fn median(mut of: Vec<f64>) -> (f64, f64, f64) {
    of.sort_by(f64::total_cmp);
    (of[of.len() / 2], of[0], of[of.len() - 1])
}

fn show(what: &str, unit: &str, of: Vec<f64>) {
    let (middle, least, most) = median(of);
    println!("{what:<66} {middle:>10.1} {unit} ({least:.1} to {most:.1})");
}

fn memory() {
    let (mut bytes, mut apply_ns) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = resident();
        let begun = Instant::now();
        let world = World::new(1_000, false);
        apply_ns.push(begun.elapsed().as_nanos() as f64 / TASKS as f64);
        bytes.push((resident() - before) as f64 / TASKS as f64);
        drop(world);
    }
    // Later rounds get memory that the first gave back, so the first is the true one.
    println!("{:<66} {:>10.1} B", "a queued task in the view, of 1,000,000", bytes[0]);
    show("queueing one of 1,000,000", "ns", apply_ns);
}

/// Starts a second when `ends` tasks end between two plans.
fn planning(nodes: u64, ends: usize, wide: u32) {
    let mut world = World::new(nodes, true);
    let filled = world.plan();
    world.start(&filled);
    while world.start(&world.plan()).0 > 0 {}
    if wide > 0 {
        world.wide(wide);
    }
    let (mut plan_us, mut rate, mut whole_rate, mut fold_ns) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let (mut planned, mut folded, mut started, mut plans) = (Duration::ZERO, Duration::ZERO, 0, 0);
        for _ in 0..40 {
            folded += world.end(ends);
            let begun = Instant::now();
            world.view.ripen(NOW);
            let plan = world.plan();
            planned += begun.elapsed();
            let (count, fold) = world.start(&plan);
            folded += fold;
            (started, plans) = (started + count, plans + 1);
        }
        plan_us.push(planned.as_micros() as f64 / f64::from(plans));
        rate.push(started as f64 / planned.as_secs_f64());
        whole_rate.push(started as f64 / (planned + folded).as_secs_f64());
        fold_ns.push(folded.as_nanos() as f64 / (3 * started).max(1) as f64);
    }
    let what = format!(
        "{nodes} nodes, {ends} ends between plans{}",
        if wide > 0 { format!(", {wide} nodes kept") } else { String::new() }
    );
    show(&format!("{what}: a plan"), "us", plan_us);
    show(&format!("{what}: starts planned"), "/s", rate);
    show(&format!("{what}: planned and folded in"), "/s", whole_rate);
    show(&format!("{what}: a change folded in"), "ns", fold_ns);
}

/// A short queue and an idle cluster: what one submit costs.
fn idle(nodes: u64) {
    let mut world = World::new(0, false);
    world.view = View::default();
    (1..=nodes).for_each(|n| world.view.apply(&node_up(n, cores(CORES)), NOW));
    world.view.ripen(NOW);
    let mut us = Vec::new();
    for n in 0..200 {
        let id = task(20_000_000 + n);
        world.view.apply(&Fact::Queued { task: id, entry: queue_entry(cores(1), 1), created: 5 }, NOW);
        let begun = Instant::now();
        world.view.ripen(NOW);
        let plan = world.plan();
        us.push(begun.elapsed().as_nanos() as f64 / 1_000.0);
        assert_eq!(plan.placements.len(), 1);
        world.view.apply(&Fact::NotQueued(id), NOW);
    }
    show(&format!("{nodes} idle nodes, one task: a plan"), "us", us);
}

fn main() {
    let _ = node(1);
    memory();
    idle(1_000);
    for (nodes, ends) in [(1_000, 1), (1_000, 40), (1_000, 400), (10_000, 40), (10_000, 400)] {
        planning(nodes, ends, 0);
    }
    planning(1_000, 40, 50);
    planning(10_000, 40, 50);
}
