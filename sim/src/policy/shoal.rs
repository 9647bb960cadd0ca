//! Shoal's policy: the core's own view and plan, told of the simulated cluster what etcd would tell. What is simulated is what runs.

use super::{Action, Policy};
use crate::engine::Pool;
use crate::job::{Job, JobId, core_priority};
use shoal_core::clock::{TICK_S, Tick};
use shoal_core::entry::{NodeEntry, NodeState, PartEntry, QueueEntry, RunEntry};
use shoal_core::features::Features;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::plan::{Exclusions, Free, plan};
use shoal_core::resources::Resources;
use shoal_core::spec::Unknown;
use shoal_core::time::BootMs;
use shoal_core::view::{Fact, View};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A node, and a job's part on it: jobs take whole nodes.
const WHOLE: Resources = Resources { cpu_milli: 1_000, memory_bytes: 1 << 30 };
const ROOT: &str = "default";
/// Nothing waits here after an attempt that was lost: there are none.
const AT: BootMs = BootMs(0);

/// A job that waits or runs.
#[derive(Debug)]
struct Known {
    job: JobId,
    limit_s: u32,
    nodes: Vec<NodeId>,
}

/// The policy.
#[derive(Debug)]
pub struct Shoal {
    /// R: nodes that jobs leave free for people.
    reserve: u32,
    view: View,
    known: BTreeMap<TaskId, Known>,
    is_new: bool,
}

impl Shoal {
    /// With an empty queue.
    pub fn new(reserve: u32) -> Shoal {
        Shoal { reserve, view: View::default(), known: BTreeMap::new(), is_new: true }
    }

    fn tell(&mut self, fact: &Fact) {
        self.view.apply(fact, AT);
    }

    /// The nodes are all alike; those that are kept for people might as well be the last.
    fn meet(&mut self, pool: &Pool) {
        for n in 1..=u64::from(pool.nodes.saturating_sub(self.reserve)) {
            let entry = NodeEntry {
                name: format!("n{n}"),
                address: String::new(),
                resources: WHOLE,
                counts: Default::default(),
                roots: vec![ROOT.to_owned()],
                offers: Features::default(),
                version: String::new(),
                state: NodeState::Ready,
                reason: String::new(),
                lock_seen: None,
                unenforced: Vec::new(),
                leases_trusted: true,
                voter: false,
                unknown: Unknown::new(),
            };
            let node = NodeId(Uuid::from_u64_pair(1, n));
            self.tell(&Fact::NodeUp { node, entry, created: n as i64 });
        }
    }

    fn start(&mut self, task: TaskId, nodes: Vec<NodeId>, now: Tick) -> Option<JobId> {
        let known = self.known.get_mut(&task)?;
        known.nodes.clone_from(&nodes);
        let (job, limit_s) = (known.job, known.limit_s);
        self.tell(&Fact::NotQueued(task));
        for node in nodes {
            let entry = RunEntry {
                attempt: 1,
                resources: WHOLE,
                cancel: false,
                counts: Default::default(),
                exclusive: false,
                tick: now,
                limit_s,
                expected_s: 0,
                unknown: Unknown::new(),
            };
            self.tell(&Fact::Running { task, node, entry });
        }
        Some(job)
    }
}

fn id(job: JobId) -> TaskId {
    TaskId::of_request(Uuid::from_u64_pair(2, 0), job as usize)
}

fn tick(ms: u64) -> Tick {
    Tick(ms / 1_000 / TICK_S)
}

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX)
}

impl Policy for Shoal {
    fn name(&self) -> String {
        "shoal".to_owned()
    }

    fn submitted(&mut self, job: &Job) {
        let limit_s = seconds(job.limit_ms);
        let parts = match job.nodes {
            1 => Vec::new(),
            nodes => vec![PartEntry { nodes, needs: Features::default() }],
        };
        let entry = QueueEntry {
            resources: WHOLE,
            root: ROOT.to_owned(),
            needs: Features::default(),
            priority: core_priority(job.priority),
            tick: tick(job.arrival_ms),
            held: false,
            moved: None,
            parts,
            counts: Default::default(),
            exclusive: false,
            limit_s,
            expected_s: seconds(job.estimate_ms),
            attempt: 1,
            order: None,
            seq: 0,
            unknown: Unknown::new(),
        };
        let task = id(job.id);
        self.known.insert(task, Known { job: job.id, limit_s, nodes: Vec::new() });
        self.tell(&Fact::Queued { task, entry, created: i64::from(job.id) + 1 });
    }

    fn ended(&mut self, job: &Job) {
        let task = id(job.id);
        for node in self.known.remove(&task).map(|known| known.nodes).unwrap_or_default() {
            self.tell(&Fact::NotRunning { task, node });
        }
    }

    fn decide(&mut self, now_ms: u64, pool: &Pool, actions: &mut Vec<Action>) {
        if std::mem::take(&mut self.is_new) {
            self.meet(pool);
        }
        let now = tick(now_ms);
        self.tell(&Fact::Clock { tick: now, revision: 1 });
        // One plan looks at a window of the queue; what it starts may let the next see more.
        loop {
            self.view.ripen(AT);
            let plan = plan(&self.view, &Free::of(&self.view), &Exclusions::default());
            let singles = plan.placements.iter().map(|p| (p.task, vec![p.node]));
            let gangs = plan.gangs.into_iter().map(|gang| (gang.task, gang.nodes));
            let starts: Vec<_> = singles.chain(gangs).collect();
            if starts.is_empty() {
                return;
            }
            for (task, nodes) in starts {
                let job = self.start(task, nodes, now);
                actions.extend(job.map(|job| Action::Start { job, kill_after_ms: None }));
            }
        }
    }
}
