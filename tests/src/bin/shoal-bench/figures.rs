//! What was measured, and the table of it.

use anyhow::{Context, Result};
use serde::Deserialize;
use shoal_tests::cluster::Cluster;
use shoal_tests::node::Node;
use std::fmt;
use std::fs;

/// Rows of a table.
#[derive(Debug)]
pub struct Figures {
    commit: String,
    load_before: String,
    rows: Vec<(String, String)>,
}

/// `DATA/counters.json` of a node.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Counters {
    /// Transactions in which this node took a task.
    pub steals_won: u64,
    /// Steals that another node had won.
    pub steals_lost: u64,
    /// Transactions sent to the store, each with many moves.
    pub store_txns: u64,
}

impl Figures {
    /// An empty table.
    pub fn begin(commit: &str) -> Figures {
        Figures { commit: commit.to_owned(), load_before: load(), rows: Vec::new() }
    }

    /// Adds a row, and shows it at once: the whole takes minutes.
    pub fn add(&mut self, what: &str, value: String) {
        eprintln!("{what}: {value}");
        self.rows.push((what.to_owned(), value));
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "commit {} · {}", self.commit, machine())?;
        writeln!(f, "load average before {} · after {}\n", self.load_before, load())?;
        writeln!(f, "| what | measured |\n|---|---|")?;
        for (what, value) in &self.rows {
            writeln!(f, "| {what} | {value} |")?;
        }
        Ok(())
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory_kib = field("/proc/meminfo", "MemTotal:").unwrap_or(0);
    format!("{cores} cores, {} GiB, Linux {}", memory_kib >> 20, kernel.trim())
}

/// The number behind `name` in a file of /proc.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Resident memory of a process in MiB.
pub fn rss_mib(pid: i32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmRSS:").unwrap_or(0) >> 10
}

/// Ends a cluster. What is wrong with its end is for the tests to judge; here it is only shown.
pub async fn end(cluster: &Cluster) {
    if let Err(why) = cluster.clear().await {
        eprintln!("{why:#}");
    }
}

/// The median; of an even count the lower of the middle two.
pub fn median(mut values: Vec<f64>) -> f64 {
    percentile(&mut values, 50.0)
}

/// The smallest value that at least `percent` of the values do not exceed.
pub fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// The counters of nodes that have stopped in order, added up; a stopping server writes them once more.
pub fn counters(nodes: &[Node]) -> Result<Counters> {
    let mut sum = Counters::default();
    for node in nodes {
        let path = node.data_dir().join("counters.json");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let one: Counters =
            serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
        sum.steals_won += one.steals_won;
        sum.steals_lost += one.steals_lost;
        sum.store_txns += one.store_txns;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&mut values, 50.0), 100.0);
        assert_eq!(percentile(&mut values, 99.0), 198.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![5.0]), 5.0);
    }
}
