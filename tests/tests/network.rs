//! Three machines as `docs/three-machines.md` connects them, and what becomes of tasks when one of them is cut off: nothing runs twice at
//! once, nothing is lost, and who was away comes back as a new node with nothing left of its old life.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use shoal_proto::v1::{State, SubmitRequest, Task};
use shoal_tests::api::{Api, exit_code};
use shoal_tests::clock::Centis;
use shoal_tests::cluster::{Cluster, Form, Options};
use shoal_tests::machines::Machine;
use shoal_tests::node::Node;
use shoal_tests::tasks::{sh, with_cpu, witness};
use shoal_tests::witness::{Life, overlaps};
use shoal_tests::{case, host, suite, wait};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);
/// How long a task lives that is to be hit: its node's deadline passes within.
const TASK_MS: u64 = 5_000;
/// An answer about a log that cannot be had, connection attempts included.
const LOG_LIMIT: Duration = Duration::from_secs(5);
/// A container's share of T after the last renewal, and what its end may take.
const DEADLINE_SHARE: f64 = 0.7;
const DEADLINE_SLACK: f64 = 0.25;

fn main() -> ExitCode {
    let machines =
        Options { lease_ttl: Duration::from_secs(3), form: Form::OnMachines, ..Options::default() };
    // The usual T, as an election must pass within the deadline of the nodes that stay.
    let usual = Options { lease_ttl: Duration::from_secs(6), ..machines.clone() };
    suite::run(
        machines,
        vec![
            case!(shared, three_machines_connected_by_tunnels_are_one_cluster),
            case!(shared, tasks_of_a_node_that_is_cut_off_die_there_before_they_run_elsewhere),
            case!(shared, a_cancel_reaches_a_task_whose_node_is_cut_off),
            case!(shared, a_broken_tunnel_between_two_nodes_loses_no_task_and_runs_none_twice_at_once),
            case!(own usual, tasks_survive_when_what_the_etcd_leader_sends_is_lost),
        ],
    )
}

/// 2T + 5 s: within it a lost node's task has started elsewhere.
fn recovery(cluster: &Cluster) -> Duration {
    2 * cluster.ttl() + Duration::from_secs(5)
}

fn machine(node: &Node) -> Result<&Machine> {
    node.machine().context("these nodes run on machines of their own")
}

/// The node with the leader's member, one without it that is to be hit, and the third.
async fn roles(cluster: &Cluster) -> Result<(usize, usize, usize)> {
    let leader = wait::until("an etcd leader", SOON, async || cluster.leader().await).await?;
    Ok((leader, (leader + 1) % 3, (leader + 2) % 3))
}

/// Fills the cluster with equal tasks, two cores each, and waits until each has given a sign of life; returns the lives.
async fn filled(cluster: &Cluster, asked: usize, ms: u64) -> Result<Vec<Life>> {
    let tasks = cluster.nodes().len() * cluster.options().cpus as usize / 2;
    let ids = cluster.api(asked).submit_many(vec![with_cpu(witness(ms), 2_000); tasks]).await?;
    wait::until(&format!("a sign of life of {tasks} tasks"), SOON, async || {
        let lives = cluster.lives()?;
        let ours: Vec<Life> = lives.into_iter().filter(|life| ids.contains(&life.task)).collect();
        ensure!(ours.len() == tasks, "{} live", ours.len());
        Ok(ours)
    })
    .await
}

/// Two tasks that run on `victim`, on an otherwise empty cluster.
async fn two_on(cluster: &Cluster, victim: &Node, asked: usize) -> Result<Vec<String>> {
    let lives = filled(cluster, asked, TASK_MS).await?;
    let (hit, others): (Vec<Life>, Vec<Life>) =
        lives.into_iter().partition(|life| life.node == victim.name());
    for life in &others {
        cluster.api(asked).cancel(&life.task, "it made its node full").await?;
    }
    for life in &others {
        cluster.api(asked).wait_state(&life.task, State::Canceled, SOON).await?;
    }
    ensure!(hit.len() == 2, "two of the equal tasks run on {}, not {hit:?}", victim.name());
    Ok(hit.into_iter().map(|life| life.task).collect())
}

async fn node_id(cluster: &Cluster, asked: usize, name: &str) -> Result<String> {
    let nodes = cluster.api(asked).nodes().await?;
    Ok(nodes.into_iter().find(|node| node.name == name).with_context(|| format!("{name} is no node"))?.id)
}

fn no_overlap(cluster: &Cluster) -> Result<()> {
    let found = overlaps(&cluster.lives()?);
    ensure!(found.is_empty(), "{} overlaps, the first: {}", found.len(), found[0]);
    Ok(())
}

/// Nothing on `node` lived past the deadline that its last renewal before `fault` can have given.
fn died_by_the_deadline(cluster: &Cluster, node: &Node, ids: &[String], fault: Centis) -> Result<()> {
    let limit = DEADLINE_SHARE * cluster.ttl().as_secs_f64() + DEADLINE_SLACK;
    for life in cluster.lives()?.iter().filter(|life| life.node == node.name() && ids.contains(&life.task)) {
        let lived_on = life.last.seconds_since(fault);
        ensure!(
            lived_on <= limit,
            "{life:?} gave a sign {lived_on:.2} s after the cut; the limit is {limit:.2} s"
        );
    }
    Ok(())
}

/// After its network is whole again: a new node by the old name, with nothing of its old containers, that says of every ended task
/// what the others say, and that takes work.
async fn comes_back(cluster: &Cluster, node: &Node, old_id: &str, ended: &[Task]) -> Result<()> {
    let asked = usize::from(cluster.index_of(node.name())? == 0);
    let settled = 2 * cluster.ttl() + Duration::from_secs(10);
    wait::until(&format!("{} to come back under a new id", node.name()), settled, async || {
        ensure!(node_id(cluster, asked, node.name()).await? != old_id, "it still has its old id");
        Ok(())
    })
    .await?;
    node.ready(SOON).await?;
    cluster.whole(SOON).await?;
    let left = host::container_leftovers(node.data_dir());
    ensure!(left.is_empty(), "left of its old life: {}", left.join("; "));
    let fresh = node.api().submit(with_cpu(witness(20), 100)).await?;
    node.api().wait_state(&fresh, State::Complete, SOON).await?;
    for task in ended {
        let now = node.api().get(&task.id).await?;
        ensure!(now == *task, "a late result changed an ended task: {task:?} then {now:?}");
    }
    Ok(())
}

async fn three_machines_connected_by_tunnels_are_one_cluster(cluster: Arc<Cluster>) -> Result<()> {
    let whole_node = cluster.options().cpus * 1000;
    let specs = vec![with_cpu(sh("echo from afar; sleep 1"), whole_node); 3];
    let ids = cluster.api(0).submit_many(specs).await?;
    let mut ran = Vec::new();
    for task in cluster.api(1).wait_all(&ids, SOON).await?.values() {
        ensure!(exit_code(task) == Some(0) && task.attempts.len() == 1, "{task:?}");
        for reader in cluster.nodes() {
            let log = reader.api().log(&task.id, true).await?;
            ensure!(log.end && log.text() == "from afar\n", "read from {}: {log:?}", reader.name());
        }
        ran.push(task.attempts[0].node_name.clone());
    }
    ran.sort_unstable();
    ensure!(ran == ["n1", "n2", "n3"], "one on each machine: {ran:?}");
    Ok(())
}

async fn tasks_of_a_node_that_is_cut_off_die_there_before_they_run_elsewhere(
    cluster: Arc<Cluster>,
) -> Result<()> {
    let (asked, victim, _) = roles(&cluster).await?;
    let node = cluster.node(victim);
    let old_id = node_id(&cluster, asked, node.name()).await?;
    let ids = two_on(&cluster, node, asked).await?;
    machine(node)?.cut()?;
    let fault = Centis::now();
    // One of the two ends while its node cannot tell anybody: by a signal, to be told from the end that counts.
    end_task_process(&format!("{}.1", ids[0]))?;

    let limit = recovery(&cluster) + 2 * Duration::from_millis(TASK_MS);
    let tasks: Vec<Task> = cluster.api(asked).wait_all(&ids, limit).await?.into_values().collect();
    for task in &tasks {
        ensure!(exit_code(task) == Some(0) && task.attempts.len() == 2, "{task:?}");
        ensure!(task.attempts[1].node_name != node.name(), "it ran where it was cut off: {task:?}");
        let lives = cluster.lives()?;
        let second = lives.iter().find(|life| life.task == task.id && life.attempt == 2);
        let began = second.context("the witness knows the second attempt")?.first.seconds_since(fault);
        let limit = recovery(&cluster).as_secs_f64();
        ensure!(began <= limit, "started again after {began:.1} s, the promise is {limit:.1} s");
    }
    died_by_the_deadline(&cluster, node, &ids, fault)?;
    no_overlap(&cluster)?;

    machine(node)?.heal()?;
    comes_back(&cluster, node, &old_id, &tasks).await?;
    no_overlap(&cluster)
}

/// SIGKILL to the shell of an attempt, as a task that ends by itself.
fn end_task_process(attempt: &str) -> Result<()> {
    let shell = |pid: &i32| host::command_line(*pid).is_some_and(|line| line.contains("say start"));
    let found = host::processes_of_attempt(attempt).into_iter().find(shell);
    host::signal(found.with_context(|| format!("{attempt} runs no shell"))?, Signal::KILL)
}

async fn a_cancel_reaches_a_task_whose_node_is_cut_off(cluster: Arc<Cluster>) -> Result<()> {
    let (asked, victim, other) = roles(&cluster).await?;
    let node = cluster.node(victim);
    let old_id = node_id(&cluster, asked, node.name()).await?;
    let ids = two_on(&cluster, node, asked).await?;
    machine(node)?.cut()?;
    let fault = Centis::now();
    for id in &ids {
        cluster.api(other).cancel(id, "not needed").await?;
    }
    let mut ended = Vec::new();
    for id in &ids {
        let task = cluster.api(asked).wait_state(id, State::Canceled, recovery(&cluster)).await?;
        let left = host::processes_of_attempt(&format!("{id}.1"));
        ensure!(left.is_empty(), "canceled, but its container lives: {left:?}, {task:?}");
        ensure!(task.attempts.len() == 1, "{task:?}");
        ended.push(task);
    }
    let took = Centis::now().seconds_since(fault);
    ensure!(took <= recovery(&cluster).as_secs_f64(), "canceled after {took:.1} s");
    died_by_the_deadline(&cluster, node, &ids, fault)?;
    machine(node)?.heal()?;
    comes_back(&cluster, node, &old_id, &ended).await
}

async fn tasks_survive_when_what_the_etcd_leader_sends_is_lost(cluster: Arc<Cluster>) -> Result<()> {
    let (victim, asked, other) = roles(&cluster).await?;
    let node = cluster.node(victim);
    let old_id = node_id(&cluster, asked, node.name()).await?;
    let lives = filled(&cluster, asked, TASK_MS).await?;
    let (hit, ids) = (
        lives
            .iter()
            .filter(|life| life.node == node.name())
            .map(|life| life.task.clone())
            .collect::<Vec<_>>(),
        lives.iter().map(|life| life.task.clone()).collect::<Vec<_>>(),
    );
    ensure!(!hit.is_empty(), "no task runs on the leader's node");
    machine(node)?.lose_outgoing(&[asked, other])?;
    let fault = Centis::now();
    let limit = recovery(&cluster) + 2 * Duration::from_millis(TASK_MS);
    let tasks = cluster.api(asked).wait_all(&ids, limit).await?;
    for (id, task) in &tasks {
        let expected = if hit.contains(id) { 2 } else { 1 };
        ensure!(exit_code(task) == Some(0) && task.attempts.len() == expected, "{task:?}");
    }
    died_by_the_deadline(&cluster, node, &hit, fault)?;
    no_overlap(&cluster)?;
    machine(node)?.restore_outgoing(&[asked, other])?;
    let tasks: Vec<Task> = tasks.into_values().collect();
    comes_back(&cluster, node, &old_id, &tasks).await?;
    no_overlap(&cluster)
}

async fn a_broken_tunnel_between_two_nodes_loses_no_task_and_runs_none_twice_at_once(
    cluster: Arc<Cluster>,
) -> Result<()> {
    let (one, other, between) = roles(&cluster).await?;
    let far = filled(&cluster, between, 20).await?;
    let far =
        far.into_iter().find(|life| life.node == cluster.node(other).name()).context("each node ran some")?;
    let lives = filled(&cluster, between, TASK_MS).await?;
    machine(cluster.node(one))?.lose_outgoing(&[other])?;
    machine(cluster.node(other))?.lose_outgoing(&[one])?;
    let mut ids: Vec<String> = lives.into_iter().map(|life| life.task).collect();
    for asked in [between, one, other] {
        ids.extend(submitted(cluster.api(asked), recovery(&cluster)).await?);
    }
    let log = tokio::time::timeout(LOG_LIMIT, cluster.api(one).log(&far.task, false)).await;
    let log = log.context("a log behind a broken tunnel is waited for")?;
    // It is on the other side; a copy may be on the third machine, which both reach.
    let copy = log.ok();
    let limit = recovery(&cluster) + 3 * Duration::from_millis(TASK_MS);
    let tasks = cluster.api(between).wait_all(&ids, limit).await?;
    ensure!(tasks.values().all(|task| exit_code(task) == Some(0)), "{tasks:?}");
    no_overlap(&cluster)?;
    machine(cluster.node(one))?.restore_outgoing(&[other])?;
    machine(cluster.node(other))?.restore_outgoing(&[one])?;
    wait::until(
        "all logs to be read from everywhere",
        2 * cluster.ttl() + Duration::from_secs(10),
        async || {
            for (id, node) in ids.iter().zip(cluster.nodes().iter().cycle()) {
                ensure!(
                    node.api().log(id, false).await?.text().contains("end "),
                    "{id} from {}",
                    node.name()
                );
            }
            Ok(())
        },
    )
    .await?;
    if let Some(copy) = copy {
        let log = cluster.api(other).log(&far.task, false).await?;
        ensure!(copy.end && copy.bytes == log.bytes, "a copy that is no copy: {copy:?}, {log:?}");
    }
    cluster.whole(SOON).await
}

/// Submits tasks, again and again under the same request until the node has a store that takes them.
async fn submitted(api: &Api, limit: Duration) -> Result<Vec<String>> {
    let request = SubmitRequest {
        request_id: uuid::Uuid::now_v7().to_string(),
        tasks: vec![with_cpu(witness(2_000), 1_000); 4],
        ..Default::default()
    };
    wait::until("a submit to be taken", limit, async || {
        Ok(api.raw().submit(request.clone()).await?.into_inner().ids)
    })
    .await
}
