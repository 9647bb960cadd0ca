//! The measurements of `docs/benchmarks.md`: throughput, latency, cost in the store, memory, a long queue, and moves without containers. Not a test: it asserts nothing
//! about speed. Prints a table with medians, the machine, its load and the commit.

mod figures;
mod latency;
mod long_queue;
mod moves;
mod throughput;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use figures::Figures;
use std::process::ExitCode;

/// Measures Shoal on this machine
#[derive(Debug, Parser)]
#[command(name = "shoal-bench")]
struct Arguments {
    /// Measure only these (repeatable)
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Rounds of each throughput measurement; the median is shown
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Tasks of the throughput measurements
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    tasks: Vec<usize>,
    /// Nodes of the throughput measurements
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    nodes: Vec<usize>,
    /// Tasks of the long queue
    #[arg(long, default_value_t = 100_000)]
    queued: usize,
    /// The commit that is measured, for the table
    #[arg(long, default_value = "unknown", global = true)]
    commit: String,
    #[command(subcommand)]
    instead: Option<Instead>,
}

/// Measurements that a plain call leaves out
#[derive(Debug, Subcommand)]
enum Instead {
    /// Steals and finishes a second of up to 50 nodes without containers, beside a client that only writes; and lost steals beside other choices
    Moves(moves::MovesArguments),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Throughput,
    Latency,
    LongQueue,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(why) => {
            eprintln!("error: start tokio: {why}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(measure(&arguments)) {
        Ok(figures) => {
            print!("{figures}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<Figures> {
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let mut figures = Figures::begin(&arguments.commit);
    if let Some(Instead::Moves(arguments)) = &arguments.instead {
        moves::measure(&mut figures, arguments).await?;
        return Ok(figures);
    }
    if wanted(Part::Latency) {
        latency::measure(&mut figures).await?;
    }
    if wanted(Part::Throughput) {
        for nodes in &arguments.nodes {
            for tasks in &arguments.tasks {
                throughput::measure(&mut figures, *nodes, *tasks, arguments.rounds).await?;
            }
        }
    }
    if wanted(Part::LongQueue) {
        long_queue::measure(&mut figures, arguments.queued).await?;
    }
    Ok(figures)
}
