//! `shoal sim`: policies beside each other on made-up or recorded work. Needs no cluster.

use crate::cli::Done;
use crate::cli::args::Global;
use crate::cli::report::{Report, Stop};
use crate::exit::USAGE;
use crate::output::table::{Cell, Table};
use crate::output::{self, Form};
use clap::{Args, ValueEnum};
use serde::Serialize;
use shoal_sim::experiment::{Experiment, Row, Source};
use shoal_sim::policy::named::{Named, UnknownPolicy};
use shoal_sim::report::{columns, svg};
use shoal_sim::workload::replay::{self, ReplayError};
use std::path::{Path, PathBuf};

const AFTER_HELP: &str = "\
Examples:
  shoal sim
  shoal sim --workload closed --policy workers,dispatcher:60,easy:100
  shoal sim --replay last-week.jsonl --nodes 205 --svg last-week.svg
  shoal sim -o wide      (waits of every width and priority: mean, p95, longest)

Policies: workers, dispatcher[:SECONDS a job], easy[:POINTS of aging an hour], shoal. Times
are hours; each number is the mean over the seeds. A file to replay has one JSON object a line:
arrival_ms, nodes, service_ms, and optionally priority (Shoal's) or teuthology_priority (lower
is sooner; its 75 is Shoal's 900, and so on point for point), estimate_ms (expected) and limit_ms (never exceeded).";

/// Work that is made from a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// 1,000 jobs at once, none wider than 9 nodes
    Closed,
    /// 115 % load for 96 hours, one job of 100 needs 17 to 51 nodes
    Open,
}

/// The options of `sim`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct SimArgs {
    /// What there is to do
    #[arg(long, value_name = "KIND", default_value = "open")]
    pub workload: Workload,
    /// Recorded tasks instead, one JSON object a line
    #[arg(long, value_name = "FILE", conflicts_with = "workload")]
    pub replay: Option<PathBuf>,
    /// Policies to compare
    #[arg(
        long,
        value_name = "A,B,…",
        value_delimiter = ',',
        default_value = "workers,dispatcher,easy,shoal"
    )]
    #[arg(value_parser = policy)]
    pub policy: Vec<Named>,
    /// Nodes of the pool [default: 200; closed: 96]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub nodes: Option<u32>,
    /// Nodes that are kept for people
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub reserve: u32,
    /// Workers of the policy of that name [default: half of the nodes; closed: 50]
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    /// How many workloads to take the mean of [default: 6; closed: 20; replay: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub seeds: Option<u32>,
    /// The first seed [default: 176; closed and replay: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Load of the open workload, percent of all nodes
    #[arg(long, value_name = "PERCENT", default_value_t = 115, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub load: u32,
    /// How long the open workload comes
    #[arg(long, value_name = "HOURS", default_value_t = 96, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub hours: u32,
    /// Draw a picture too
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// All rows.
#[derive(Serialize)]
struct Rows<'r> {
    policies: &'r [Row],
}

fn policy(text: &str) -> Result<Named, UnknownPolicy> {
    text.parse()
}

/// Simulates and prints.
pub fn run(global: &Global, args: &SimArgs) -> Done {
    let experiment = experiment(args)?;
    let rows = experiment.run().map_err(|error| {
        Report::new("cannot simulate", error.to_string(), "another --policy, and a report of this defect")
    })?;
    if let Some(path) = &args.svg {
        let drawn = svg::svg(&title(args, &experiment), &rows);
        std::fs::write(path, drawn).map_err(|error| file("write", path, &error))?;
    }
    match global.output {
        Form::Table => output::text(&table(&columns::short(), &rows))?,
        Form::Wide => output::text(&table(&columns::wide(), &rows))?,
        Form::Json => output::json(&Rows { policies: &rows })?,
        Form::Jsonl => output::json_lines(&rows)?,
        Form::Name => output::lines(rows.iter().map(|row| &row.policy))?,
    }
    Ok(0)
}

fn experiment(args: &SimArgs) -> Result<Experiment, Stop> {
    let policies = args.policy.clone();
    let mut experiment = match (&args.replay, args.workload) {
        (None, Workload::Closed) => Experiment::closed(policies),
        (None, Workload::Open) => Experiment::open(policies),
        (Some(path), _) => {
            let source = Source::Replay(recorded(path)?);
            Experiment { source, seed: 0, seeds: 1, ..Experiment::open(policies) }
        }
    };
    if let Some(nodes) = args.nodes {
        experiment.nodes = nodes;
        experiment.setting.workers = (nodes / 2).max(1);
    }
    if let Source::Open(open) = &mut experiment.source {
        (open.nodes, open.load_percent, open.hours) = (experiment.nodes, args.load, args.hours);
    }
    experiment.setting.reserve = args.reserve;
    experiment.setting.workers = args.workers.unwrap_or(experiment.setting.workers);
    experiment.seeds = args.seeds.unwrap_or(experiment.seeds);
    experiment.seed = args.seed.unwrap_or(experiment.seed);
    Ok(experiment)
}

fn recorded(path: &Path) -> Result<shoal_sim::workload::Workload, Stop> {
    let text = std::fs::read_to_string(path).map_err(|error| file("read", path, &error))?;
    replay::replay(&text).map_err(|error| {
        let mut why = error.to_string();
        if let ReplayError::NotAJob { source, .. } = &error {
            why.push_str(&format!(": {source}"));
        }
        let what = format!("cannot replay {}", path.display());
        Report::new(what, why, "shoal sim --help   (the fields of a line)").code(USAGE).into()
    })
}

fn file(verb: &str, path: &Path, error: &std::io::Error) -> Stop {
    let what = format!("cannot {verb} {}", path.display());
    Report::new(what, error.to_string(), "another path").into()
}

fn title(args: &SimArgs, experiment: &Experiment) -> String {
    let work = match (&args.replay, args.workload) {
        (Some(path), _) => format!("{} replayed", path.display()),
        (None, Workload::Closed) => "1,000 jobs at once".to_owned(),
        (None, Workload::Open) => format!("{} % load for {} h", args.load, args.hours),
    };
    format!("{work} on {} nodes, mean of {} seeds", experiment.nodes, experiment.seeds)
}

fn table(columns: &[columns::Column], rows: &[Row]) -> String {
    let headings: Vec<&str> =
        std::iter::once("policy").chain(columns.iter().map(|column| column.heading.as_str())).collect();
    let mut table = Table::new(&headings);
    for row in rows {
        let cells = columns.iter().map(|column| Cell::from(column.cell(row)));
        table.row(std::iter::once(Cell::from(row.policy.as_str())).chain(cells).collect());
    }
    table.render()
}
