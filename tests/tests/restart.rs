//! A server, an etcd member or all nodes restart: what runs goes on, what was accepted stays.

use anyhow::{Context, Result, ensure};
use shoal_proto::v1::State;
use shoal_tests::api::exit_code;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::node::Node;
use shoal_tests::tasks::{sh, with_cpu, witness};
use shoal_tests::{case, host, suite, wait};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);
/// A restarted node: etcd's start, its own registration, its first list.
const RESTART: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    suite::run(
        Options::default(),
        vec![
            case!(shared, a_server_restarted_inside_its_ttl_keeps_its_id_and_its_tasks),
            case!(shared, a_server_that_stops_in_order_keeps_its_tasks_too),
            case!(shared, a_killed_etcd_member_is_started_again),
            case!(own Options::default(), everything_accepted_survives_the_death_of_all_nodes),
        ],
    )
}

async fn node_id(cluster: &Cluster, asked: usize, name: &str) -> Result<String> {
    let nodes = cluster.api(asked).nodes().await?;
    Ok(nodes.into_iter().find(|node| node.name == name).with_context(|| format!("{name} is no node"))?.id)
}

/// One task on every node; returns the id of the one on `node`.
async fn task_on(cluster: &Cluster, node: &Node, ms: u64) -> Result<String> {
    let whole_node = cluster.options().cpus * 1000;
    let ids =
        cluster.api(0).submit_many(vec![with_cpu(witness(ms), whole_node); cluster.nodes().len()]).await?;
    let life = wait::until("a sign of life on each node", SOON, async || {
        let lives = cluster.lives()?;
        let ours: Vec<_> = lives.into_iter().filter(|life| ids.contains(&life.task)).collect();
        ensure!(ours.len() == ids.len(), "{} live", ours.len());
        ours.into_iter().find(|life| life.node == node.name()).context("none on that node")
    });
    Ok(life.await?.task)
}

async fn check_adopted(cluster: &Cluster, node: &Node, before: &str, task: &str) -> Result<()> {
    node.ready(RESTART).await?;
    let after = node_id(cluster, 0, node.name()).await?;
    ensure!(after == before, "the node came back as {after}, it was {before}");
    let task = cluster.api(0).wait_state(task, State::Complete, SOON).await?;
    ensure!(task.attempts.len() == 1 && exit_code(&task) == Some(0), "{task:?}");
    let lives: Vec<_> = cluster.lives()?.into_iter().filter(|life| life.task == task.id).collect();
    ensure!(lives.len() == 1 && lives[0].starts == 1 && lives[0].ends == 1, "it ran through: {lives:?}");
    let log = cluster.api(1).log(&task.id, true).await?;
    ensure!(log.end && log.text().contains("end "), "its log is whole");
    Ok(())
}

async fn a_server_restarted_inside_its_ttl_keeps_its_id_and_its_tasks(cluster: Arc<Cluster>) -> Result<()> {
    let node = cluster.node(1);
    let before = node_id(&cluster, 0, node.name()).await?;
    let task = task_on(&cluster, node, 8_000).await?;
    node.kill_server()?;
    node.start()?;
    check_adopted(&cluster, node, &before, &task).await
}

async fn a_server_that_stops_in_order_keeps_its_tasks_too(cluster: Arc<Cluster>) -> Result<()> {
    let node = cluster.node(2);
    let before = node_id(&cluster, 0, node.name()).await?;
    let task = task_on(&cluster, node, 8_000).await?;
    node.stop().await?;
    ensure!(node.etcd_pid().is_err(), "its etcd member is left: {:?}", node.etcd_pid());
    node.start()?;
    check_adopted(&cluster, node, &before, &task).await
}

async fn a_killed_etcd_member_is_started_again(cluster: Arc<Cluster>) -> Result<()> {
    let node = cluster.node(0);
    let before = node_id(&cluster, 1, node.name()).await?;
    let task = task_on(&cluster, node, 6_000).await?;
    let old = node.etcd_pid()?;
    host::signal(old, rustix::process::Signal::KILL)?;
    // The cluster has a majority without it: work is taken at once.
    let id = cluster.api(1).submit(sh("exit 0")).await?;
    cluster.api(1).wait_state(&id, State::Complete, SOON).await?;
    wait::until("another etcd member", RESTART, async || {
        let new = node.etcd_pid()?;
        ensure!(new != old, "the old pid");
        Ok(())
    })
    .await?;
    check_adopted(&cluster, node, &before, &task).await
}

async fn everything_accepted_survives_the_death_of_all_nodes(cluster: Arc<Cluster>) -> Result<()> {
    // More than fits at once, so that some wait, some run and some have ended when all nodes die.
    let specs = (0..60).map(|n| with_cpu(witness(if n < 20 { 20 } else { 2_000 }), 500)).collect();
    let ids = cluster.api(0).submit_many(specs).await?;
    wait::until("tasks in each state", SOON, async || {
        let status = cluster.api(1).status().await?;
        ensure!(status.complete > 5 && status.running > 5 && status.queued > 0, "{status:?}");
        Ok(())
    })
    .await?;
    let complete: Vec<_> = cluster.api(0).list().await?;
    let complete: Vec<_> = complete.into_iter().filter(|task| task.state() == State::Complete).collect();
    for node in cluster.nodes() {
        node.crash()?;
    }
    for node in cluster.nodes() {
        node.start()?;
    }
    for node in cluster.nodes() {
        node.ready(RESTART).await?;
    }
    let tasks = cluster.api(2).wait_all(&ids, Duration::from_secs(60)).await?;
    for task in tasks.values() {
        ensure!(exit_code(task) == Some(0), "{task:?}");
    }
    for task in complete {
        ensure!(tasks[&task.id] == task, "an ended task changed: {task:?} then {:?}", tasks[&task.id]);
    }
    let lives = cluster.lives()?;
    let found = shoal_tests::witness::overlaps(&lives);
    ensure!(found.is_empty(), "{} overlaps, the first: {}", found.len(), found[0]);
    Ok(())
}
