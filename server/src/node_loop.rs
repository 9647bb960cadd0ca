//! The one owner of the node's state: receives everything, lets the core decide, and does what it says. The arms of its `select!` only
//! receive; the handling comes after. Nothing in here waits for the store or the disk.

mod act;
mod departed;
mod insight;
mod offers;
mod prepare;
mod runner_says;

use crate::clock;
use crate::durations::Durations;
use crate::durations::stopwatch::Stopwatch;
use crate::images::Images;
use crate::journal;
use crate::lease::Condition;
use crate::propose::Proposer;
use crate::runner::{Runner, Said};
use crate::seam::TaskChanged;
use futures::FutureExt;
use shoal_core::event::{Action, Event};
use shoal_core::id::{AttemptId, NodeId, TaskId};
use shoal_core::node::Node;
use shoal_core::task::Task;
use shoal_core::time::BootMs;
use shoal_core::transition::Outcome;
use shoal_store::list_watch::Follow;
use shoal_store::port::Store;
use shoal_store::record::Stored;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use insight::{Ask, Known, LoopInsight};
use prepare::Prepared;

/// Between full reconciles behind the watch.
const RECONCILE: Duration = Duration::from_secs(60);
/// Between tries to read the record of a claimed task.
const CLAIM_RETRY: Duration = Duration::from_millis(200);
/// Between proposals of what the store has refused to take, which is an error of ours or of its configuration.
const REFUSED_RETRY: Duration = Duration::from_secs(2);
/// Events of one kind handled in a row before the others are looked at again.
const BURST: usize = 256;

/// A plan is followed by this many times of what it took without another, while events go on being heard and carried out: so planning takes
/// at most a tenth of the loop's time however many nodes there are and however fast the store changes, and the next plan knows more.
const REST_FACTOR: u32 = 9;
/// Shorter rests add up until they are so long: a timer is no finer.
const REST_MIN: Duration = Duration::from_millis(1);
/// No rest is longer than this: what a free slot waits at most.
const REST_MAX: Duration = Duration::from_millis(50);

/// What the loop talks to.
pub struct Ports {
    /// Reads of claimed records.
    pub store: Arc<dyn Store>,
    /// All transitions.
    pub proposer: Proposer,
    /// Containers.
    pub runner: Runner,
    /// Results.
    pub journal: mpsc::Sender<journal::Entry>,
    /// What an attempt is started with.
    pub launch: crate::launch::Launch,
    /// Gets an attempt's image ready; without it, none is.
    pub images: Option<Arc<Images>>,
    /// How long tasks take: kept up to date, and taught.
    pub durations: Arc<Durations>,
    /// The identity that the core found lost.
    pub fenced: watch::Sender<Option<NodeId>>,
    /// Attempts whose end is recorded: their logs are compressed and copied. One that finds it full is found later.
    pub ended: mpsc::Sender<AttemptId>,
    /// What everybody is to see of this node.
    pub condition: watch::Sender<Condition>,
    /// The revision of the view, told after each change of it: whoever waits for something in the view looks again.
    pub folded: watch::Sender<i64>,
    /// Whoever follows tasks.
    pub changes: broadcast::Sender<TaskChanged>,
    /// Set when the node is registered and its view complete.
    pub ready: watch::Sender<bool>,
}

/// What the loop hears. The unbounded ones are bounded by the attempts that the node holds; were they bounded by length, the loop and their
/// sender could wait for each other.
pub struct Ears {
    /// From the lease keeper.
    pub events: mpsc::Receiver<Event>,
    /// From the runner.
    pub said: mpsc::UnboundedReceiver<Said>,
    /// From the journal: ends that are on disk.
    pub safe: mpsc::UnboundedReceiver<(AttemptId, Outcome)>,
    /// Questions.
    pub asks: mpsc::Receiver<Ask>,
}

/// The end of work that the loop started beside itself.
struct Done {
    event: Event,
    /// The record of an attempt that this node holds from now on.
    record: Option<Box<Stored<Task>>>,
    /// A start whose image is ready, or why it is not.
    prepared: Option<Prepared>,
}

impl Done {
    /// Nothing but an event.
    fn of(event: Event) -> Done {
        Done { event, record: None, prepared: None }
    }
}

/// The loop's own state.
pub struct NodeLoop {
    node: Node,
    ports: Ports,
    known: Known,
    /// Records of the attempts that this node holds, as their last transition left them.
    records: HashMap<TaskId, Box<Stored<Task>>>,
    /// Ends in the journal of the last run that have not been matched with what the runner has.
    journaled: HashMap<AttemptId, Outcome>,
    /// Attempts whose image is being made ready, and what ends that.
    preparing: HashMap<AttemptId, CancellationToken>,
    /// How long they run.
    stopwatch: Stopwatch,
    work: JoinSet<Done>,
    actions: Vec<Action>,
    wake: Option<BootMs>,
    /// No plan is made before this.
    rest_until: Instant,
    /// Something has happened since the last plan.
    owed: bool,
}

impl NodeLoop {
    /// A loop that has heard nothing yet. `journaled` are the ends found in the journal.
    pub fn new(node: Node, ports: Ports, journaled: Vec<(AttemptId, Outcome)>) -> NodeLoop {
        NodeLoop {
            node,
            ports,
            known: Known::default(),
            records: HashMap::new(),
            journaled: journaled.into_iter().collect(),
            preparing: HashMap::new(),
            stopwatch: Stopwatch::default(),
            work: JoinSet::new(),
            actions: Vec::new(),
            wake: None,
            rest_until: Instant::now(),
            owed: false,
        }
    }

    /// Runs until stopped.
    pub async fn run(
        mut self,
        mut follow: Follow,
        mut ears: Ears,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut reconcile = tokio::time::interval(RECONCILE);
        reconcile.reset();
        let (mut events, mut said, mut safe, mut asks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        loop {
            let mut followed = None;
            let mut joined = None;
            let mut resync = false;
            let wake = sleep_until(self.wake);
            let rest = tokio::time::sleep_until(self.rest_until);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                item = follow.next() => followed = Some(item),
                Some(done) = self.work.join_next() => joined = Some(done),
                n = ears.said.recv_many(&mut said, BURST) => anyhow::ensure!(n > 0, "runner client ended"),
                n = ears.safe.recv_many(&mut safe, BURST) => anyhow::ensure!(n > 0, "journal ended"),
                n = ears.events.recv_many(&mut events, BURST) => anyhow::ensure!(n > 0, "lease keeper ended"),
                n = ears.asks.recv_many(&mut asks, BURST) => anyhow::ensure!(n > 0, "API ended"),
                () = wake => self.wake = None,
                () = rest, if self.owed => {}
                _ = reconcile.tick() => resync = true,
            }
            if resync {
                follow.resync();
            }
            // All that has come, so that a plan is made of the newest view there is.
            for _ in 0..BURST {
                let Some(item) = followed.take().or_else(|| follow.next().now_or_never()) else { break };
                self.follow(item);
            }
            while let Some(done) = joined {
                let Done { event, record, prepared } = done?;
                if let Some(prepared) = prepared {
                    self.prepared(prepared).await?;
                }
                self.records.extend(record.map(|stored| (stored.value.id, stored)));
                events.push(event);
                joined = self.work.try_join_next();
            }
            for said in said.drain(..) {
                self.runner_says(said).await?;
            }
            events.extend(safe.drain(..).map(|(attempt, outcome)| Event::Ended { attempt, outcome }));
            for event in events.drain(..) {
                self.hear(event);
            }
            self.carry_out().await?;
            self.owed = Instant::now() + REST_MIN < self.rest_until;
            if !self.owed {
                self.decide().await?;
            }
            for ask in asks.drain(..) {
                ask(&self.node, &self.known);
            }
        }
    }
}

async fn sleep_until(at: Option<BootMs>) {
    match at {
        Some(at) => tokio::time::sleep(Duration::from_millis(at.since(clock::boot()))).await,
        None => std::future::pending().await,
    }
}
