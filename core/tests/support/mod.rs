//! Builders that the tests of the core share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use shoal_core::clock::Tick;
use shoal_core::counts::Counts;
use shoal_core::entry::{NodeEntry, NodeState, OfferEntry, QueueEntry, RunEntry};
use shoal_core::features::{COUNTS, Features, GANGS};
use shoal_core::id::{NodeId, TaskId};
use shoal_core::lock::LockEntry;
use shoal_core::priority::Priority;
use shoal_core::reserve::ReserveEntry;
use shoal_core::resources::Resources;
use shoal_core::spec::{GangEnd, GangPart, Net, OnNodeLoss, TaskSpec, Unknown};
use shoal_core::task::{Cancel, Exit, ExitHow, Task};
use shoal_core::time::{BootMs, WallMs};
use shoal_core::transition::Transition;
use shoal_core::view::{Fact, View};
use std::collections::BTreeMap;
use uuid::Uuid;

pub const MIB: u64 = 1 << 20;
pub const WALL: WallMs = WallMs(1_000);

/// The view of these facts, all of them seen at once.
pub fn view_of(facts: impl IntoIterator<Item = Fact>) -> View {
    let mut view = View::default();
    for fact in facts {
        view.apply(&fact, BootMs(0));
    }
    view.ripen(BootMs(0));
    view
}

/// Node `n`: its number stays readable in the last digits.
pub fn node(n: u64) -> NodeId {
    NodeId(Uuid::from_u64_pair(0x0192_0000_0000_7000, 0x8000_0000_0000_0000 | n))
}

/// Task `n`, with digits that hash as those of real ids do.
pub fn task(n: u64) -> TaskId {
    TaskId::of_request(Uuid::from_u128(0x0192_aaaa_0000_7000_8000_0000_0000_0000), n as usize)
}

pub fn cores(count: u32) -> Resources {
    Resources { cpu_milli: count * 1_000, memory_bytes: u64::from(count) * 64 * MIB }
}

pub fn spec(resources: Resources) -> TaskSpec {
    TaskSpec {
        command: vec!["true".to_owned()],
        env: BTreeMap::new(),
        root: "default".to_owned(),
        resources,
        pids_max: 64,
        name: String::new(),
        priority: Priority::NORMAL,
        user: String::new(),
        workdir: "/".to_owned(),
        time_limit_ms: 60_000,
        kill_grace_ms: 500,
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
        parts: Vec::new(),
        gang_end: GangEnd::default(),
        exclusive: false,
        counts: Counts::default(),
        unknown: Unknown::new(),
    }
}

/// A task of several nodes, alike.
pub fn gang_spec(nodes: u32, resources: Resources) -> TaskSpec {
    TaskSpec { parts: vec![GangPart { nodes, labels: Vec::new() }], ..spec(resources) }
}

pub fn queued_task(n: u64) -> Task {
    Task::new(task(n), spec(cores(1)), (0, 1), WALL)
}

/// Node `n` takes a task of one node.
pub fn steal(n: u64) -> Transition {
    let (node, node_name) = (node(n), format!("n{n}"));
    Transition::Steal { node, node_name, tick: Tick(0), members: Vec::new() }
}

pub fn cancel() -> Cancel {
    Cancel { by: "eve".to_owned(), reason: "not needed".to_owned(), at: WALL }
}

pub fn exit_code(code: u8) -> Exit {
    Exit { how: ExitHow::Code(code), oom_killed: false }
}

pub fn node_entry(name: &str, resources: Resources) -> NodeEntry {
    NodeEntry {
        name: name.to_owned(),
        address: "127.0.0.1:7400".to_owned(),
        resources,
        counts: Counts::default(),
        roots: vec!["default".to_owned()],
        offers: Features { has: [GANGS.to_owned(), COUNTS.to_owned()].into(), ..Features::default() },
        version: "0".to_owned(),
        state: NodeState::Ready,
        reason: String::new(),
        lock_seen: None,
        unenforced: Vec::new(),
        leases_trusted: true,
        voter: false,
        unknown: Unknown::new(),
    }
}

pub fn node_up(n: u64, resources: Resources) -> Fact {
    Fact::NodeUp { node: node(n), entry: node_entry(&format!("n{n}"), resources), created: n as i64 }
}

pub fn queue_entry(resources: Resources, attempt: u32) -> QueueEntry {
    QueueEntry {
        resources,
        root: "default".to_owned(),
        needs: Features::default(),
        priority: Priority::NORMAL,
        tick: Tick(0),
        held: false,
        moved: None,
        parts: Vec::new(),
        counts: Counts::default(),
        exclusive: false,
        limit_s: 0,
        expected_s: 0,
        attempt,
        order: None,
        seq: 0,
        unknown: Unknown::new(),
    }
}

/// Task `n`, submitted at revision 100 + `n`, so that its number is its place in the queue.
pub fn queued(n: u64, resources: Resources) -> Fact {
    Fact::Queued { task: task(n), entry: queue_entry(resources, 1), created: 100 + n as i64 }
}

/// A lock until this time of the cluster, or without an end.
pub fn lock(until: Option<u64>) -> LockEntry {
    LockEntry {
        by: "ann".to_owned(),
        reason: "a new disk".to_owned(),
        at: WALL,
        until: until.map(Tick),
        request: None,
        unknown: Unknown::new(),
    }
}

/// So many nodes are kept for people.
pub fn reserve(nodes: u32, label: Option<&str>) -> ReserveEntry {
    let label = label.map(str::to_owned);
    ReserveEntry { nodes, label, by: "ann".to_owned(), at: WALL, unknown: Unknown::new() }
}

pub fn run_entry(resources: Resources, attempt: u32) -> RunEntry {
    RunEntry {
        attempt,
        resources,
        cancel: false,
        counts: Counts::default(),
        exclusive: false,
        tick: Tick(0),
        limit_s: 0,
        expected_s: 0,
        unknown: Unknown::new(),
    }
}

pub fn offer_entry(resources: Resources, attempt: u32) -> OfferEntry {
    OfferEntry { attempt, resources, counts: Counts::default(), unknown: Unknown::new() }
}

pub fn running(n: u64, on: u64, resources: Resources) -> Fact {
    Fact::Running { task: task(n), node: node(on), entry: run_entry(resources, 1) }
}

/// SplitMix64: enough randomness for a test, the same on every machine.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
    /// From `low` to `high`, both included.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next_u64() % (high - low + 1)
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.within(0, 99) < percent
    }
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.within(0, from.len() as u64 - 1) as usize) }
    }
}
