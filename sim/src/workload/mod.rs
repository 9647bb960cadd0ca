//! What there is to do: made from a seed ([`closed`], [`open`], both of [`mix`]) or read from a record ([`replay`]).

pub mod closed;
pub mod mix;
pub mod open;
pub mod replay;

use crate::job::Job;

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// In order of arrival; ids count from 0.
    pub jobs: Vec<Job>,
    /// What has not ended by then counts as unfinished.
    pub horizon_ms: u64,
}

impl Workload {
    /// Sorts by arrival, keeps the order of equals, and numbers.
    pub fn new(mut jobs: Vec<Job>, horizon_ms: u64) -> Workload {
        jobs.sort_by_key(|job| job.arrival_ms);
        for (id, job) in (0..).zip(&mut jobs) {
            job.id = id;
        }
        Workload { jobs, horizon_ms }
    }
}
