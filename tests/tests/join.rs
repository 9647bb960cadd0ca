//! A cluster that grows node by node, and what its people are told about the loss that it tolerates.

use anyhow::{Result, ensure};
use shoal_proto::v1::{State, StatusResponse};
use shoal_tests::api::{Api, exit_code};
use shoal_tests::cluster::{Cluster, Form, Options};
use shoal_tests::tasks::{sh, with_cpu, witness};
use shoal_tests::witness::overlaps;
use shoal_tests::{case, suite, wait};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);
/// A node that joins: etcd's start, its promotion, its own registration and first list.
const JOIN: Duration = Duration::from_secs(30);
/// Every node looks at the voters at least every 10 s.
const TOLD: Duration = Duration::from_secs(15);
/// What people are told at the start.
const AT_START: Duration = Duration::from_secs(5);
const NO_LOSS: &str = "tolerates no loss";

fn main() -> ExitCode {
    let quick = Options { lease_ttl: Duration::from_secs(3), ..Options::default() };
    let grown = Options { nodes: 4, form: Form::Grown { joining: 2 }, ..quick.clone() };
    let two = Options { nodes: 2, ..quick.clone() };
    suite::run(
        quick,
        vec![
            case!(shared, three_founders_are_three_healthy_voters_soon_after_the_start),
            case!(own two, two_founders_are_told_at_the_start_that_they_tolerate_no_loss),
            case!(own grown, a_cluster_that_grew_by_joining_survives_the_loss_of_its_founder),
        ],
    )
}

/// Waits until the node says so many voters, all of them healthy, and a warning exactly when they tolerate no loss.
async fn told(api: &Api, voters: u32, limit: Duration) -> Result<StatusResponse> {
    wait::until(&format!("status to tell of {voters} healthy voters"), limit, async || {
        let status = api.status().await?;
        ensure!(status.voters == voters && status.voters_healthy == voters, "{status:?}");
        let warned = status.warning.contains(NO_LOSS);
        ensure!(if voters < 3 { warned } else { status.warning.is_empty() }, "{status:?}");
        Ok(status)
    })
    .await
}

async fn three_founders_are_three_healthy_voters_soon_after_the_start(cluster: Arc<Cluster>) -> Result<()> {
    for node in cluster.nodes() {
        told(node.api(), 3, AT_START).await?;
    }
    Ok(())
}

async fn two_founders_are_told_at_the_start_that_they_tolerate_no_loss(cluster: Arc<Cluster>) -> Result<()> {
    for node in cluster.nodes() {
        told(node.api(), 2, AT_START).await?;
        let output = node.output_tail(usize::MAX);
        ensure!(output.contains(NO_LOSS), "{} did not log it:\n{output}", node.name());
    }
    Ok(())
}

async fn a_cluster_that_grew_by_joining_survives_the_loss_of_its_founder(
    cluster: Arc<Cluster>,
) -> Result<()> {
    told(cluster.api(0), 1, AT_START).await?;
    cluster.node(1).start()?;
    cluster.node(1).ready(JOIN).await?;
    cluster.whole(SOON).await?;
    // The second is a learner: a copy without a vote.
    for index in 0..2 {
        told(cluster.api(index), 1, TOLD).await?;
    }
    cluster.node(2).start()?;
    cluster.node(2).ready(JOIN).await?;
    cluster.whole(SOON).await?;
    for index in 0..3 {
        told(cluster.api(index), 3, TOLD).await?;
    }
    work_is_shared(&cluster, &[0, 1, 2], 2).await?;

    cluster.node(3).start()?;
    cluster.node(3).ready(JOIN).await?;
    cluster.whole(SOON).await?;
    ensure!(cluster.node(3).etcd_pid().is_err(), "it carries a member: {:?}", cluster.node(3).etcd_pid());
    told(cluster.api(3), 3, TOLD).await?;
    work_is_shared(&cluster, &[0, 1, 2, 3], 3).await?;
    the_founder_is_not_needed(&cluster).await
}

/// Tasks that fill the nodes, submitted to one of them: every node runs one, and every node shows the log of each.
async fn work_is_shared(cluster: &Cluster, nodes: &[usize], asked: usize) -> Result<()> {
    let whole_node = cluster.options().cpus * 1000;
    let specs = vec![with_cpu(sh("echo one of many; sleep 1"), whole_node); nodes.len()];
    let ids = cluster.api(asked).submit_many(specs).await?;
    let tasks = cluster.api(asked).wait_all(&ids, SOON).await?;
    let mut ran: Vec<&str> = Vec::new();
    for task in tasks.values() {
        ensure!(exit_code(task) == Some(0) && task.attempts.len() == 1, "{task:?}");
        ran.push(&task.attempts[0].node_name);
        for reader in nodes {
            let log = cluster.api(*reader).log(&task.id, true).await?;
            ensure!(log.end && log.text() == "one of many\n", "read from node {reader}: {log:?}");
        }
    }
    ran.sort_unstable();
    let all: Vec<&str> = nodes.iter().map(|index| cluster.node(*index).name()).collect();
    ensure!(ran == all, "they ran on {ran:?}, not one on each of {all:?}");
    Ok(())
}

/// SIGKILL of the first node, with work on all.
async fn the_founder_is_not_needed(cluster: &Cluster) -> Result<()> {
    let ids = cluster.api(3).submit_many(vec![with_cpu(witness(3_000), 1_000); 16]).await?;
    wait::until("a sign of life of all tasks", SOON, async || {
        let alive = cluster.lives()?.iter().filter(|life| ids.contains(&life.task)).count();
        ensure!(alive == ids.len(), "{alive} live");
        Ok(())
    })
    .await?;
    cluster.node(0).crash()?;
    let mut fresh = Vec::new();
    for survivor in 1..4 {
        fresh.push(cluster.api(survivor).submit(witness(20)).await?);
    }
    let limit = 2 * cluster.ttl() + Duration::from_secs(5);
    for id in &fresh {
        cluster.api(1).wait_state(id, State::Complete, limit).await?;
    }
    let tasks = cluster.api(2).wait_all(&ids, limit + Duration::from_secs(6)).await?;
    for task in tasks.values() {
        ensure!(exit_code(task) == Some(0), "{task:?}");
    }
    ensure!(tasks.values().any(|task| task.attempts.len() == 2), "no task was on the founder");
    let found = overlaps(&cluster.lives()?);
    ensure!(found.is_empty(), "{} overlaps, the first: {}", found.len(), found[0]);
    wait::until("status to tell of the lost voter", TOLD, async || {
        let status = cluster.api(3).status().await?;
        ensure!(status.voters == 3 && status.voters_healthy == 2 && !status.warning.is_empty(), "{status:?}");
        Ok(())
    })
    .await
}
