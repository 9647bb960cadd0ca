//! A node that dies or stops with tasks on it: they run elsewhere, in time, and never twice at once.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use shoal_proto::v1::{FailureKind, OnNodeLoss, State, Task, TaskSpec};
use shoal_tests::api::{Api, exit_code};
use shoal_tests::clock::Centis;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::tasks::{sh, with_cpu, witness};
use shoal_tests::witness::{Life, overlaps};
use shoal_tests::{case, host, suite, wait};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);
/// How long each task of a fault test lives: long enough to be hit, and to have time left at the fault.
const TASK_MS: u64 = 5_000;
/// Tasks that fill three nodes of four cores, half a core each.
const TASKS: usize = 24;

fn main() -> ExitCode {
    suite::run(
        Options::default(),
        vec![
            case!(own Options::default(), tasks_of_a_killed_node_run_elsewhere_and_never_twice_at_once),
            case!(own Options::default(), tasks_survive_the_death_of_the_etcd_leaders_node),
            case!(own Options::default(), a_stopped_servers_containers_die_before_a_peer_starts_them_again),
            case!(own Options::default(), what_falls_to_a_frozen_node_starts_elsewhere_while_its_lease_still_lives),
        ],
    )
}

/// Submits the tasks of a fault test and waits until each has given a sign of life.
async fn all_running(cluster: &Cluster, api: &Api, loss: OnNodeLoss) -> Result<Vec<String>> {
    let spec = TaskSpec { on_node_loss: loss as i32, ..with_cpu(witness(TASK_MS), 500) };
    let ids = api.submit_many(vec![spec; TASKS]).await?;
    wait::until(&format!("a sign of life of {TASKS} tasks"), SOON, async || {
        let alive = cluster.lives()?.iter().filter(|life| ids.contains(&life.task)).count();
        ensure!(alive == TASKS, "{alive} live");
        Ok(())
    })
    .await?;
    Ok(ids)
}

/// Ids of the tasks whose first attempt lives on this node.
fn tasks_on(lives: &[Life], node: &str) -> Vec<String> {
    lives.iter().filter(|life| life.node == node && life.attempt == 1).map(|life| life.task.clone()).collect()
}

/// The first attempt is dead before the second gives a sign, the second starts in time, and what counts is one end.
fn check_recovery(
    cluster: &Cluster,
    hit: &[String],
    fault: Centis,
    tasks: &BTreeMap<String, Task>,
) -> Result<()> {
    let lives = cluster.lives()?;
    let found = overlaps(&lives);
    ensure!(found.is_empty(), "{} overlaps, the first: {}", found.len(), found[0]);
    let limit = 2.0 * cluster.ttl().as_secs_f64() + 5.0;
    let mut slowest = 0.0_f64;
    for (id, task) in tasks {
        let last = task.attempts.last().context("an ended task has an attempt")?;
        let counted = lives.iter().find(|life| life.task == *id && life.attempt == last.number);
        let counted =
            counted.with_context(|| format!("the witness knows no attempt {} of {id}", last.number))?;
        ensure!(counted.starts == 1 && counted.ends == 1, "the attempt that counts: {counted:?}");
        ensure!(counted.node == last.node_name, "record {last:?}, witness {counted:?}");
        if hit.contains(id) {
            let began = counted.first.seconds_since(fault);
            slowest = slowest.max(began);
            ensure!(last.number == 2, "one more attempt for a task that was hit: {task:?}");
            ensure!(began <= limit, "started again after {began:.1} s, the promise is {limit:.1} s");
        } else {
            ensure!(last.number == 1, "a task that was not hit started again: {task:?}");
        }
    }
    eprintln!(
        "{} tasks were hit; the last started again {slowest:.1} s after the fault (limit {limit:.0} s)",
        hit.len()
    );
    Ok(())
}

async fn complete(api: &Api, ids: &[String], cluster: &Cluster) -> Result<BTreeMap<String, Task>> {
    // 2T + 5 s until the last has started again, then its own life.
    let limit = 2 * cluster.ttl() + Duration::from_secs(5) + 2 * Duration::from_millis(TASK_MS);
    let tasks = api.wait_all(ids, limit).await?;
    for task in tasks.values() {
        ensure!(exit_code(task) == Some(0), "{task:?}");
    }
    Ok(tasks)
}

async fn tasks_of_a_killed_node_run_elsewhere_and_never_twice_at_once(cluster: Arc<Cluster>) -> Result<()> {
    let leader = cluster.leader().await?;
    let victim = cluster.node((leader + 1) % 3);
    let api = cluster.api(leader);
    let once = TaskSpec { on_node_loss: OnNodeLoss::Fail as i32, ..with_cpu(witness(TASK_MS), 500) };
    let ids = all_running(&cluster, api, OnNodeLoss::Requeue).await?;
    let hit = tasks_on(&cluster.lives()?, victim.name());
    ensure!(hit.len() >= 4, "only {} tasks run on {}", hit.len(), victim.name());

    victim.crash()?;
    let fault = Centis::now();
    // The others go on taking work at once: what is not on the lost node does not wait for it.
    let fresh = api.submit(once).await?;
    let tasks = complete(api, &ids, &cluster).await?;
    check_recovery(&cluster, &hit, fault, &tasks)?;
    let fresh = api.wait_state(&fresh, State::Complete, SOON).await?;
    ensure!(fresh.attempts.len() == 1, "{fresh:?}");
    // Of its containers nothing is left; its runner stays a while, for a server that comes back.
    wait::until("the lost node's containers to leave nothing", cluster.ttl(), async || {
        let left = host::container_leftovers(victim.data_dir());
        ensure!(left.is_empty(), "{}", left.join("; "));
        Ok(())
    })
    .await?;

    // Started anew it is a node like any other, and its tasks that must not start twice fail as lost.
    victim.start()?;
    victim.ready(Duration::from_secs(30)).await?;
    cluster.whole(SOON).await?;
    let ids = all_running(&cluster, api, OnNodeLoss::Fail).await?;
    let hit: Vec<String> =
        tasks_on(&cluster.lives()?, victim.name()).into_iter().filter(|id| ids.contains(id)).collect();
    ensure!(!hit.is_empty(), "the node that came back has no task");
    victim.crash()?;
    let limit = 2 * cluster.ttl() + Duration::from_secs(5) + 2 * Duration::from_millis(TASK_MS);
    let tasks = api.wait_all(&ids, limit).await?;
    for (id, task) in &tasks {
        ensure!(task.attempts.len() == 1, "a second start: {task:?}");
        let lost = task.failure.as_ref().is_some_and(|failure| failure.kind() == FailureKind::Lost);
        ensure!(lost == hit.contains(id), "hit {}: {task:?}", hit.contains(id));
    }
    Ok(())
}

async fn tasks_survive_the_death_of_the_etcd_leaders_node(cluster: Arc<Cluster>) -> Result<()> {
    let leader = cluster.leader().await?;
    let victim = cluster.node(leader);
    let api = cluster.api((leader + 1) % 3);
    let ids = all_running(&cluster, api, OnNodeLoss::Requeue).await?;
    let hit = tasks_on(&cluster.lives()?, victim.name());
    ensure!(hit.len() >= 4, "only {} tasks run on {}", hit.len(), victim.name());
    victim.crash()?;
    let fault = Centis::now();
    let tasks = complete(api, &ids, &cluster).await?;
    check_recovery(&cluster, &hit, fault, &tasks)
}

async fn a_stopped_servers_containers_die_before_a_peer_starts_them_again(
    cluster: Arc<Cluster>,
) -> Result<()> {
    let victim = cluster.node(2);
    let api = cluster.api(0);
    let before =
        api.nodes().await?.into_iter().find(|node| node.name == victim.name()).context("it is a node")?.id;
    let ids = all_running(&cluster, api, OnNodeLoss::Requeue).await?;
    let hit = tasks_on(&cluster.lives()?, victim.name());
    ensure!(!hit.is_empty(), "no task runs on {}", victim.name());

    victim.signal_server(Signal::STOP)?;
    let fault = Centis::now();
    let resume = tokio::time::Instant::now() + 3 * cluster.ttl();
    let tasks = complete(api, &ids, &cluster).await?;
    check_recovery(&cluster, &hit, fault, &tasks)?;
    for life in cluster.lives()?.iter().filter(|life| life.node == victim.name() && hit.contains(&life.task))
    {
        let lived_on = life.last.seconds_since(fault);
        // The deadline is 0.7 T after the last renewal that succeeded before the stop.
        let limit = 0.7 * cluster.ttl().as_secs_f64() + 0.25;
        ensure!(
            lived_on <= limit,
            "{life:?} gave a sign {lived_on:.2} s after the stop; its deadline was {limit:.2} s"
        );
    }

    tokio::time::sleep_until(resume).await;
    victim.signal_server(Signal::CONT)?;
    // It learns that its lease is gone and comes back as a new node; what it has to say about its old tasks is refused.
    wait::until("the stopped node to come back under a new id", Duration::from_secs(30), async || {
        let nodes = api.nodes().await?;
        let after = nodes.iter().find(|node| node.name == victim.name()).context("it is not back")?;
        ensure!(after.id != before, "it still has its old id");
        Ok(())
    })
    .await?;
    victim.ready(SOON).await?;
    for (id, task) in &tasks {
        let now = victim.api().get(id).await?;
        ensure!(now == *task, "a late result changed an ended task: {task:?} then {now:?}");
    }
    let id = victim.api().submit(with_cpu(witness(20), 500)).await?;
    victim.api().wait_state(&id, State::Complete, SOON).await?;
    Ok(())
}

async fn what_falls_to_a_frozen_node_starts_elsewhere_while_its_lease_still_lives(
    cluster: Arc<Cluster>,
) -> Result<()> {
    let (victim, api) = (cluster.node(2), cluster.api(0));
    victim.signal_server(Signal::STOP)?;
    let asked = tokio::time::Instant::now();
    // Some more than the three have room for, so that each has its own share of them.
    let ids = api.submit_many(vec![with_cpu(sh("true"), 500); 2 * TASKS]).await?;
    let mut nodes = BTreeSet::new();
    for id in &ids {
        let task = api.wait_state(id, State::Complete, SOON).await?;
        nodes.extend(task.attempts.last().map(|attempt| attempt.node_name.clone()));
    }
    let took = asked.elapsed();
    let lives = api.nodes().await?.iter().any(|node| node.name == victim.name());
    victim.signal_server(Signal::CONT)?;
    println!("{} tasks beside a frozen node of three: {:.2} s", ids.len(), took.as_secs_f64());
    ensure!(!nodes.contains(victim.name()), "they ran on {nodes:?}");
    ensure!(lives, "its lease had ended: after {took:.1?} that says nothing of the hedge");
    victim.ready(SOON).await?;
    Ok(())
}
