//! Puts a node together and takes it apart again. The order is the architecture: directory, store, runner, journal, proposer, loop, lease, API.

use crate::api;
use crate::api::listen::{Listener, check_listen};
use crate::clock;
use crate::config::{Config, RootSource};
use crate::counters;
use crate::data_dir::DataDir;
use crate::durations::Durations;
use crate::durations::gather::Pace;
use crate::gangs::Gangs;
use crate::images::archives::Archives;
use crate::images::{self, Images};
use crate::journal::{self, Journal};
use crate::launch::Launch;
use crate::lease::{Condition, DEADLINE_PERCENT, Keeper};
use crate::logs::copies::Copies;
use crate::logs::copies::send::{QUEUE_LEN, Sender};
use crate::membership::{Membership, Voters};
use crate::node_loop::{Ears, LoopInsight, NodeLoop, Ports};
use crate::propose::Proposer;
use crate::retention::Retention;
use crate::runner::{Runner, RunnerConfig, Said};
use crate::seam::{Api, ApiLimits, Insight};
use crate::space::Space;
use crate::store::{self, OpenStore};
use crate::supervisor::Supervisor;
use anyhow::Context;
use shoal_core::entry::{NodeEntry, NodeState};
use shoal_core::id::AttemptId;
use shoal_core::node::{Node, NodeConfig};
use shoal_store::key;
use shoal_store::list_watch::Follow;
use shoal_store::port::Store;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Changes that a slow follower may lag behind before it has to read again.
const CHANGES_LEN: usize = 16 << 10;
/// Questions waiting for the loop.
const ASKS_LEN: usize = 1024;
/// Events of the lease keeper waiting for the loop.
const EVENTS_LEN: usize = 64;
/// Each next peer in rank requeues a lost node's tasks this much later.
const REQUEUE_STAGGER_MS: u64 = 1_000;

/// Runs a node until SIGTERM or SIGINT, or until something of it fails.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut signals = Signals::catch()?;
    let data = DataDir::open(&config.data_dir)?;
    let listeners = bind(&config.listen).await?;
    prepare_roots(&config).await?;
    let mut store = tokio::select! {
        opened = store::open(&config) => opened?,
        // Joining a cluster may take a minute. A member that was started ends with its thread.
        () = signals.come() => return Ok(()),
    };
    let ended = serve(&config, &data, &store, listeners, signals, stop).await;
    if let Some(member) = store.member.take() {
        member.stop().await;
    }
    ended
}

async fn serve(
    config: &Config,
    data: &DataDir,
    store: &OpenStore,
    listeners: Vec<Listener>,
    signals: Signals,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut supervisor = Supervisor::new(stop.clone());
    supervisor.start("signals", signals.stop(stop.clone()));
    let (voters, latest) = watch::channel(Voters::default());
    supervisor.start("members", store.follow(voters, stop.clone()));
    if let Some(member) = &store.member {
        supervisor.start("space", Space::new(member, config.etcd_quota_bytes, stop.clone()).run());
    }
    let node = assemble(config, data, store, Membership::new(latest), &mut supervisor)?;
    let health = api::serve::Health::new().await;
    supervisor.start("health", tell_health(node.ready, health.clone(), stop.clone()));
    let counters = node.proposer.counters.clone();
    supervisor.start("counters", counters::run(data.join("counters.json"), node.asks, counters, stop));
    supervisor.start("copies of logs", Sender::of(&node.api)?.run(node.ended));
    supervisor.start("retention", Retention::of(&node.api, config.retention).run());
    supervisor
        .start("api", async move { Ok(api::serve::serve(Arc::new(node.api), listeners, health).await?) });
    Ok(supervisor.run().await?)
}

/// What the rest of the server sees of the node loop.
struct Assembled {
    api: Api,
    proposer: Proposer,
    asks: mpsc::Sender<crate::node_loop::Ask>,
    ready: watch::Receiver<bool>,
    ended: mpsc::Receiver<AttemptId>,
}

fn assemble(
    config: &Config,
    data: &DataDir,
    open: &OpenStore,
    membership: Membership,
    supervisor: &mut Supervisor,
) -> anyhow::Result<Assembled> {
    let stop = supervisor.stop.clone();
    let store: Arc<dyn Store> = open.store.clone();
    let attempts_dir = config.runner.attempts_dir.clone();
    let (identity, identity_seen) = watch::channel(None);
    let (fenced, fenced_seen) = watch::channel(None);
    let (condition, condition_seen) = watch::channel(Condition::default());
    let (ready, ready_seen) = watch::channel(false);
    let (events, events_inbox) = mpsc::channel(EVENTS_LEN);
    let (said, said_inbox) = mpsc::unbounded_channel();
    let (safe, safe_inbox) = mpsc::unbounded_channel();
    let (asks, asks_inbox) = mpsc::channel(ASKS_LEN);
    let (ended, ended_inbox) = mpsc::channel(QUEUE_LEN);
    let (changes, _) = broadcast::channel(CHANGES_LEN);

    let runner = start_runner(config, data, store.clone(), said, supervisor)?;
    let (journal, journaled) = Journal::open(&data.join("journal.jsonl"), &attempts_dir)?;
    let (entries, entries_inbox) = journal::inbox();
    supervisor.start("journal", journal.run(entries_inbox, safe, stop.clone()));
    let (proposer, proposer_work) = Proposer::new(store.clone(), identity_seen.clone(), stop.clone());
    supervisor.start("proposer", proposer_work);
    let durations = start_durations(store.clone(), supervisor);

    let (insight, folded) = LoopInsight::new(&config.name, asks.clone(), identity_seen, membership);
    let insight: Arc<dyn Insight> = Arc::new(insight);
    let images = start_images(config, store.clone(), insight.clone(), runner.clone(), supervisor)?;
    let ports = Ports {
        store: store.clone(),
        proposer: proposer.clone(),
        runner: runner.clone(),
        journal: entries,
        launch: Launch::new(config),
        images: Some(images.clone()),
        durations: durations.clone(),
        fenced,
        ended,
        condition,
        folded,
        changes: changes.clone(),
        ready,
    };
    let ears = Ears { events: events_inbox, said: said_inbox, safe: safe_inbox, asks: asks_inbox };
    let node_loop = NodeLoop::new(Node::new(node_config(config)), ports, journaled);
    supervisor.start("node loop", node_loop.run(follow(store.clone()), ears, stop.clone()));
    let keeper = Keeper {
        store: store.clone(),
        runner,
        entry: entry(config, open),
        ttl: config.lease_ttl,
        data_dir: config.data_dir.clone(),
        identity,
        fenced: fenced_seen,
        condition: condition_seen,
        events,
        stop: stop.clone(),
    };
    supervisor.start("lease", keeper.run());
    let api = Api {
        store,
        propose: Arc::new(proposer.clone()),
        insight,
        images: Some(images),
        durations,
        changes,
        attempts_dir,
        copies: copies(config, data)?,
        wall: clock::wall,
        limits: ApiLimits::default(),
        shutdown: stop,
    };
    Ok(Assembled { api, proposer, asks, ready: ready_seen, ended: ended_inbox })
}

/// What this node keeps of other nodes' logs.
fn copies(config: &Config, data: &DataDir) -> anyhow::Result<Arc<Copies>> {
    let dir = data.join("log-copies");
    let opened = Copies::open(dir.clone(), config.log_copies_bytes_max);
    Ok(Arc::new(opened.with_context(|| format!("opening {}", dir.display()))?))
}

fn runner_config(config: &Config, data: &DataDir) -> RunnerConfig {
    RunnerConfig {
        binary: config.runner.binary.clone(),
        state_dir: config.runner.state_dir.clone(),
        require_limits: config.runner.require_limits,
        attempts_dir: data.join("attempts"),
        policy: config.policy(),
        quiet: crate::runner::QUIET,
    }
}

/// What the node's view is folded from.
fn follow(store: Arc<dyn Store>) -> Follow {
    let policy = [key::locks(), key::reserve()];
    let ranges = [key::statuses(), key::nodes(), key::clock(), key::durations()].into_iter().chain(policy);
    Follow::new(store, ranges.collect())
}

/// The runner's client, and what carries the files that members of tasks share.
fn start_runner(
    config: &Config,
    data: &DataDir,
    store: Arc<dyn Store>,
    said: mpsc::UnboundedSender<Said>,
    supervisor: &mut Supervisor,
) -> anyhow::Result<Runner> {
    let stop = supervisor.stop.clone();
    let (directories, inbox) = mpsc::unbounded_channel();
    let (runner, work) = Runner::new(runner_config(config, data), said, directories, stop.clone());
    supervisor.start("runner", work);
    let gangs = Gangs::new(store, config.name.clone()).context("an inotify instance for gangs")?;
    supervisor.start("gangs", gangs.run(inbox, stop));
    Ok(runner)
}

fn start_durations(store: Arc<dyn Store>, supervisor: &mut Supervisor) -> Arc<Durations> {
    let (durations, learning) = Durations::new(store, Pace::default(), supervisor.stop.clone());
    supervisor.start("durations", learning);
    durations
}

fn start_images(
    config: &Config,
    store: Arc<dyn Store>,
    insight: Arc<dyn Insight>,
    runner: Runner,
    supervisor: &mut Supervisor,
) -> anyhow::Result<Arc<Images>> {
    let archives = Archives::open(&config.images_dir().join("archives"))?;
    let (address, stop) = (config.advertise.clone(), supervisor.stop.clone());
    let images = Images::new(store, insight, runner, archives, address, clock::wall, stop);
    supervisor.start("images", images::keep::run(images.clone(), config.image_cache_bytes));
    Ok(images)
}

fn node_config(config: &Config) -> NodeConfig {
    let deadline_ms = (config.lease_ttl * DEADLINE_PERCENT / 100).as_millis() as u64;
    NodeConfig {
        name: config.name.clone(),
        requeue_wait_ms: deadline_ms,
        requeue_stagger_ms: REQUEUE_STAGGER_MS,
    }
}

fn entry(config: &Config, open: &OpenStore) -> NodeEntry {
    NodeEntry {
        name: config.name.clone(),
        address: config.advertise.clone(),
        resources: config.resources,
        counts: config.counts.clone(),
        roots: config.roots.keys().cloned().collect(),
        offers: config.offers(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: NodeState::Ready,
        reason: String::new(),
        lock_seen: None,
        unenforced: Vec::new(),
        leases_trusted: open.leases_trusted,
        voter: open.member.is_some(),
        unknown: Default::default(),
    }
}

/// Binds before anything is started: a taken port must not cost an election.
async fn bind(addresses: &[String]) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(Listener::bind(&check_listen(address)?).await?);
    }
    Ok(listeners)
}

/// Builds the default root where it is not given.
async fn prepare_roots(config: &Config) -> anyhow::Result<()> {
    let built = config.data_dir.join("roots/default");
    if config.roots.get("default") != Some(&RootSource::Directory(built.clone())) {
        return Ok(());
    }
    let work = tokio::task::spawn_blocking(move || shoal_rootfs::ensure(&built));
    work.await?.map(drop).context("building the default root (or give --root default=DIR)")
}

/// SIGTERM and SIGINT, caught from the start on.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn catch() -> anyhow::Result<Signals> {
        Ok(Signals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for one. Safe to drop and call again.
    async fn come(&mut self) {
        let signal = tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        };
        tracing::info!(
            signal,
            "stopping; containers live until their deadline, a restart before it takes them over"
        );
    }

    async fn stop(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            () = self.come() => stop.cancel(),
            () = stop.cancelled() => {}
        }
        Ok(())
    }
}

async fn tell_health(
    mut ready: watch::Receiver<bool>,
    health: api::serve::Health,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let now = *ready.borrow_and_update();
        health.set_ready(now).await;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = ready.changed() => changed?,
        }
    }
}
