//! Tasks per second of `true`, from the first submit to the last completion, and what a task costs in the store.

use crate::figures::{self, Figures, counters, median, rss_mib};
use anyhow::{Result, ensure};
use shoal_proto::v1::State;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::tasks::{command, with_cpu, with_memory};
use shoal_tests::wait;
use std::time::{Duration, Instant};

/// Tasks in flight in the whole cluster: enough to keep two to eight cores busy.
const IN_FLIGHT: u32 = 24;
/// No round takes longer.
const ROUND_LIMIT: Duration = Duration::from_secs(600);

/// Measures `rounds` times, each on a fresh cluster, and adds the medians.
pub async fn measure(figures: &mut Figures, nodes: usize, tasks: usize, rounds: usize) -> Result<()> {
    let (mut rates, mut txns, mut lost, mut memory) = (vec![], vec![], vec![], vec![]);
    for _ in 0..rounds.max(1) {
        let round = run(nodes, tasks).await?;
        rates.push(round.tasks_per_second);
        txns.push(round.txns_per_task);
        lost.push(round.lost_percent);
        memory.push(round.server_mib);
    }
    let spread = format!(
        "{:.0} to {:.0} in {} rounds",
        rates.iter().copied().fold(f64::INFINITY, f64::min),
        rates.iter().copied().fold(0.0, f64::max),
        rates.len()
    );
    let title = format!("{tasks} tasks of `true`, {nodes} node(s)");
    figures.add(&format!("{title}: tasks per second"), format!("{:.0} ({spread})", median(rates)));
    figures.add(&format!("{title}: transactions per task"), format!("{:.2}", median(txns)));
    figures.add(&format!("{title}: lost steals"), format!("{:.1} %", median(lost)));
    figures.add(&format!("{title}: memory of a server afterwards"), format!("{:.0} MiB", median(memory)));
    Ok(())
}

struct Round {
    tasks_per_second: f64,
    txns_per_task: f64,
    lost_percent: f64,
    server_mib: f64,
}

async fn run(nodes: usize, tasks: usize) -> Result<Round> {
    // Cores are what the nodes say they offer: each task takes one, so this is the number of tasks in flight.
    let options = Options { nodes, cpus: IN_FLIGHT / nodes as u32, flags: vec![], ..Options::default() };
    let cluster = Cluster::start(options).await?;
    let outcome = timed(&cluster, tasks).await;
    let memory: Vec<f64> =
        cluster.nodes().iter().filter_map(|n| n.server_pid().ok()).map(|pid| rss_mib(pid) as f64).collect();
    figures::end(&cluster).await;
    let elapsed = outcome?;
    let spent = counters(cluster.nodes())?;
    let steals = (spent.steals_won + spent.steals_lost).max(1);
    Ok(Round {
        tasks_per_second: tasks as f64 / elapsed.as_secs_f64(),
        txns_per_task: spent.store_txns as f64 / tasks as f64,
        lost_percent: 100.0 * spent.steals_lost as f64 / steals as f64,
        server_mib: median(memory),
    })
}

async fn timed(cluster: &Cluster, tasks: usize) -> Result<Duration> {
    let spec = with_memory(with_cpu(command(&["true"]), 1000), 16 << 20);
    let begin = Instant::now();
    let ids = cluster.api(0).submit_many(vec![spec; tasks]).await?;
    wait::until(&format!("{tasks} completions"), ROUND_LIMIT, async || {
        let status = cluster.api(0).status().await?;
        ensure!(status.complete + status.failed >= tasks as u64, "{status:?}");
        Ok(())
    })
    .await?;
    let elapsed = begin.elapsed();
    let complete = cluster.api(0).list().await?.iter().filter(|t| t.state() == State::Complete).count();
    ensure!(complete == ids.len(), "{complete} of {} tasks completed", ids.len());
    Ok(elapsed)
}
