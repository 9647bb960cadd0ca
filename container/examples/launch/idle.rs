//! Memory that a running task costs outside of the task: what the machine has less with so many idle tasks than without, less the same for as many
//! bare processes of the same program.

use super::Result;
use super::resources::{let_settle, memory};
use super::variant::Variant;
use std::fmt::Write;
use std::time::Duration;

/// The first line is what counts; the others say where it went. (They do not add up to it: a part of slab memory counts as available.)
const LINES: [&str; 8] =
    ["MemAvailable", "AnonPages", "Shmem", "Cached", "Slab", "PageTables", "KernelStack", "Percpu"];
/// Up and down so often; the median counts, because other processes use memory as well.
const ROUNDS: usize = 5;
/// For the kernel to give back what it does later (namespaces, groups), and to add up its counters of each processor.
const SETTLE: Duration = Duration::from_millis(1500);

/// A table: the variants' KiB for each task.
pub fn measure(variants: &mut [Box<dyn Variant>], count: usize) -> Result<String> {
    let mut columns = Vec::new();
    for variant in variants.iter_mut() {
        columns.push(column(variant.as_mut(), count)?);
    }
    let mut text =
        format!("KiB of memory a task, {count} idle tasks, median of {ROUNDS} times up and down\n");
    let _ = write!(text, "{:<24}", "");
    for variant in variants.iter() {
        let _ = write!(text, "{:>10}", variant.name());
    }
    for (line, name) in LINES.iter().enumerate() {
        let label = if line == 0 { "less available" } else { name };
        let _ = write!(text, "\n{label:<24}");
        for column in &columns {
            let _ = write!(text, "{:>10.1}", column[line]);
        }
    }
    if let Some(bare) = variants.iter().position(|variant| variant.name() == "bare") {
        let _ = write!(text, "\n{:<24}", "outside of the task");
        for column in &columns {
            let _ = write!(text, "{:>10.1}", column[0] - columns[bare][0]);
        }
    }
    Ok(text)
}

/// For each line, KiB for each task.
fn column(variant: &mut dyn Variant, count: usize) -> Result<Vec<f64>> {
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let_settle(SETTLE);
        let before = memory(&LINES)?;
        variant.start_idle(count)?;
        let_settle(SETTLE);
        let during = memory(&LINES)?;
        variant.end_idle()?;
        // The first time fills caches that stay.
        if round > 0 {
            rounds.push(
                before.iter().zip(&during).map(|(before, during)| during - before).collect::<Vec<i64>>(),
            );
        }
    }
    let median = |line: usize| {
        let mut values: Vec<i64> = rounds.iter().map(|round| round[line]).collect();
        values.sort_unstable();
        let more = values[values.len() / 2] as f64 / 1024.0 / count as f64;
        if line == 0 { -more } else { more }
    };
    Ok((0..LINES.len()).map(median).collect())
}
