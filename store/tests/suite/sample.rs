//! Tasks and nodes to try things on.

use shoal_core::clock::Tick;
use shoal_core::gang::Member;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::resources::Resources;
use shoal_core::spec::{GangPart, Net, OnNodeLoss, TaskSpec, Unknown};
use shoal_core::task::{Exit, ExitHow, Task};
use shoal_core::time::WallMs;
use shoal_core::transition::{Outcome, Transition, apply};
use std::collections::BTreeMap;
use uuid::Uuid;

pub fn task(number: u128) -> Task {
    let spec = TaskSpec {
        command: vec!["true".to_owned()],
        env: BTreeMap::new(),
        root: "default".to_owned(),
        resources: Resources { cpu_milli: 1000, memory_bytes: 64 << 20 },
        pids_max: 64,
        name: String::new(),
        user: String::new(),
        workdir: "/".to_owned(),
        time_limit_ms: 0,
        kill_grace_ms: 1000,
        max_attempts: 3,
        on_node_loss: OnNodeLoss::Requeue,
        net: Net::Loopback,
        mounts: Vec::new(),
        labels: Vec::new(),
        run_as: None,
        open_files_max: 0,
        disk_bytes_max: 0,
        io_bytes_per_s_max: 0,
        log_bytes_max: 0,
        priority: Default::default(),
        parts: Vec::new(),
        gang_end: Default::default(),
        exclusive: false,
        counts: Default::default(),
        unknown: Unknown::new(),
    };
    Task::new(TaskId(Uuid::from_u128(number)), spec, (0, 1), WallMs(1_000_000))
}

pub fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(0xffff_0000 + number))
}

pub fn stolen(task: &Task, by: NodeId) -> Task {
    let (node_name, tick) = ("n".to_owned(), Tick(0));
    let steal = Transition::Steal { node: by, node_name, tick, members: Vec::new() };
    apply(task, &steal, WallMs(1_001_000)).unwrap()
}

/// A task of so many nodes.
pub fn gang(number: u128, nodes: u32) -> Task {
    let mut task = task(number);
    task.spec.parts = vec![GangPart { nodes, labels: Vec::new() }];
    task
}

/// All these nodes take it.
pub fn gang_stolen(task: &Task, by: &[NodeId]) -> Task {
    let member = |node: &NodeId| Member {
        node: *node,
        node_name: "n".to_owned(),
        address: "127.0.0.1".to_owned(),
        end: None,
    };
    let members = by.iter().map(member).collect();
    let steal = Transition::Steal { node: by[0], node_name: "n".to_owned(), tick: Tick(0), members };
    apply(task, &steal, WallMs(1_001_000)).unwrap()
}

/// This node's part has ended.
pub fn part_finished(task: &Task, node: NodeId) -> Task {
    let outcome = Outcome::Exited(Exit { how: ExitHow::Code(0), oom_killed: false });
    apply(task, &Transition::Finish { node, attempt: task.attempt, outcome }, WallMs(1_002_000)).unwrap()
}

pub fn finished(task: &Task) -> Task {
    let node = task.node().expect("it runs");
    let outcome = Outcome::Exited(Exit { how: ExitHow::Code(0), oom_killed: false });
    apply(task, &Transition::Finish { node, attempt: task.attempt, outcome }, WallMs(1_002_000)).unwrap()
}

pub fn lost(task: &Task) -> Task {
    let node = task.node().expect("it runs");
    apply(task, &Transition::Lose { node, attempt: task.attempt }, WallMs(1_003_000)).unwrap()
}
