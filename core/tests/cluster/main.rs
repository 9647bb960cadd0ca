//! Goal: whatever happens to nodes, leases, watches and replies, no task is lost, none lives twice at once, and no node holds more than it
//! has. Several real node machines over a model of the store and of Linux, driven from a seed; then the checker itself is checked
//! with planted bugs. `SHOAL_SEED=n cargo test -p shoal-core --test cluster` replays one case, `SHOAL_CASES=n` runs more.

mod faults;
mod host;
mod run;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod witness;
mod world;

use shoal_core::task::{Exit, ExitHow, TaskState};
use shoal_core::transition::Outcome;
use world::World;

/// The lease's time to live, and with it the scale of every fault.
pub(crate) const LEASE_MS: u64 = 2_100;
/// Faults end here.
pub(crate) const CALM_FROM_MS: u64 = 15_000;
/// By now everything is terminal: the deepest queue and the longest back-off fit in several times.
const SETTLED_BY_MS: u64 = CALM_FROM_MS + 60_000;
const CASES: u64 = 200;
/// A planted bug must be caught within so many cases.
const PLANTED_CASES: u64 = 100;

/// A bug of the driver or of the store, put in on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Plant {
    /// None.
    #[default]
    Nothing,
    /// Steals without reserving capacity.
    Greed,
    /// Requeues without comparing that the node's key is absent.
    UnguardedRequeue,
    /// Records an end without looking at the cancel request.
    CancelForgotten,
    /// Records an end without comparing node and attempt.
    Unfenced,
    /// Containers outlive their node's lease.
    NoDeadline,
    /// Says that an offer is taken back before the store knows it.
    HastyWithdrawal,
    /// Registers with an offer that the node does not have.
    Boast,
}

pub(crate) fn killed() -> Outcome {
    Outcome::Exited(Exit { how: ExitHow::Signal(9), oom_killed: false })
}

fn run_case(seed: u64, plant: Plant) -> Result<World, String> {
    let mut world = World::new(seed, plant);
    while let Some(happening) = world.next() {
        world.happen(happening);
        if let Some(broken) = world.violation.take() {
            return Err(format!("seed {seed}, at {} ms: {broken}", world.now));
        }
        let all_ended = || world.store.records.values().all(|r| r.task.state.is_terminal());
        let forgotten = || world.hosts.iter().all(|h| h.containers.is_empty());
        if world.now > CALM_FROM_MS && world.to_submit == 0 && all_ended() && forgotten() {
            return Ok(world);
        }
        if world.now > SETTLED_BY_MS {
            return Err(format!("seed {seed}: lost tasks\n{}", world.stuck()));
        }
    }
    Err(format!("seed {seed}: nothing happens any more"))
}

/// What the cases did: a run that met nothing proves nothing.
#[derive(Debug, Default)]
struct Sum {
    complete: usize,
    canceled: usize,
    failed: usize,
    again: usize,
    gangs: usize,
    identities: u64,
    steps: u64,
    ticks: u64,
    proposals: u64,
    steals_lost: u64,
}

impl Sum {
    fn add(&mut self, world: &World) {
        for task in world.store.records.values().map(|r| &r.task) {
            match &task.state {
                TaskState::Complete { .. } => self.complete += 1,
                TaskState::Canceled { .. } => self.canceled += 1,
                _ => self.failed += 1,
            }
            self.again += usize::from(task.attempt > 1);
        }
        self.gangs += world.witness.gangs();
        self.identities += world.ids;
        self.steps += world.steps;
        self.ticks += world.hosts.iter().map(|h| h.ticks).sum::<u64>();
        self.proposals += world.proposals;
        let servers = world.hosts.iter().filter_map(|h| h.server.as_ref());
        self.steals_lost += servers.map(|s| s.counters().steals_lost).sum::<u64>();
    }
}

#[test]
fn no_task_is_lost_or_doubled_and_no_node_is_overfull() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SHOAL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SHOAL_CASES").unwrap_or(CASES),
    };
    let mut sum = Sum::default();
    for seed in seeds.clone() {
        let world = run_case(seed, Plant::Nothing).unwrap_or_else(|broken| panic!("{broken}"));
        sum.add(&world);
    }
    println!("{sum:?}");
    let enough =
        sum.complete > 1_000 && sum.canceled > 200 && sum.failed > 200 && sum.again > 400 && sum.gangs > 200;
    assert!(seeds.end - seeds.start < CASES || enough, "the cases have become too tame: {sum:?}");
}

#[test]
fn planted_bugs_are_caught() {
    let plants = [
        (Plant::Greed, "capacity"),
        (Plant::UnguardedRequeue, "overlap"),
        (Plant::CancelForgotten, "cancel"),
        (Plant::Unfenced, "twice"),
        (Plant::NoDeadline, "overlap"),
        (Plant::HastyWithdrawal, "capacity"),
        (Plant::Boast, "needs"),
    ];
    for (plant, sign) in plants {
        let caught = (0..PLANTED_CASES).filter_map(|seed| run_case(seed, plant).err());
        let signs: Vec<String> = caught.take(3).collect();
        assert!(signs.iter().any(|caught| caught.contains(sign)), "{plant:?} is not caught: {signs:?}");
    }
}
