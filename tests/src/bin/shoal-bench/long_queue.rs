//! A long queue: what it costs to have it and to list it.

use crate::figures::{self, Figures, rss_mib};
use anyhow::{Result, ensure};
use shoal_proto::v1::State;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::tasks::{command, with_cpu};
use std::time::{Duration, Instant};

/// For the one task that keeps the node busy.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Measures with `queued` tasks on one node, and adds the figures.
pub async fn measure(figures: &mut Figures, queued: usize) -> Result<()> {
    let cluster = Cluster::start(Options { nodes: 1, flags: vec![], ..Options::default() }).await?;
    let outcome = fill_and_list(figures, &cluster, queued).await;
    figures::end(&cluster).await;
    outcome
}

async fn fill_and_list(figures: &mut Figures, cluster: &Cluster, queued: usize) -> Result<()> {
    let api = cluster.api(0);
    let whole_node = cluster.options().cpus * 1000;
    let busy = api.submit(with_cpu(command(&["sleep", "3600"]), whole_node)).await?;
    api.wait_state(&busy, State::Running, START_LIMIT).await?;

    let begin = Instant::now();
    api.submit_many(vec![with_cpu(command(&["true"]), whole_node); queued]).await?;
    let rate = queued as f64 / begin.elapsed().as_secs_f64();
    figures.add(&format!("submit of {queued} tasks, batches of 500: tasks per second"), format!("{rate:.0}"));

    let begin = Instant::now();
    let listed = api.list().await?.len();
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(listed == queued + 1, "{listed} tasks listed, {} submitted", queued + 1);
    figures.add(&format!("full list of {queued} tasks, pages of 1,000"), format!("{seconds:.2} s"));
    let node = cluster.node(0);
    let (server, etcd) = (rss_mib(node.server_pid()?), rss_mib(node.etcd_pid()?));
    figures
        .add(&format!("memory with {queued} queued tasks"), format!("server {server} MiB, etcd {etcd} MiB"));
    Ok(())
}
