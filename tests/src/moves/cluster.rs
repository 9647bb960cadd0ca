//! Some nodes without containers, and one measurement of them: all tasks are queued and every node knows all others before the first may start.

use super::members::{Members, cpu_of};
use super::node::{Counts, Setup, SimNode};
use super::strawman::Choice;
use super::waits::Room;
use super::work;
use crate::wait;
use anyhow::{Context, Result, ensure};
use shoal_server::clock;
use shoal_store::etcd::EtcdStore;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Until all nodes know each other.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Nodes.
    pub nodes: usize,
    /// Tasks that each has room for.
    pub slots: usize,
    /// Tasks in all.
    pub tasks: usize,
    /// How long one takes in the mean.
    pub mean_ms: u64,
    /// Who chooses.
    pub choice: Choice,
    /// A measurement that takes longer has failed.
    pub limit: Duration,
}

/// What came out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// From the moment in which tasks may start to the last recorded end.
    pub elapsed: Duration,
    /// Of all nodes together.
    pub counts: Counts,
    /// Processor time of etcd.
    pub etcd_cpu: Duration,
    /// Processor time of this process, which is all the nodes.
    pub own_cpu: Duration,
    /// Whether nodes had room while tasks waited.
    pub room: Room,
}

/// Runs the trial on an empty store, which it leaves empty.
pub async fn measure(members: &mut Members, trial: Trial) -> Result<Outcome> {
    let outcome = on_empty_store(members, trial).await;
    members.wipe().await?;
    outcome
}

async fn on_empty_store(members: &Members, trial: Trial) -> Result<Outcome> {
    let store = EtcdStore::connect(&members.urls(0)).await?;
    work::pause(&store).await.context("pausing the queue")?;
    work::submit(&store, trial.tasks).await.context("submitting")?;
    let dir = tempfile::tempdir().context("a directory for the nodes")?;
    let stop = CancellationToken::new();
    let mut parts = JoinSet::new();
    let (ended, ends) = watch::channel(0);
    let mut nodes = Vec::new();
    for number in 0..trial.nodes {
        let name = format!("n{number}");
        let setup = Setup {
            urls: members.urls(number),
            dir: dir.path().join(&name),
            name,
            slots: trial.slots,
            mean_ms: trial.mean_ms,
            choice: trial.choice,
        };
        std::fs::create_dir(&setup.dir).context("a node's directory")?;
        nodes.push(SimNode::start(setup, &mut parts, ended.clone(), stop.clone()).await?);
    }
    let measured = tokio::select! {
        measured = timed(&store, &nodes, ends, members, trial) => measured,
        Some(part) = parts.join_next() => {
            part??;
            anyhow::bail!("a part of a node ended while it was measured")
        }
    };
    stop.cancel();
    parts.shutdown().await;
    measured
}

async fn timed(
    store: &EtcdStore,
    nodes: &[SimNode],
    mut ends: watch::Receiver<u64>,
    members: &Members,
    trial: Trial,
) -> Result<Outcome> {
    wait::until("every node knows all others", READY_WITHIN, async || {
        for node in nodes {
            let knows = node.knows().await?;
            ensure!(knows == nodes.len(), "one knows {knows} of {}", nodes.len());
        }
        Ok(())
    })
    .await?;
    let cpu = || (members.cpu(), cpu_of(std::process::id()));
    let (before, begin, began) = (cpu(), Instant::now(), clock::wall());
    work::resume(store).await.context("resuming the queue")?;
    let all = ends.wait_for(|count| *count >= trial.tasks as u64);
    let all = tokio::time::timeout(trial.limit, all).await.map(|ended| ended.map(|count| *count));
    let (elapsed, after) = (begin.elapsed(), cpu());
    let ended = *ends.borrow();
    all.with_context(|| format!("{ended} of {} tasks ended within {:?}", trial.tasks, trial.limit))??;
    let mut counts = Counts::default();
    for node in nodes {
        let one = node.counts().await?;
        counts.won += one.won;
        counts.lost += one.lost;
        counts.txns += one.txns;
        counts.moves += one.moves;
    }
    let spans = work::spans(store, trial.tasks).await.context("reading the records")?;
    Ok(Outcome {
        elapsed,
        counts,
        etcd_cpu: after.0 - before.0,
        own_cpu: after.1 - before.1,
        room: Room::of(&spans, trial.nodes, trial.slots, began),
    })
}
