//! The table of all rounds: step, fault, rounds, what had to be repeated, how long it took.

use crate::round::{Outcome, Round};
use crate::steps::Fault;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt;

/// Rows by step and fault.
#[derive(Default)]
pub struct Table {
    rows: BTreeMap<(&'static str, Fault), Row>,
}

#[derive(Default)]
struct Row {
    rounds: usize,
    failed: usize,
    by_fault: usize,
    by_deadline: usize,
    slowest_s: f64,
}

impl Table {
    /// Enters a round; returns it in words.
    pub fn enter(&mut self, round: &Round, outcome: &Result<Outcome>) -> String {
        let row = self.rows.entry((round.step.name, round.fault)).or_default();
        row.rounds += 1;
        match outcome {
            Ok(outcome) => {
                let repeated = &outcome.repeated;
                row.by_fault += repeated.by_fault.len();
                row.by_deadline += repeated.by_deadline;
                row.slowest_s = row.slowest_s.max(outcome.seconds);
                let why = repeated.by_fault.iter().map(|end| format!(", repeated: {end}"));
                format!(
                    "clean after {:.1} s, {} repeated for the deadline{}",
                    outcome.seconds,
                    repeated.by_deadline,
                    why.collect::<String>()
                )
            }
            Err(why) => {
                row.failed += 1;
                format!("FAILED: {why:#}")
            }
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["step", "fault", "rounds", "by fault", "by deadline", "slowest", "outcome"];
        writeln!(f, "                                                         attempts repeated")?;
        let [step, fault, rounds, by_fault, by_deadline, slowest, outcome] = head;
        writeln!(
            f,
            "{step:<28} {fault:<22} {rounds:>6} {by_fault:>9} {by_deadline:>12} {slowest:>8}  {outcome}"
        )?;
        for ((step, fault), row) in &self.rows {
            let (fault, slowest) = (fault.to_string(), format!("{:.1} s", row.slowest_s));
            let outcome = if row.failed == 0 { "clean".to_owned() } else { format!("{} FAILED", row.failed) };
            let (rounds, by_fault, by_deadline) = (row.rounds, row.by_fault, row.by_deadline);
            writeln!(
                f,
                "{step:<28} {fault:<22} {rounds:>6} {by_fault:>9} {by_deadline:>12} {slowest:>8}  {outcome}"
            )?;
        }
        let rounds: usize = self.rows.values().map(|row| row.rounds).sum();
        let failed: usize = self.rows.values().map(|row| row.failed).sum();
        write!(f, "{rounds} rounds, {failed} failed")
    }
}
