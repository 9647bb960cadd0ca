//! What a start costs: bare fork and exec, Shoal with everything on, and crun and runc with an equal bundle, in one run, in rounds that take
//! turns, so that whatever else the machine does meets all alike. `make bench-launch` builds it and calls it as it should be called.
//!
//! Counted as a start's processor time is user and system time of all processes that it takes: this one, which asks, those that it starts
//! and that are reaped (RUSAGE_CHILDREN, which has what they reaped in turn: crun, runc, the tasks), and the runner with all that it reaped. The
//! column "machine" is instead all that the machine's processors did from the round's first start until a moment after its last, divided by the
//! starts: it has the kernel's own threads, which take down namespaces and groups afterwards, and means nothing while something else runs.

mod figures;
mod idle;
mod oci;
mod options;
mod processes;
mod resources;
mod runner;
mod variant;

use options::Options;
use resources::Usage;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use variant::{Round, Variant};

/// For the kernel's threads to take down what a round left; part of the machine's time.
const AFTERMATH: Duration = Duration::from_millis(200);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
        println!("{}", Options::USAGE);
        return Ok(());
    };
    let dir = options.make_dir()?;
    let root = dir.path().join("root");
    shoal_rootfs::ensure(&root)?;
    let mut variants = Vec::new();
    for name in &options.only {
        variants.push(open(name, &options, dir.path(), &root)?);
    }
    println!("{}", figures::headline(&options, dir.path())?);
    for in_flight in &options.in_flight {
        let rounds = measure(&mut variants, &options, *in_flight)?;
        println!("{}", figures::table(&variants, &rounds, *in_flight));
    }
    if options.idle > 0 {
        println!("{}", idle::measure(&mut variants, options.idle)?);
    }
    variants.into_iter().try_for_each(|variant| variant.close())
}

fn open(name: &str, options: &Options, dir: &Path, root: &Path) -> Result<Box<dyn Variant>> {
    Ok(match name {
        "bare" => Box::new(processes::Bare::new(root)),
        "shoal" => Box::new(runner::Shoal::open(&options.runner, dir, root)?),
        _ => Box::new(oci::Oci::open(name, dir, root)?),
    })
}

/// All rounds of all variants, by variant. Who begins a round changes, so that nobody always follows the same one.
fn measure(
    variants: &mut [Box<dyn Variant>],
    options: &Options,
    in_flight: usize,
) -> Result<Vec<Vec<Round>>> {
    let starts = options.starts.div_ceil(options.rounds);
    for variant in variants.iter_mut() {
        variant.run(starts.min(in_flight * 4), in_flight)?; // so that the first round begins as warm as the others
    }
    let mut rounds: Vec<Vec<Round>> = variants.iter().map(|_| Vec::new()).collect();
    for first in 0..options.rounds {
        for turn in 0..variants.len() {
            let index = (first + turn) % variants.len();
            rounds[index].push(round(variants[index].as_mut(), starts, in_flight)?);
        }
    }
    Ok(rounds)
}

fn round(variant: &mut dyn Variant, starts: usize, in_flight: usize) -> Result<Round> {
    let before = Usage::now(variant.servant())?;
    let begin = Instant::now();
    let took = variant.run(starts, in_flight)?;
    let total = begin.elapsed();
    let used = Usage::now(variant.servant())?.since(&before);
    resources::let_settle(AFTERMATH);
    let machine = Usage::now(variant.servant())?.since(&before).machine;
    Ok(Round { took, total, processes: used.processes, machine })
}
