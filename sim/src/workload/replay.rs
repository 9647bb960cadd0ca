//! Recorded tasks: a file of JSON lines, one job a line, in any order.
//!
//! Fields: `arrival_ms` (from any fixed point), `nodes`, `service_ms` (how long it held them); optional `priority` (Shoal's: 1 to 1000, higher is
//! sooner, 500 the default), or instead `teuthology_priority` (lower is sooner); optional `estimate_ms` (what was expected) and
//! `limit_ms` (what it could not exceed), both `service_ms` when absent. Others are ignored. Empty lines are passed over. Time begins at the first arrival.

use super::Workload;
use crate::job::{Job, priority_of_teuthology};
use serde::Deserialize;
use shoal_core::priority::Priority;

#[derive(Deserialize)]
struct Line {
    arrival_ms: u64,
    nodes: u32,
    service_ms: u64,
    priority: Option<i64>,
    teuthology_priority: Option<i32>,
    estimate_ms: Option<u64>,
    limit_ms: Option<u64>,
}

/// The record cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Not JSON, or a field is missing or of the wrong kind.
    #[error("line {line}: not a recorded job")]
    NotAJob {
        /// Counts from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A job of no nodes, a priority that there is not, or two.
    #[error("line {line}: {field} must {rule}, was {was}")]
    BadField {
        /// Counts from 1.
        line: usize,
        /// Which.
        field: &'static str,
        /// What it must.
        rule: &'static str,
        /// What it was.
        was: i64,
    },
    /// Nothing to replay.
    #[error("there is no job in it")]
    Empty,
}

/// The workload that the text records; its horizon is the last arrival.
pub fn replay(text: &str) -> Result<Workload, ReplayError> {
    let mut jobs = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        jobs.push(job(index + 1, line)?);
    }
    let first_ms = jobs.iter().map(|job| job.arrival_ms).min().ok_or(ReplayError::Empty)?;
    for job in &mut jobs {
        job.arrival_ms -= first_ms;
    }
    let last_ms = jobs.iter().map(|job| job.arrival_ms).max().unwrap_or(0);
    Ok(Workload::new(jobs, last_ms))
}

fn job(line: usize, text: &str) -> Result<Job, ReplayError> {
    let read: Line = serde_json::from_str(text).map_err(|source| ReplayError::NotAJob { line, source })?;
    let bad = |field, rule, was| ReplayError::BadField { line, field, rule, was };
    if read.nodes == 0 {
        return Err(bad("nodes", "be at least 1", 0));
    }
    let priority = match (read.priority, read.teuthology_priority) {
        (Some(_), Some(was)) => {
            return Err(bad("teuthology_priority", "not stand beside priority", was.into()));
        }
        (Some(was), None) => {
            let priority = u64::try_from(was).ok().and_then(Priority::new);
            priority.ok_or_else(|| bad("priority", "be 1 to 1000", was))?.number().into()
        }
        (None, Some(lower_is_sooner)) => priority_of_teuthology(lower_is_sooner),
        (None, None) => Priority::NORMAL.number().into(),
    };
    let (nodes, service_ms) = (read.nodes, read.service_ms);
    let estimate_ms = read.estimate_ms.unwrap_or(service_ms);
    let limit_ms = read.limit_ms.unwrap_or(service_ms);
    Ok(Job { id: 0, arrival_ms: read.arrival_ms, priority, nodes, service_ms, estimate_ms, limit_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_jobs_in_order_of_arrival_and_time_begins_with_the_first() {
        let text = r#"{"arrival_ms": 900, "nodes": 3, "service_ms": 5, "teuthology_priority": 75, "owner": "x"}

            {"arrival_ms": 400, "nodes": 1, "service_ms": 7, "estimate_ms": 9}"#;
        let workload = replay(text).unwrap();
        let seen: Vec<_> =
            workload.jobs.iter().map(|j| (j.id, j.arrival_ms, j.priority, j.estimate_ms)).collect();
        assert_eq!(seen, [(0, 0, 500, 9), (1, 500, 900, 5)]);
        assert_eq!(workload.horizon_ms, 500);
    }

    #[test]
    fn what_cannot_be_replayed_is_named_by_line_and_field() {
        let error = |text: &str| replay(text).unwrap_err().to_string();
        assert_eq!(error("\n{}"), "line 2: not a recorded job");
        assert_eq!(
            error(r#"{"arrival_ms": 0, "nodes": 0, "service_ms": 1}"#),
            "line 1: nodes must be at least 1, was 0"
        );
        assert_eq!(
            error(r#"{"arrival_ms": 0, "nodes": 1, "service_ms": 1, "priority": 1001}"#),
            "line 1: priority must be 1 to 1000, was 1001"
        );
        assert_eq!(error(" \n"), "there is no job in it");
    }
}
