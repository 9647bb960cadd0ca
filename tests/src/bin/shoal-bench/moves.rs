//! Moves a second of nodes without containers against a real etcd, as a share of what a client reaches that writes the same and plans nothing; and
//! lost steals beside nodes that choose otherwise. All contenders take turns on one etcd, and medians are shown.

use crate::figures::{Figures, median};
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use shoal_tests::moves::bare::{self, Bare};
use shoal_tests::moves::cluster::{self, Outcome, Trial};
use shoal_tests::moves::members::Members;
use shoal_tests::moves::strawman::Choice;
use std::path::PathBuf;
use std::time::Duration;

/// No measurement takes longer.
const LIMIT: Duration = Duration::from_secs(600);
/// Moves in a batch of the bare client: as many as one may have.
const FULL: usize = shoal_store::moves::MOVES_MAX;

/// How to measure
#[derive(Debug, Args)]
pub struct MovesArguments {
    /// Nodes, each a measurement of its own
    #[arg(long, value_delimiter = ',', default_value = "1,3,10,50")]
    nodes: Vec<usize>,
    /// Tasks of each measurement of moves
    #[arg(long, default_value_t = 4000)]
    tasks: usize,
    /// Tasks that a node has room for
    #[arg(long, default_value_t = 64)]
    slots: usize,
    /// Milliseconds that a task takes, half of it less or more; each a measurement of its own
    #[arg(long, value_delimiter = ',', default_value = "0")]
    task_ms: Vec<u64>,
    /// Rounds of each measurement; the median is shown
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Members of etcd
    #[arg(long, default_value_t = 1)]
    members: usize,
    /// Nodes of the measurement of lost steals; 0 leaves it out
    #[arg(long, default_value_t = 50)]
    rivals: usize,
    /// Tasks of it
    #[arg(long, default_value_t = 1000)]
    rival_tasks: usize,
    /// Tasks that each of its nodes has room for
    #[arg(long, default_value_t = 2)]
    rival_slots: usize,
    /// Milliseconds that each of its tasks takes, half of it less or more
    #[arg(long, value_delimiter = ',', default_value = "50,500")]
    rival_task_ms: Vec<u64>,
    /// Only Shoal, beside nothing: for a profile
    #[arg(long)]
    alone: bool,
    /// Also write every round as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One round of one contender.
#[derive(Clone, Debug, Serialize)]
struct Round {
    measurement: String,
    contender: &'static str,
    nodes: usize,
    slots: usize,
    tasks: usize,
    task_ms: u64,
    seconds: f64,
    moves_per_s: f64,
    moves_per_txn: f64,
    lost_percent: f64,
    etcd_cpu_us_per_task: f64,
    own_cpu_us_per_task: f64,
    room_longest_ms: i64,
    room_p99_ms: i64,
    idle_percent: f64,
}

/// Measures everything and adds it to the table.
pub async fn measure(figures: &mut Figures, arguments: &MovesArguments) -> Result<()> {
    let mut members = Members::start(arguments.members).await?;
    let mut all = Vec::new();
    for &task_ms in &arguments.task_ms {
        for &nodes in &arguments.nodes {
            moves(figures, &mut members, arguments, (nodes, task_ms), &mut all).await?;
        }
    }
    if arguments.rivals > 0 {
        for &task_ms in &arguments.rival_task_ms {
            rivals(figures, &mut members, arguments, task_ms, &mut all).await?;
        }
    }
    members.stop().await;
    if let Some(path) = &arguments.json {
        let text = serde_json::to_vec_pretty(&all)?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

const SHOAL: &str = "Shoal";
const BARE: &str = "bare, batches of 40";
const SAME: &str = "bare, Shoal's batches and reads";
const WATCHED: &str = "bare, Shoal's batches and reads, watched by as many";

async fn moves(
    figures: &mut Figures,
    members: &mut Members,
    arguments: &MovesArguments,
    (nodes, task_ms): (usize, u64),
    all: &mut Vec<Round>,
) -> Result<()> {
    let (tasks, slots) = (arguments.tasks, arguments.slots);
    let title = format!("{nodes} node(s), tasks of {task_ms} ms");
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds.max(1) {
        let trial = Trial { nodes, slots, tasks, mean_ms: task_ms, choice: Choice::Plan, limit: LIMIT };
        let outcome = tried(figures, SHOAL, async || cluster::measure(members, trial).await).await?;
        let round = |contender, outcome| Round::of(&title, contender, trial, outcome);
        let shoal = round(SHOAL, outcome);
        let same = (shoal.moves_per_txn.round() as usize).clamp(1, FULL);
        rounds.push(shoal);
        let contenders = [(BARE, FULL, false, 0), (SAME, same, true, 0), (WATCHED, same, true, nodes)];
        for (contender, batch, reads, watchers) in contenders.into_iter().filter(|_| !arguments.alone) {
            let bare = Bare { connections: nodes, batch, reads, tasks, watchers, limit: LIMIT };
            let outcome = tried(figures, contender, async || bare::measure(members, bare).await).await?;
            rounds.push(round(contender, outcome));
        }
    }
    let shoal = of(&rounds, SHOAL, |r| r.moves_per_s);
    for contender in [SHOAL, BARE, SAME, WATCHED].into_iter().take(if arguments.alone { 1 } else { 4 }) {
        let share = ratio(&shoal, &of(&rounds, contender, |r| r.moves_per_s));
        add(figures, &rounds, contender, &format!("Shoal reaches {share} of it"));
    }
    all.append(&mut rounds);
    Ok(())
}

async fn rivals(
    figures: &mut Figures,
    members: &mut Members,
    arguments: &MovesArguments,
    task_ms: u64,
    all: &mut Vec<Round>,
) -> Result<()> {
    let (nodes, slots, tasks) = (arguments.rivals, arguments.rival_slots, arguments.rival_tasks);
    let title = format!("{nodes} rivals with {slots} slots, tasks of {task_ms} ms");
    let contenders = [
        (SHOAL, Choice::Plan),
        ("everyone grabs the first", Choice::First),
        ("random of the first 32", Choice::RandomOf32),
    ];
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds.max(1) {
        for (contender, choice) in contenders {
            let trial = Trial { nodes, slots, tasks, mean_ms: task_ms, choice, limit: LIMIT };
            let outcome = tried(figures, contender, async || cluster::measure(members, trial).await).await?;
            rounds.push(Round::of(&title, contender, trial, outcome));
        }
    }
    for (contender, _) in contenders {
        let pick = |value: fn(&Round) -> f64| spread(&of(&rounds, contender, value), 1);
        let waits = format!(
            "lost steals {} %; a node had room while tasks waited for at most {} ms, p99 {} ms, {} % of all slots idle",
            pick(|r| r.lost_percent),
            pick(|r| r.room_longest_ms as f64),
            pick(|r| r.room_p99_ms as f64),
            pick(|r| r.idle_percent),
        );
        add(figures, &rounds, contender, &waits);
    }
    all.append(&mut rounds);
    Ok(())
}

/// A round, and once more where it failed, which the table says: fifty nodes on a few cores may answer no ping of their connections in time.
async fn tried(
    figures: &mut Figures,
    contender: &str,
    mut round: impl AsyncFnMut() -> Result<Outcome>,
) -> Result<Outcome> {
    match round().await {
        Ok(outcome) => Ok(outcome),
        Err(why) => {
            figures.add(&format!("{contender}: a round was repeated"), format!("{why:#}"));
            round().await
        }
    }
}

/// A row of medians.
fn add(figures: &mut Figures, rounds: &[Round], contender: &str, more: &str) {
    let pick = |value: fn(&Round) -> f64, digits| spread(&of(rounds, contender, value), digits);
    let title = rounds.first().map_or("", |round| round.measurement.as_str());
    let value = format!(
        "{} moves/s, {} a transaction, CPU a task: etcd {} us, this process {} us; {more}",
        pick(|r| r.moves_per_s, 0),
        pick(|r| r.moves_per_txn, 1),
        pick(|r| r.etcd_cpu_us_per_task, 0),
        pick(|r| r.own_cpu_us_per_task, 0),
    );
    figures.add(&format!("{title}: {contender}"), value);
}

impl Round {
    fn of(measurement: &str, contender: &'static str, trial: Trial, outcome: Outcome) -> Round {
        let (seconds, counts, tasks) = (outcome.elapsed.as_secs_f64(), outcome.counts, trial.tasks as f64);
        let us_per_task = |cpu: Duration| cpu.as_secs_f64() * 1e6 / tasks;
        Round {
            measurement: measurement.to_owned(),
            contender,
            nodes: trial.nodes,
            slots: trial.slots,
            tasks: trial.tasks,
            task_ms: trial.mean_ms,
            seconds,
            moves_per_s: 2.0 * tasks / seconds,
            moves_per_txn: counts.moves as f64 / counts.txns.max(1) as f64,
            lost_percent: 100.0 * counts.lost as f64 / (counts.won + counts.lost).max(1) as f64,
            etcd_cpu_us_per_task: us_per_task(outcome.etcd_cpu),
            own_cpu_us_per_task: us_per_task(outcome.own_cpu),
            room_longest_ms: outcome.room.longest_ms,
            room_p99_ms: outcome.room.p99_ms,
            idle_percent: outcome.room.idle_percent,
        }
    }
}

fn of(rounds: &[Round], contender: &str, value: impl Fn(&Round) -> f64) -> Vec<f64> {
    rounds.iter().filter(|round| round.contender == contender).map(value).collect()
}

/// Round by round, since what else the machine does changes from one to the next.
fn ratio(of: &[f64], to: &[f64]) -> String {
    let percent: Vec<f64> = of.iter().zip(to).map(|(of, to)| 100.0 * of / to).collect();
    format!("{} %", spread(&percent, 0))
}

fn spread(values: &[f64], digits: usize) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.digits$} ({least:.digits$} to {most:.digits$})", median(values.to_vec()))
}
