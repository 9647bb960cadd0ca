//! Brings a process to a step, and does to it, or to others while it stands there, what the round says.

use crate::steps::{Fault, Holder, Step, Way};
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use shoal_tests::cluster::Cluster;
use shoal_tests::node::Node;
use shoal_tests::plan::Point;
use shoal_tests::{host, wait};
use std::time::Duration;

/// Until somebody comes to the step.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
/// Until a killed runner is followed by another.
const RUNNER_LIMIT: Duration = Duration::from_secs(15);
/// A server that was killed, with etcd's start and its election.
pub const READY_LIMIT: Duration = Duration::from_secs(45);

/// Waits for the process at the step and lets the fault happen. Afterwards nobody is held, and every server runs.
pub async fn inflict(cluster: &Cluster, step: &Step, fault: Fault, point: Point<'_>) -> Result<()> {
    match step.way {
        Way::Tasks => {}
        Way::RunnerStart => {
            // One that has something to recover.
            let has_some = |node: &&Node| !host::container_processes(node.data_dir()).is_empty();
            let node = cluster.nodes().iter().find(has_some).context("no node has a container")?;
            host::signal(node.runner_pid()?, Signal::KILL)?;
        }
        Way::ServerStart => {
            cluster.node(0).kill_server()?;
            cluster.node(0).start()?;
        }
    }
    let pid = point.held(ARRIVAL_LIMIT).await?;
    let mut point = Some(point);
    let node = node_of(cluster, pid, step.holder)?;
    match fault {
        Fault::Kill => kill(node, pid, step.holder)?,
        Fault::KillForLong => {
            kill(node, pid, step.holder)?;
            tokio::time::sleep(2 * cluster.ttl()).await;
        }
        Fault::Stop => stop(pid, cluster.ttl() / 2, point.take()).await?,
        Fault::StopForLong => stop(pid, 3 * cluster.ttl(), point.take()).await?,
        Fault::KillRunner => {
            let before = node.runner_pid()?;
            host::signal(before, Signal::KILL)?;
            // A server that is held may be unable to start another: then there is none before it goes on.
            if step.holder != Holder::Server {
                another_runner(node, before).await?;
            }
        }
        Fault::KillServer => {
            node.kill_server()?;
            node.start()?;
            // A runner that is held cannot answer, and without it a server does not serve.
            if step.holder != Holder::Runner {
                node.ready(READY_LIMIT).await?;
            }
        }
        Fault::KillAll => {
            let runner = node.runner_pid()?;
            node.kill_server()?;
            host::signal(runner, Signal::KILL)?;
            if pid != runner {
                host::signal(pid, Signal::KILL)?;
            }
        }
    }
    drop(point);
    let down = cluster.nodes().iter().filter(|node| !node.is_started());
    down.map(Node::start).collect::<Result<Vec<()>>>()?;
    for node in cluster.nodes() {
        node.ready(READY_LIMIT).await?;
    }
    cluster.whole(READY_LIMIT).await
}

/// Stops the process for so long; it is let go of its step while it is stopped.
async fn stop(pid: i32, time: Duration, point: Option<Point<'_>>) -> Result<()> {
    host::signal(pid, Signal::STOP)?;
    tokio::time::sleep(time).await;
    drop(point);
    // A stub may have been killed meanwhile: a stopped one cannot keep its deadline.
    let _ = host::signal(pid, Signal::CONT);
    Ok(())
}

fn kill(node: &Node, pid: i32, holder: Holder) -> Result<()> {
    match holder {
        Holder::Server => node.kill_server(),
        Holder::Runner | Holder::Stub => host::signal(pid, Signal::KILL),
    }
}

async fn another_runner(node: &Node, before: i32) -> Result<()> {
    wait::until("another runner", RUNNER_LIMIT, async || {
        ensure!(node.runner_pid()? != before, "the old pid");
        Ok(())
    })
    .await
}

/// The node that a held process belongs to, by its parents.
fn node_of(cluster: &Cluster, pid: i32, holder: Holder) -> Result<&Node> {
    let mut above = vec![pid];
    while let Some(parent) = host::parent_of(above[above.len() - 1]).filter(|parent| *parent > 1) {
        above.push(parent);
    }
    let is_it = |node: &&Node| match holder {
        Holder::Server => node.server_pid().is_ok_and(|server| server == pid),
        Holder::Runner | Holder::Stub => {
            let runner = host::pid_of(&node.data_dir().join("runner/runner.pid"), node.data_dir());
            let server = node.server_pid();
            [runner, server].into_iter().flatten().any(|pid| above.contains(&pid))
        }
    };
    cluster.nodes().iter().find(is_it).with_context(|| format!("process {pid} belongs to no node"))
}
