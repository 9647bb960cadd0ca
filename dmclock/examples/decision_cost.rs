//! What a decision costs on this machine: `cargo run --release -p dmclock --example decision_cost`. Takes about ten seconds.
//!
//! CPU time of this process, the median of many short runs: on a machine that others use, wall time would measure them as well. Cores and caches they share all the
//! same, so look at the quickest run, too: that one they left alone.

#![allow(clippy::print_stdout)]

#[path = "../benches/workload/mod.rs"]
mod workload;

use dmclock::Config;
use rustix::time::{ClockId, clock_gettime};
use workload::{Load, World};

const RUNS: usize = 101;
const DECISIONS: u32 = 10_000;

fn cpu_ns() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 * 1e9 + spent.tv_nsec as f64
}

/// Nanoseconds a decision of each run, in order.
fn measured(load: Load, clients: u64, config: Config) -> Vec<f64> {
    let mut world = World::new(load, clients, config);
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let before = cpu_ns();
            (0..DECISIONS).for_each(|_| world.decide());
            (cpu_ns() - before) / f64::from(DECISIONS)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs
}

fn main() {
    println!("add + pull, ns of CPU time: median of {RUNS} runs (the quickest)");
    for (name, config) in [("corrected", Config::corrected()), ("faithful", Config::faithful())] {
        for load in Load::ALL {
            print!("{name:<10} {:<12}", load.name());
            for clients in [4, 100, 1_000, 10_000] {
                let runs = measured(load, clients, config);
                print!("  {clients:>6}: {:>4.0} ({:>3.0})", runs[RUNS / 2], runs[0]);
            }
            println!();
        }
    }
}
