//! What people say of waiting tasks, on a cluster of three nodes whose every core is taken: who is sooner, who is held, and what changes while they wait.

use anyhow::{Context, Result, ensure};
use shoal_proto::v1::{State, TaskSpec, WhyRequest};
use shoal_tests::case;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::suite;
use shoal_tests::tasks::{sh, with_cpu, witness};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    suite::run(
        Options::default(),
        vec![
            case!(shared, higher_priorities_start_first),
            case!(shared, a_priority_can_be_changed_while_its_task_waits),
            case!(shared, a_held_task_waits_until_it_is_released),
        ],
    )
}

/// Tasks that take a whole node each, until they are canceled.
async fn fill(cluster: &Cluster) -> Result<Vec<String>> {
    let fillers = (0..cluster.nodes().len()).map(|_| whole(cluster, sh("sleep 60"))).collect();
    let ids = cluster.api(0).submit_many(fillers).await?;
    for id in &ids {
        cluster.api(0).wait_state(id, State::Running, SOON).await?;
    }
    Ok(ids)
}

async fn make_room(cluster: &Cluster, fillers: &[String]) -> Result<()> {
    for filler in fillers {
        cluster.api(0).cancel(filler, "make room").await?;
    }
    Ok(())
}

fn whole(cluster: &Cluster, spec: TaskSpec) -> TaskSpec {
    with_cpu(spec, cluster.options().cpus * 1000)
}

/// The tasks' ids in the order of their first signs of life.
async fn order_of(cluster: &Cluster, ids: &[String]) -> Result<Vec<String>> {
    cluster.api(0).wait_all(ids, Duration::from_secs(60)).await?;
    let mut lives: Vec<_> = cluster.lives()?.into_iter().filter(|life| ids.contains(&life.task)).collect();
    lives.sort_by_key(|life| life.first);
    ensure!(lives.len() == ids.len(), "{} lives of {} tasks", lives.len(), ids.len());
    Ok(lives.into_iter().map(|life| life.task).collect())
}

/// Submits so many of this priority over one node after the other, while nothing can start.
async fn waiting(cluster: &Cluster, count: usize, priority: u32) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for n in 0..count {
        let spec = TaskSpec { priority, ..whole(cluster, witness(100)) };
        ids.push(cluster.api(n % cluster.nodes().len()).submit(spec).await?);
    }
    Ok(ids)
}

async fn higher_priorities_start_first(cluster: Arc<Cluster>) -> Result<()> {
    let fillers = fill(&cluster).await?;
    let low = waiting(&cluster, 6, 250).await?;
    let normal = waiting(&cluster, 6, 0).await?;
    let urgent = waiting(&cluster, 3, 900).await?;
    make_room(&cluster, &fillers).await?;
    let order = order_of(&cluster, &[low.clone(), normal.clone(), urgent.clone()].concat()).await?;
    // Three nodes take at once: the first three are the urgent ones in any order, and so on.
    let ranks: Vec<u8> = order
        .iter()
        .map(|id| {
            if urgent.contains(id) {
                0
            } else if normal.contains(id) {
                1
            } else {
                2
            }
        })
        .collect();
    ensure!(ranks[..3] == [0; 3], "urgent first: {ranks:?}");
    // A node that is done may take the next one while another has not written its first line yet.
    let normal_done = ranks.iter().rposition(|rank| *rank == 1).context("they ran")?;
    let low_began = ranks.iter().position(|rank| *rank == 2).context("they ran")?;
    ensure!(normal_done <= low_began + 2, "low after normal: {ranks:?}");
    Ok(())
}

async fn a_priority_can_be_changed_while_its_task_waits(cluster: Arc<Cluster>) -> Result<()> {
    let fillers = fill(&cluster).await?;
    let ids = waiting(&cluster, 9, 0).await?;
    let last = ids.last().context("nine")?.clone();
    let task = cluster.api(2).reprioritize(&last, 950).await?;
    ensure!(task.priority == 950 && task.state() == State::Queued, "{task:?}");
    make_room(&cluster, &fillers).await?;
    let order = order_of(&cluster, &ids).await?;
    let place = order.iter().position(|id| *id == last).context("it ran")?;
    ensure!(place < 3, "the last one to come was number {place} of those that three nodes took: {order:?}");
    Ok(())
}

async fn a_held_task_waits_until_it_is_released(cluster: Arc<Cluster>) -> Result<()> {
    let fillers = fill(&cluster).await?;
    let ids = waiting(&cluster, 2, 900).await?;
    let held = cluster.api(1).hold(&ids[0], "the mirror is down").await?;
    ensure!(held.hold.as_ref().is_some_and(|hold| hold.by == "shoal-tests"), "{held:?}");
    make_room(&cluster, &fillers).await?;
    // What came after it runs to its end, and so do others: it had its chance.
    let others = waiting(&cluster, 6, 1).await?;
    cluster.api(0).wait_all(&[ids[1..].to_vec(), others].concat(), SOON).await?;
    let task = cluster.api(2).get(&ids[0]).await?;
    ensure!(task.state() == State::Queued && task.attempts.is_empty(), "{task:?}");
    let request = WhyRequest { task: ids[0].clone() };
    let why = cluster.api(2).raw().why(request).await?.into_inner();
    ensure!(why.summary.contains("released"), "{}", why.summary);
    cluster.api(2).release(&ids[0]).await?;
    cluster.api(0).wait_state(&ids[0], State::Complete, SOON).await?;
    Ok(())
}
