//! Idle latency: from the submit call of one task to the news of its end, one after the other on a cluster that does nothing else.

use crate::figures::{self, Figures, percentile, rss_mib};
use anyhow::{Context, Result};
use shoal_proto::v1::{State, WatchRequest};
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::tasks::command;
use std::time::{Duration, Instant};

/// How many tasks.
const SAMPLES: usize = 200;
/// Not counted: connections and caches come to be.
const WARM_UP: usize = 10;
/// No task takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Measures, and adds p50 and p99.
pub async fn measure(figures: &mut Figures) -> Result<()> {
    let cluster = Cluster::start(Options { flags: vec![], ..Options::default() }).await?;
    for (node, name) in cluster.nodes().iter().zip(["first", "second", "third"]) {
        let etcd = rss_mib(node.etcd_pid()?);
        let server = rss_mib(node.server_pid()?);
        figures.add(
            &format!("memory of the {name} node, idle"),
            format!("server {server} MiB, etcd {etcd} MiB"),
        );
    }
    let samples = samples(&cluster).await;
    figures::end(&cluster).await;
    let mut samples = samples?;
    let what = format!("idle latency, submit to finished, {SAMPLES} tasks of `true`, 3 nodes");
    let (p50, p99) = (percentile(&mut samples, 50.0), percentile(&mut samples, 99.0));
    figures.add(&what, format!("p50 {p50:.1} ms, p99 {p99:.1} ms"));
    Ok(())
}

async fn samples(cluster: &Cluster) -> Result<Vec<f64>> {
    let mut taken = Vec::with_capacity(SAMPLES);
    for sample in 0..WARM_UP + SAMPLES {
        let begin = Instant::now();
        tokio::time::timeout(LIMIT, one(cluster)).await.context("a task of `true` took too long")??;
        if sample >= WARM_UP {
            taken.push(begin.elapsed().as_secs_f64() * 1000.0);
        }
    }
    Ok(taken)
}

async fn one(cluster: &Cluster) -> Result<()> {
    let id = cluster.api(0).submit(command(&["true"])).await?;
    let mut events = cluster.api(0).raw().watch(WatchRequest { tasks: vec![id] }).await?.into_inner();
    let mut last = None;
    while let Some(event) = events.message().await? {
        last = event.task;
        if last.as_ref().is_some_and(|task| task.state() == State::Complete) {
            return Ok(());
        }
    }
    anyhow::bail!("the watch ended before the task did; its last word was {last:?}")
}
