//! What must hold after every round, whatever was held and hit.

use crate::steps::{Fault, Holder, Step};
use crate::work::Job;
use anyhow::{Context, Result, bail, ensure};
use shoal_proto::v1::{State, Task};
use shoal_tests::cluster::Cluster;
use shoal_tests::witness::{Life, overlaps};
use shoal_tests::{host, wait};
use std::collections::BTreeMap;
use std::time::Duration;

/// From the last end until nothing is left of the containers (the runner looks again after at most half a second).
const CLEAN_LIMIT: Duration = Duration::from_secs(15);

/// How an attempt ended whose stub had not taken it up when its runner died, or had died as well.
const UNBORN: &str = "its stub was gone when the runner came back";

/// Descriptors of an idle runner: it keeps some slots for the next attempts, each with one or two namespaces, a socket to ask after
/// its network, and the files of a control group; all else is its own. A leak of one for each attempt is past either after some rounds.
const NAMESPACES_MAX: usize = 60;
const DESCRIPTORS_MAX: usize = 30;
const DESCRIPTORS_PER_NAMESPACE: usize = 9;

/// Attempts that were repeated in a round.
#[derive(Clone, Debug, Default)]
pub struct Repeated {
    /// Because the node's deadline passed or its lease was lost.
    pub by_deadline: usize,
    /// Because of the fault itself: how they ended.
    pub by_fault: Vec<String>,
}

/// Holds the records of the round's tasks against what the witness saw.
pub fn check_tasks(
    step: &Step,
    fault: Fault,
    jobs: &[Job],
    tasks: &BTreeMap<String, Task>,
    lives: &[Life],
) -> Result<Repeated> {
    let lives: Vec<Life> =
        lives.iter().filter(|life| jobs.iter().any(|job| job.id == life.task)).cloned().collect();
    let found = overlaps(&lives);
    ensure!(found.is_empty(), "{} overlaps, the first: {}", found.len(), found[0]);
    let mut repeated = Repeated::default();
    for job in jobs {
        let task = tasks.get(&job.id).with_context(|| format!("{} is lost", job.id))?;
        job.check_end(task)?;
        check_witness(job, task, &lives)?;
        for attempt in unsuccessful(task) {
            if attempt.contains("deadline passed") || attempt.contains("node lost") {
                repeated.by_deadline += 1;
            } else {
                repeated.by_fault.push(attempt.to_owned());
            }
        }
    }
    // One container was hit, so one attempt at most may have died of it. The death of a runner costs those beside it that were not born yet:
    // whatever has begun lives on.
    let hits = usize::from(step.holder == Holder::Stub);
    let others = repeated.by_fault.iter().filter(|end| !(fault.kills_runner(step) && end.contains(UNBORN)));
    ensure!(others.count() <= hits, "more attempts died of the fault than {hits}: {repeated:?}");
    for job in jobs.iter().filter(|job| job.kind.ran_before) {
        let ends: Vec<&str> =
            unsuccessful(&tasks[&job.id]).into_iter().filter(|end| end.contains(UNBORN)).collect();
        ensure!(ends.is_empty() || hits == 1, "{} ran when the fault came, and: {ends:?}", job.id);
    }
    Ok(repeated)
}

/// How the attempts ended that did not end the task by what its process did.
fn unsuccessful(task: &Task) -> Vec<&str> {
    let ended_well = matches!(task.state(), State::Complete | State::Canceled);
    let kept = task.attempts.len() - usize::from(ended_well && !task.attempts.is_empty());
    task.attempts[..kept].iter().map(|attempt| attempt.end.as_str()).collect()
}

fn check_witness(job: &Job, task: &Task, lives: &[Life]) -> Result<()> {
    let of_task: Vec<&Life> = lives.iter().filter(|life| life.task == job.id).collect();
    for life in &of_task {
        ensure!(life.starts <= 1, "an attempt ran twice: {life:?}");
    }
    if job.kind.once {
        ensure!(of_task.len() <= 1, "must start at most once: {of_task:?}");
    }
    if task.state() == State::Complete {
        let last = task.attempts.last().context("a complete task has an attempt")?;
        let counted = of_task.iter().find(|life| life.attempt == last.number);
        let counted = counted.with_context(|| format!("complete, but no witness saw it: {task:?}"))?;
        ensure!(counted.starts == 1 && counted.ends == 1, "complete, and the witness saw {counted:?}");
        ensure!(counted.node == last.node_name, "record {last:?}, witness {counted:?}");
    }
    Ok(())
}

/// Waits until nothing of any container is left on the host, and every end is forgotten.
pub async fn check_host(cluster: &Cluster) -> Result<()> {
    for node in cluster.nodes() {
        let what = format!("{} to have nothing left of its containers", node.name());
        wait::until(&what, CLEAN_LIMIT, async || {
            let mut left = host::container_leftovers(node.data_dir());
            left.extend(host::unforgotten(node.data_dir()));
            left.extend(host::labelled(node.data_dir()));
            left.extend(host::loops_on(node.data_dir()));
            let parents = [node.server_pid()?, node.runner_pid()?];
            let zombies = parents.into_iter().flat_map(host::zombies_of);
            left.extend(zombies.map(|pid| format!("zombie {pid}")));
            let (namespaces, others) = host::descriptors(node.runner_pid()?);
            if namespaces > NAMESPACES_MAX
                || others > DESCRIPTORS_MAX + namespaces * DESCRIPTORS_PER_NAMESPACE
            {
                left.push(format!("the runner holds {namespaces} namespaces and {others} other descriptors"));
            }
            if left.is_empty() { Ok(()) } else { bail!("{}", left.join("; ")) }
        })
        .await?;
    }
    Ok(())
}
