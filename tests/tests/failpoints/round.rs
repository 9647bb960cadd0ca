//! One round: tasks run, a process is held at a step, the fault comes, everything recovers, and all of it is looked at.

use crate::inflict::{READY_LIMIT, inflict};
use crate::steps::{Fault, STEPS, Step};
use crate::verdict::{self, Repeated};
use crate::work::{self, Expected, Job};
use anyhow::{Context, Result, ensure};
use shoal_proto::v1::Task;
use shoal_tests::clock::Centis;
use shoal_tests::cluster::Cluster;
use shoal_tests::plan::Plan;
use shoal_tests::wait;
use std::collections::BTreeMap;
use std::time::Duration;

/// From a submit until its tasks give signs of life.
const START_LIMIT: Duration = Duration::from_secs(30);
/// From the fault's end until all tasks have ended: a lost lease, back-offs, and a machine that does other things too.
const END_LIMIT: Duration = Duration::from_secs(90);
/// The most processes that pass a step before one is held there.
const SKIPS_MAX: u64 = 3;

/// What to do in a round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Where.
    pub step: &'static Step,
    /// What.
    pub fault: Fault,
    /// How many processes pass the step before.
    pub skip: u32,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Attempts that had to be repeated.
    pub repeated: Repeated,
    /// From the arming of the step until all tasks had ended.
    pub seconds: f64,
}

impl Round {
    /// A round by chance: every step alike, long faults one time in eight.
    pub fn random(chance: &mut Chance) -> Round {
        let step = &STEPS[chance.below(STEPS.len() as u64) as usize];
        let (long, short): (Vec<Fault>, Vec<Fault>) =
            Fault::all(step.holder).iter().partition(|f| f.is_long());
        let faults = if chance.below(8) == 0 { long } else { short };
        let fault = faults[chance.below(faults.len() as u64) as usize];
        Round { step, fault, skip: chance.below(SKIPS_MAX) as u32 }
    }

    /// Plays it; what is left afterwards is a cluster like before.
    pub async fn play(
        &self,
        cluster: &Cluster,
        plan: &Plan,
        ended: &mut BTreeMap<String, Task>,
    ) -> Result<Outcome> {
        let api = cluster.api(0);
        let mut jobs = work::submit(api, work::running()).await?;
        self.all_live(cluster, &jobs).await?;
        let began = Centis::now();
        // Only the first processes of a round come to some steps.
        let skip = if self.step.way == crate::steps::Way::Tasks { self.skip } else { 0 };
        let point = plan.arm(0, self.step.name, skip)?;
        let (fresh, hit) = futures::future::join(
            work::submit(api, work::fresh()),
            inflict(cluster, self.step, self.fault, point),
        )
        .await;
        hit?;
        jobs.extend(fresh?);
        for job in jobs.iter().filter(|job| job.kind.expected == Expected::Canceled) {
            cancel(cluster, &job.id).await?;
        }
        let ids: Vec<String> = jobs.iter().map(|job| job.id.clone()).collect();
        let tasks = api.wait_all(&ids, END_LIMIT).await?;
        let seconds = Centis::now().seconds_since(began);
        let repeated = verdict::check_tasks(self.step, self.fault, &jobs, &tasks, &cluster.lives()?)?;
        verdict::check_host(cluster).await?;
        for (id, task) in ended.iter() {
            let now = api.get(id).await?;
            ensure!(now == *task, "an ended task changed: {task:?} then {now:?}");
        }
        ended.extend(tasks);
        Ok(Outcome { repeated, seconds })
    }

    async fn all_live(&self, cluster: &Cluster, jobs: &[Job]) -> Result<()> {
        wait::until("signs of life of the round's first tasks", START_LIMIT, async || {
            let lives = cluster.lives()?;
            let silent = jobs.iter().find(|job| lives.iter().all(|life| life.task != job.id));
            silent.map_or(Ok(()), |job| Err(anyhow::anyhow!("{} gave none", job.id)))
        })
        .await
    }
}

async fn cancel(cluster: &Cluster, id: &str) -> Result<()> {
    wait::until(&format!("the cancel of {id} to be answered"), READY_LIMIT, async || {
        let answer = cluster.api(0).cancel(id, "the round is over").await;
        answer.map(drop).context("not yet")
    })
    .await
}

/// A small generator of pseudo-random numbers (splitmix64): the same seed makes the same rounds on every machine.
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}
