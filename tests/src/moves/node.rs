//! One node without containers: the server's proposer, lease keeper and, unless it is a strawman, node loop, put together as `run.rs` does.

use super::stand_in::StandIn;
use super::strawman::{Choice, Strawman};
use super::work::TASK;
use anyhow::{Context, Result};
use clap::Parser;
use shoal_core::entry::{NodeEntry, NodeState};
use shoal_core::node::{Node, NodeConfig};
use shoal_core::resources::Resources;
use shoal_server::config::{Config, Flags};
use shoal_server::durations::Durations;
use shoal_server::durations::gather::Pace;
use shoal_server::journal;
use shoal_server::launch::Launch;
use shoal_server::lease::{Condition, Keeper};
use shoal_server::node_loop::{Ask, Ears, NodeLoop, Ports};
use shoal_server::propose::Proposer;
use shoal_server::runner::Runner;
use shoal_store::etcd::EtcdStore;
use shoal_store::key;
use shoal_store::list_watch::Follow;
use shoal_store::port::{KeyRange, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Long, so that a machine that is busy with fifty nodes loses no lease.
const TTL: Duration = Duration::from_secs(60);

/// How a node is.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The name that people would use.
    pub name: String,
    /// Client URLs of the store.
    pub urls: Vec<String>,
    /// What it keeps.
    pub dir: PathBuf,
    /// How many tasks it has room for.
    pub slots: usize,
    /// How long a task takes in the mean.
    pub mean_ms: u64,
    /// Who chooses what it takes.
    pub choice: Choice,
}

/// What a node has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steals won.
    pub won: u64,
    /// Steals that somebody else had won.
    pub lost: u64,
    /// Transactions of moves.
    pub txns: u64,
    /// Moves in them.
    pub moves: u64,
}

/// A running node.
pub struct SimNode {
    proposer: Proposer,
    kind: Kind,
}

enum Kind {
    Loop(mpsc::Sender<Ask>),
    Strawman { knows: watch::Receiver<usize>, won: Arc<AtomicU64>, lost: Arc<AtomicU64> },
}

/// What every node follows.
pub fn followed() -> Vec<KeyRange> {
    vec![key::statuses(), key::nodes(), key::clock(), key::locks()]
}

impl SimNode {
    /// Starts one; its parts run in `work`, and each task whose end is recorded counts in `ended`.
    pub async fn start(
        setup: Setup,
        work: &mut JoinSet<Result<()>>,
        ended: watch::Sender<u64>,
        stop: CancellationToken,
    ) -> Result<SimNode> {
        let store: Arc<dyn Store> = Arc::new(EtcdStore::connect(&setup.urls).await?);
        let config = config(&setup)?;
        let (identity, identity_seen) = watch::channel(None);
        let (fenced, fenced_seen) = watch::channel(None);
        let (condition, condition_seen) = watch::channel(Condition::default());
        let (events, events_inbox) = mpsc::channel(64);
        let (runner, commands) = Runner::stand_in();
        let (entries, entries_inbox) = journal::inbox();
        let (said, said_inbox) = mpsc::unbounded_channel();
        let (safe, safe_inbox) = mpsc::unbounded_channel();
        let mean_ms = setup.mean_ms;
        let stand_in =
            StandIn { commands, said, entries: entries_inbox, safe, ended: ended.clone(), mean_ms };
        work.spawn(stand_in.run(stop.clone()));
        let (proposer, proposer_work) = Proposer::new(store.clone(), identity_seen, stop.clone());
        work.spawn(proposer_work);
        let keeper = Keeper {
            store: store.clone(),
            runner: runner.clone(),
            entry: entry(&setup),
            ttl: TTL,
            data_dir: config.data_dir.clone(),
            identity,
            fenced: fenced_seen,
            condition: condition_seen,
            events,
            stop: stop.clone(),
        };
        work.spawn(keeper.run());
        let follow = Follow::new(store.clone(), followed());
        if setup.choice != Choice::Plan {
            let (strawman, kind) = strawman(setup, proposer.clone(), ended);
            work.spawn(strawman.run(follow, events_inbox, stop));
            // The stand-in and the keeper end when nobody can speak to them any more; a strawman has nothing to say.
            work.spawn(async move {
                let _keep = (entries, runner, fenced, condition);
                std::future::pending().await
            });
            return Ok(SimNode { proposer, kind });
        }
        // Tasks here have no names, so nothing is learned.
        let (durations, learning) = Durations::new(store.clone(), Pace::default(), stop.clone());
        work.spawn(learning);
        let ports = Ports {
            store,
            proposer: proposer.clone(),
            runner,
            journal: entries,
            launch: Launch::new(&config),
            images: None,
            durations,
            fenced,
            ended: mpsc::channel(1).0,
            condition,
            folded: watch::channel(0).0,
            changes: broadcast::channel(1024).0,
            ready: watch::channel(false).0,
        };
        let (asks, asks_inbox) = mpsc::channel(64);
        let ears = Ears { events: events_inbox, said: said_inbox, safe: safe_inbox, asks: asks_inbox };
        let node = Node::new(NodeConfig { name: setup.name, requeue_wait_ms: 0, requeue_stagger_ms: 1_000 });
        work.spawn(NodeLoop::new(node, ports, Vec::new()).run(follow, ears, stop));
        Ok(SimNode { proposer, kind: Kind::Loop(asks) })
    }

    /// How many live nodes it knows of once it is registered itself; 0 before.
    pub async fn knows(&self) -> Result<usize> {
        match &self.kind {
            Kind::Strawman { knows, .. } => Ok(*knows.borrow()),
            Kind::Loop(asks) => {
                ask(asks, |node| if node.is_ready() { node.view().nodes().len() } else { 0 }).await
            }
        }
    }

    /// What it has done so far.
    pub async fn counts(&self) -> Result<Counts> {
        let (won, lost) = match &self.kind {
            Kind::Strawman { won, lost, .. } => (won.load(Ordering::Relaxed), lost.load(Ordering::Relaxed)),
            Kind::Loop(asks) => {
                let counters = ask(asks, Node::counters).await?;
                (counters.steals_won, counters.steals_lost)
            }
        };
        let counters = &self.proposer.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Counts { won, lost, txns: read(&counters.txns), moves: read(&counters.moves) })
    }
}

async fn ask<T: Send + 'static>(
    asks: &mpsc::Sender<Ask>,
    question: impl FnOnce(&Node) -> T + Send + 'static,
) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    let ask: Ask = Box::new(move |node, _| {
        let _ = reply.send(question(node));
    });
    asks.send(ask).await.ok().context("the node loop has ended")?;
    answer.await.context("the node loop has ended")
}

fn strawman(setup: Setup, proposer: Proposer, ended: watch::Sender<u64>) -> (Strawman, Kind) {
    let (won, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (knows, known) = watch::channel(0);
    let kind = Kind::Strawman { knows: known, won: won.clone(), lost: lost.clone() };
    (Strawman::new(setup, proposer, ended, knows, (won, lost)), kind)
}

/// The server's own configuration, as far as the parts that run here read it.
fn config(setup: &Setup) -> Result<Config> {
    let path = |dir: &Path| dir.to_str().map(str::to_owned).context("a directory in plain text");
    let dir = path(&setup.dir)?;
    let line =
        ["shoald", "--name", &setup.name, "--data-dir", &dir, "--runner-dir", &dir, "--attempts-dir", &dir];
    Ok(Flags::try_parse_from(line)?.validate()?)
}

fn entry(setup: &Setup) -> NodeEntry {
    let slots = setup.slots as u64;
    NodeEntry {
        name: setup.name.clone(),
        address: "127.0.0.1:7400".to_owned(),
        resources: Resources {
            cpu_milli: TASK.cpu_milli * setup.slots as u32,
            memory_bytes: TASK.memory_bytes * slots,
        },
        counts: Default::default(),
        roots: vec!["default".to_owned(), "host".to_owned()],
        offers: Default::default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: NodeState::Ready,
        reason: String::new(),
        lock_seen: None,
        unenforced: Vec::new(),
        leases_trusted: true,
        voter: false,
        unknown: Default::default(),
    }
}
