//! Nodes that people drain or lock, and the paused queue, on a cluster of three nodes: what runs goes on, what waits goes elsewhere or waits, and locks end
//! by themselves.

use anyhow::{Context, Result, ensure};
use shoal_proto::v1::{
    LockInfo, LockNodeRequest, NodesRequest, PauseQueueRequest, ResumeQueueRequest, State, StatusRequest,
    TaskSpec, UnlockNodeRequest, WhyRequest,
};
use shoal_tests::case;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::suite;
use shoal_tests::tasks::{sh, with_cpu, witness};
use shoal_tests::wait;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);
/// The shortest lock there is, and twice the step of the cluster's clock.
const LOCK_MS: u64 = 10_000;
const LOCK_ENDS: Duration = Duration::from_millis(LOCK_MS + 20_000);

fn main() -> ExitCode {
    suite::run(
        Options::default(),
        vec![
            case!(shared, a_drained_node_finishes_what_it_has_and_takes_no_more),
            case!(shared, a_lock_ends_by_itself),
            case!(shared, a_paused_queue_starts_nothing_and_what_runs_goes_on),
        ],
    )
}

async fn lock(cluster: &Cluster, node: usize, for_ms: u64) -> Result<()> {
    let request = LockNodeRequest {
        node: cluster.nodes()[node].name().to_owned(),
        by: "ann".to_owned(),
        reason: "a new disk".to_owned(),
        for_ms,
        force: false,
    };
    // Over another node than the one that is meant.
    let over = (node + 1) % cluster.nodes().len();
    cluster.api(over).raw().lock_node(request).await?;
    for reader in 0..cluster.nodes().len() {
        wait::until(&format!("node {reader} to see the lock"), SOON, async || {
            locked(cluster, reader, node).await?.context("not yet")
        })
        .await?;
    }
    Ok(())
}

async fn unlock(cluster: &Cluster, node: usize) -> Result<()> {
    let name = cluster.nodes()[node].name().to_owned();
    let request = UnlockNodeRequest { node: name, by: "ann".to_owned(), force: false };
    cluster.api(node).raw().unlock_node(request).await?;
    Ok(())
}

async fn locked(cluster: &Cluster, reader: usize, node: usize) -> Result<Option<LockInfo>> {
    let name = cluster.nodes()[node].name();
    let nodes = cluster.api(reader).raw().nodes(NodesRequest {}).await?.into_inner().nodes;
    Ok(nodes.into_iter().find(|it| it.name == name).context("it lives")?.lock)
}

fn whole(cluster: &Cluster, spec: TaskSpec) -> TaskSpec {
    with_cpu(spec, cluster.options().cpus * 1000)
}

/// The names of the nodes on which so many tasks of a whole node have run.
async fn ran_on(cluster: &Cluster, count: usize) -> Result<Vec<String>> {
    let specs = (0..count).map(|_| whole(cluster, witness(60))).collect();
    let ids = cluster.api(0).submit_many(specs).await?;
    let tasks = cluster.api(0).wait_all(&ids, Duration::from_secs(60)).await?;
    tasks.values().map(|task| Ok(task.attempts.last().context("it ran")?.node_name.clone())).collect()
}

async fn a_drained_node_finishes_what_it_has_and_takes_no_more(cluster: Arc<Cluster>) -> Result<()> {
    // One task on each node, so one on the node that is drained.
    let specs = (0..3).map(|_| whole(&cluster, sh("sleep 2; echo done"))).collect();
    let ids = cluster.api(0).submit_many(specs).await?;
    for id in &ids {
        cluster.api(0).wait_state(id, State::Running, SOON).await?;
    }
    lock(&cluster, 1, 0).await?;
    let tasks = cluster.api(0).wait_all(&ids, SOON).await?;
    ensure!(tasks.values().all(|task| task.attempts.len() == 1 && task.exit.is_some()), "{tasks:?}");
    let drained = cluster.nodes()[1].name();
    let names = ran_on(&cluster, 12).await?;
    ensure!(names.iter().all(|name| name != drained), "{drained} took tasks: {names:?}");
    unlock(&cluster, 1).await?;
    let names = ran_on(&cluster, 30).await?;
    ensure!(names.iter().any(|name| name == drained), "{drained} takes tasks again: {names:?}");
    Ok(())
}

async fn a_lock_ends_by_itself(cluster: Arc<Cluster>) -> Result<()> {
    for node in 0..3 {
        lock(&cluster, node, LOCK_MS).await?;
    }
    let begin = Instant::now();
    let id = cluster.api(0).submit(witness(20)).await?;
    let why = cluster.api(2).raw().why(WhyRequest { task: id.clone() }).await?.into_inner();
    ensure!(why.summary.contains("locked or drained"), "{}", why.summary);
    ensure!(why.nodes.iter().all(|node| node.reason == "locked by ann: a new disk"), "{:?}", why.nodes);
    cluster.api(1).wait_state(&id, State::Complete, LOCK_ENDS).await?;
    ensure!(
        begin.elapsed() >= Duration::from_millis(LOCK_MS - 1_000),
        "it ended after {:?}",
        begin.elapsed()
    );
    for node in 0..3 {
        wait::until("the lock's key to be gone", LOCK_ENDS, async || {
            ensure!(locked(&cluster, 0, node).await?.is_none(), "it is still there");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn a_paused_queue_starts_nothing_and_what_runs_goes_on(cluster: Arc<Cluster>) -> Result<()> {
    let running = cluster.api(0).submit(sh("sleep 1; echo done")).await?;
    cluster.api(0).wait_state(&running, State::Running, SOON).await?;
    let request =
        PauseQueueRequest { by: "ann".to_owned(), reason: "the mirror is down".to_owned(), for_ms: 0 };
    cluster.api(1).raw().pause_queue(request).await?;
    for reader in 0..3 {
        wait::until("every node to see the pause", SOON, async || {
            let status = cluster.api(reader).raw().status(StatusRequest {}).await?.into_inner();
            status.pause.context("not yet")
        })
        .await?;
    }
    let waiting = cluster.api(2).submit(witness(20)).await?;
    let why = cluster.api(0).raw().why(WhyRequest { task: waiting.clone() }).await?.into_inner();
    ensure!(why.summary == "the queue is paused by ann: the mirror is down", "{}", why.summary);
    cluster.api(0).wait_state(&running, State::Complete, SOON).await?;
    let task = cluster.api(0).get(&waiting).await?;
    ensure!(task.state() == State::Queued, "{task:?}");
    cluster.api(2).raw().resume_queue(ResumeQueueRequest {}).await?;
    cluster.api(0).wait_state(&waiting, State::Complete, SOON).await?;
    Ok(())
}
