//! The measurements of `docs/benchmarks.md`: throughput, latency, cost in the store, memory, and a long queue. Not a test: it asserts nothing
//! about speed. Prints a table with medians, the machine, its load and the commit.

mod figures;
mod latency;
mod long_queue;
mod throughput;

use anyhow::Result;
use clap::{Parser, ValueEnum};
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
    #[arg(long, default_value = "unknown")]
    commit: String,
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
