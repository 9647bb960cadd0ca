//! Cancel: from the queue at once, from a node by SIGTERM and SIGKILL, and in a race with the task's own end.

use anyhow::{Context, Result, ensure};
use shoal_proto::v1::{State, TaskSpec};
use shoal_tests::case;
use shoal_tests::clock::Centis;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::suite;
use shoal_tests::tasks::{sh, stubborn_witness, with_cpu, witness};
use shoal_tests::wait;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;

const SOON: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    suite::run(
        Options::default(),
        vec![
            case!(shared, a_queued_task_is_canceled_at_once_and_never_runs),
            case!(shared, a_running_task_ends_by_sigterm),
            case!(shared, a_task_that_ignores_sigterm_is_killed_after_its_grace),
            case!(shared, cancel_is_final_when_it_races_completion),
            case!(shared, an_ended_task_cannot_be_canceled),
            case!(shared, cancel_reaches_every_process_of_the_task),
        ],
    )
}

/// Fills every node, and returns the fillers.
async fn fill(cluster: &Cluster) -> Result<Vec<String>> {
    let whole_node = cluster.options().cpus * 1000;
    let fillers = (0..cluster.nodes().len()).map(|_| with_cpu(sh("sleep 60"), whole_node)).collect();
    let ids = cluster.api(0).submit_many(fillers).await?;
    for id in &ids {
        cluster.api(0).wait_state(id, State::Running, SOON).await?;
    }
    Ok(ids)
}

async fn a_queued_task_is_canceled_at_once_and_never_runs(cluster: Arc<Cluster>) -> Result<()> {
    let fillers = fill(&cluster).await?;
    let id = cluster.api(1).submit(witness(100)).await?;
    let task = cluster.api(2).cancel(&id, "not needed").await?;
    ensure!(task.state() == State::Canceled, "from the queue at once: {task:?}");
    for filler in &fillers {
        cluster.api(0).cancel(filler, "make room").await?;
    }
    let ended = cluster.api(0).wait_all(&fillers, SOON).await?;
    ensure!(ended.values().all(|task| task.state() == State::Canceled), "{ended:?}");
    // The room is used by a later task, so the canceled one would have had its turn.
    let later = cluster.api(0).submit(witness(20)).await?;
    cluster.api(0).wait_state(&later, State::Complete, SOON).await?;
    let task = cluster.api(0).get(&id).await?;
    ensure!(task.state() == State::Canceled && task.attempts.is_empty(), "{task:?}");
    let cancel = task.cancel.context("a canceled task says by whom")?;
    ensure!(cancel.by == "shoal-tests" && cancel.reason == "not needed", "{cancel:?}");
    ensure!(cluster.lives()?.iter().all(|life| life.task != id), "a canceled task ran");
    Ok(())
}

/// Submits a task and waits for its own first sign of life.
async fn running_witness(cluster: &Cluster, spec: TaskSpec) -> Result<String> {
    let id = cluster.api(0).submit(spec).await?;
    wait::until(&format!("a sign of life of {id}"), SOON, async || {
        cluster.lives()?.into_iter().find(|life| life.task == id).context("none yet")
    })
    .await?;
    Ok(id)
}

async fn a_running_task_ends_by_sigterm(cluster: Arc<Cluster>) -> Result<()> {
    let id = running_witness(&cluster, witness(60_000)).await?;
    cluster.api(1).cancel(&id, "").await?;
    let task = cluster.api(0).wait_state(&id, State::Canceled, Duration::from_secs(3)).await?;
    ensure!(task.exit.is_none() || task.state() == State::Canceled, "{task:?}");
    let end = &task.attempts.last().context("it ran")?.end;
    ensure!(end.contains("15") || end.to_lowercase().contains("term"), "ended by SIGTERM: {end:?}");
    Ok(())
}

async fn a_task_that_ignores_sigterm_is_killed_after_its_grace(cluster: Arc<Cluster>) -> Result<()> {
    let spec = TaskSpec { kill_grace_ms: 1000, ..stubborn_witness(60_000) };
    let id = running_witness(&cluster, spec).await?;
    let asked = Centis::now();
    cluster.api(2).cancel(&id, "now").await?;
    cluster.api(0).wait_state(&id, State::Canceled, SOON).await?;
    let life = cluster.lives()?.into_iter().find(|life| life.task == id).context("it lived")?;
    let lived_on = life.last.seconds_since(asked);
    ensure!(lived_on > 0.8, "the grace was not kept: last sign {lived_on} s after the cancel");
    ensure!(lived_on < 2.0, "grace 1 s, and a sign of life {lived_on} s after the cancel");
    ensure!(life.ends == 0, "it was killed, and did not end by itself: {life:?}");
    Ok(())
}

async fn cancel_is_final_when_it_races_completion(cluster: Arc<Cluster>) -> Result<()> {
    let (mut canceled, mut complete) = (0, 0);
    for round in 0..40 {
        // The cancel comes while the task is about to end: its length and the wait before the cancel go up in step.
        let id = cluster.api(0).submit(sh("exit 0")).await?;
        if round % 2 == 0 {
            let _ = cluster.api(1).wait_state(&id, State::Running, SOON).await;
        }
        match cluster.api(round % 3).cancel(&id, "race").await {
            Ok(_) => {
                let task = cluster.api(0).wait_end(&id, SOON).await?;
                ensure!(task.state() == State::Canceled, "canceled with OK, then {task:?}");
                canceled += 1;
            }
            Err(status) => {
                ensure!(status.code() == Code::FailedPrecondition, "{status:?}");
                let task = cluster.api(0).get(&id).await?;
                ensure!(task.state() == State::Complete, "refused, but {task:?}");
                complete += 1;
            }
        }
    }
    ensure!(canceled + complete == 40, "each race has one winner");
    ensure!(canceled > 0, "no cancel ever won: the race was not run");
    Ok(())
}

async fn an_ended_task_cannot_be_canceled(cluster: Arc<Cluster>) -> Result<()> {
    let id = cluster.api(0).submit(sh("exit 7")).await?;
    cluster.api(0).wait_state(&id, State::Complete, SOON).await?;
    let status = cluster.api(1).cancel(&id, "late").await.err().context("it must be refused")?;
    ensure!(status.code() == Code::FailedPrecondition, "{status:?}");
    let unknown = uuid::Uuid::now_v7().to_string();
    let status = cluster.api(1).cancel(&unknown, "").await.err().context("it must be refused")?;
    ensure!(status.code() == Code::NotFound, "{status:?}");
    Ok(())
}

async fn cancel_reaches_every_process_of_the_task(cluster: Arc<Cluster>) -> Result<()> {
    // A daemon that left its session and its parent, and hears no SIGTERM.
    let script = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &) ; read now rest </proc/uptime; \
                  echo start $now; while :; do sleep 1; done";
    let id = running_witness(&cluster, TaskSpec { kill_grace_ms: 300, ..sh(script) }).await?;
    cluster.api(0).cancel(&id, "").await?;
    cluster.api(0).wait_state(&id, State::Canceled, SOON).await?;
    for node in cluster.nodes() {
        wait::until(&format!("no container process on {}", node.name()), SOON, async || {
            let left = shoal_tests::host::container_processes(node.data_dir());
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
