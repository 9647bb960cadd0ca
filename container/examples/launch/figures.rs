//! What is printed.

use super::Result;
use super::options::Options;
use super::variant::{Round, Variant};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// What this goals say: at least so many times crun's starts a second,
const RATE_TO_CRUN_MIN: f64 = 3.0;
/// and at most so many times the processor time of a bare start.
const TIME_TO_BARE_MAX: f64 = 3.0;

/// What was measured, where.
pub fn headline(options: &Options, dir: &Path) -> Result<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "commit {}, Linux {}, {cores} cores, load before {}, {} starts of each in {} rounds, files in {}",
        options.commit,
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        options.starts,
        options.rounds,
        dir.display()
    ))
}

/// One table for a number in flight, and the ratios.
pub fn table(variants: &[Box<dyn Variant>], rounds: &[Vec<Round>], in_flight: usize) -> String {
    let mut text = format!(
        "\n{in_flight} in flight{:<6} {:>26} {:>9} {:>24} {:>26} {:>12}\n",
        "", "median ms [rounds]", "p99 ms", "starts/s [rounds]", "CPU ms/start [rounds]", "machine ms"
    );
    for (variant, rounds) in variants.iter().zip(rounds) {
        let mut took: Vec<Duration> = rounds.iter().flat_map(|round| round.took.iter().copied()).collect();
        let medians = rounds.iter().map(|round| ms(quantile(&mut round.took.clone(), 50))).collect();
        let _ = writeln!(
            text,
            "{:<16} {:>26} {:>9.2} {:>24} {:>26} {:>12.2}",
            variant.name(),
            Spread::of(medians).text(2),
            ms(quantile(&mut took, 99)),
            Spread::of(rounds.iter().map(Round::rate).collect()).text(0),
            Spread::of(rounds.iter().map(Round::processes_ms).collect()).text(2),
            Spread::of(rounds.iter().map(Round::machine_ms).collect()).median,
        );
    }
    let of = |name: &str| variants.iter().position(|variant| variant.name() == name).map(|at| &rounds[at]);
    if let (Some(shoal), Some(crun)) = (of("shoal"), of("crun")) {
        let rate = Spread::of(ratios(shoal, crun, Round::rate));
        let _ =
            writeln!(text, "starts/s, Shoal to crun: {} (goal: at least {RATE_TO_CRUN_MIN})", rate.text(2));
    }
    if let (Some(shoal), Some(bare)) = (of("shoal"), of("bare")) {
        let time = Spread::of(ratios(shoal, bare, Round::processes_ms));
        let _ = writeln!(text, "CPU, Shoal to bare: {} (goal: at most {TIME_TO_BARE_MAX})", time.text(2));
    }
    text
}

/// Round by round, so that what the machine did meanwhile falls out.
fn ratios(these: &[Round], those: &[Round], of: impl Fn(&Round) -> f64) -> Vec<f64> {
    these.iter().zip(those).map(|(this, that)| of(this) / of(that)).collect()
}

/// The median of rounds, with the least and the most.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let (least, most) = (values[0], values[values.len() - 1]);
        Spread { median: values[values.len() / 2], least, most }
    }

    fn text(&self, digits: usize) -> String {
        format!("{:.digits$} [{:.digits$}..{:.digits$}]", self.median, self.least, self.most)
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The value that so many percent do not exceed.
fn quantile(took: &mut [Duration], percent: usize) -> Duration {
    took.sort_unstable();
    took[(took.len() * percent / 100).min(took.len() - 1)]
}
