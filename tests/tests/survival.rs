//! What outlives what: tasks an upgrade of the server, nothing of a container a reboot, and no record a container that left no trace.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use shoal_proto::v1::{FailureKind, OnNodeLoss, State, TaskSpec};
use shoal_tests::api::exit_code;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::node::Node;
use shoal_tests::tasks::witness;
use shoal_tests::witness::{Life, overlaps};
use shoal_tests::{case, host, programs, suite, wait};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
/// A restarted node: etcd's start, its own registration, its first list.
const RESTART: Duration = Duration::from_secs(45);

fn main() -> ExitCode {
    let one = Options { nodes: 1, ..Options::default() };
    suite::run(
        one.clone(),
        vec![
            case!(own one.clone(), another_build_of_the_server_takes_over_what_runs),
            case!(own one.clone(), after_a_reboot_nothing_is_left_and_the_work_is_done_again),
            case!(own one, an_attempt_that_left_no_trace_is_not_believed_to_run),
        ],
    )
}

async fn first_sign(cluster: &Cluster, task: &str) -> Result<Life> {
    wait::until(&format!("a sign of life of {task}"), SOON, async || {
        cluster.lives()?.into_iter().find(|life| life.task == task).context("none")
    })
    .await
}

async fn nothing_left(node: &Node) -> Result<()> {
    wait::until("nothing to be left of the containers", SOON, async || {
        let mut left = host::container_leftovers(node.data_dir());
        left.extend(host::unforgotten(node.data_dir()));
        left.extend(host::labelled(node.data_dir()));
        if left.is_empty() { Ok(()) } else { bail!("{}", left.join("; ")) }
    })
    .await
}

async fn another_build_of_the_server_takes_over_what_runs(cluster: Arc<Cluster>) -> Result<()> {
    let (node, api) = (cluster.node(0), cluster.api(0));
    let before = api.nodes().await?[0].id.clone();
    let id = api.submit(witness(9_000)).await?;
    first_sign(&cluster, &id).await?;
    let log_before = api.log(&id, false).await?.bytes.len();
    // Another build, as far as the node can tell: another file at another place, and a runner of its own that it does not need.
    let place = tempfile::tempdir()?;
    for name in ["shoald", "shoal-runner"] {
        std::fs::copy(programs::built(name)?, place.path().join(name))?;
    }
    let runner = node.runner_pid()?;
    node.stop().await?;
    node.start_as(&place.path().join("shoald"))?;
    node.ready(RESTART).await?;
    ensure!(api.nodes().await?[0].id == before, "the node came back under another id");
    ensure!(node.runner_pid()? == runner, "the runner was replaced under what runs");
    ensure!(api.get(&id).await?.state() == State::Running, "it did not run on: {:?}", api.get(&id).await?);
    wait::until("the log to go on", SOON, async || {
        let now = api.log(&id, false).await?.bytes.len();
        ensure!(now > log_before, "{now} bytes");
        Ok(())
    })
    .await?;
    let task = api.wait_state(&id, State::Complete, SOON).await?;
    ensure!(task.attempts.len() == 1 && exit_code(&task) == Some(0), "{task:?}");
    let lives: Vec<Life> = cluster.lives()?.into_iter().filter(|life| life.task == id).collect();
    ensure!(lives.len() == 1 && lives[0].starts == 1 && lives[0].ends == 1, "it ran through: {lives:?}");
    nothing_left(node).await
}

/// What a reboot leaves of a node: its files. (The boot is the kernel's own; the node knows the one that it registered in by its id.)
fn reboot(node: &Node) -> Result<()> {
    let runner = node.runner_pid()?;
    node.crash()?;
    host::signal(runner, Signal::KILL)?;
    for pid in host::container_processes(node.data_dir()) {
        // Those of a namespace die with its first process.
        let _ = host::signal(pid, Signal::KILL);
    }
    let path = node.data_dir().join("node.json");
    let mut saved: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    ensure!(saved["boot_id"].is_string(), "no boot id in {saved}");
    saved["boot_id"] = "another".into();
    Ok(std::fs::write(&path, serde_json::to_vec(&saved)?)?)
}

async fn after_a_reboot_nothing_is_left_and_the_work_is_done_again(cluster: Arc<Cluster>) -> Result<()> {
    let (node, api) = (cluster.node(0), cluster.api(0));
    let before = api.nodes().await?[0].id.clone();
    let once = TaskSpec { on_node_loss: OnNodeLoss::Fail as i32, ..witness(4_000) };
    let ids = api.submit_many(vec![witness(4_000), once]).await?;
    for id in &ids {
        first_sign(&cluster, id).await?;
    }
    reboot(node)?;
    node.start()?;
    node.ready(RESTART).await?;
    ensure!(api.nodes().await?.iter().any(|node| node.id != before), "a rebooted node is not the one it was");
    let again = api.wait_state(&ids[0], State::Complete, RESTART).await?;
    ensure!(again.attempts.len() == 2 && exit_code(&again) == Some(0), "{again:?}");
    let lost = api.wait_state(&ids[1], State::Failed, RESTART).await?;
    ensure!(lost.attempts.len() == 1, "{lost:?}");
    ensure!(lost.failure.as_ref().is_some_and(|failure| failure.kind() == FailureKind::Lost), "{lost:?}");
    let found = overlaps(&cluster.lives()?);
    ensure!(found.is_empty(), "{} overlaps, the first: {}", found.len(), found[0]);
    nothing_left(node).await
}

async fn an_attempt_that_left_no_trace_is_not_believed_to_run(cluster: Arc<Cluster>) -> Result<()> {
    let (node, api) = (cluster.node(0), cluster.api(0));
    let id = api.submit(witness(3_000)).await?;
    first_sign(&cluster, &id).await?;
    api.wait_state(&id, State::Running, SOON).await?;
    let attempt = format!("{id}.1");
    // While the server does not look, everything that the attempt was is removed.
    node.signal_server(Signal::STOP)?;
    host::signal(node.runner_pid()?, Signal::KILL)?;
    for pid in host::container_processes(node.data_dir()) {
        let _ = host::signal(pid, Signal::KILL);
    }
    let gone = wait::until("the attempt's groups to be empty", SOON, async || {
        for group in host::groups_of_attempt(&attempt) {
            std::fs::remove_dir(&group).with_context(|| format!("remove {}", group.display()))?;
        }
        Ok(())
    });
    let removed = gone.await.and_then(|()| remove(&node.data_dir().join("attempts").join(&attempt)));
    node.signal_server(Signal::CONT)?;
    removed?;
    let task = api.wait_state(&id, State::Complete, RESTART).await?;
    ensure!(task.attempts.len() == 2 && exit_code(&task) == Some(0), "{task:?}");
    nothing_left(node).await
}

fn remove(directory: &Path) -> Result<()> {
    std::fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))
}
