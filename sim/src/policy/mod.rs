//! What a policy is, and the policies there are, one a file.
//!
//! A policy sees submissions, ends and the pool; it answers with [`Action`]s. It keeps its own queue. It must be deterministic (chance from
//! its own seeded stream), must not start what does not fit, and must not read [`crate::job::Job::service_ms`]: the engine holds the second,
//! a test the first; the last is a rule for whoever writes one.

pub mod dispatcher;
pub mod easy;
pub mod named;
pub mod shoal;
pub mod workers;

use crate::engine::Pool;
use crate::job::{Job, JobId};

/// What a policy wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The job starts now on free nodes.
    Start {
        /// Which.
        job: JobId,
        /// When it is still running after this long it is killed, and counts as dead.
        kill_after_ms: Option<u64>,
    },
    /// The job will never start: it counts as dead.
    GiveUp(JobId),
}

/// Decides what starts when.
pub trait Policy {
    /// What it is called in tables, with its parameters.
    fn name(&self) -> String;

    /// A job was submitted at `job.arrival_ms`, which is now.
    fn submitted(&mut self, job: &Job);

    /// A job that ran has ended, and its nodes are free again.
    fn ended(&mut self, _job: &Job) {}

    /// Asked once after all events of one millisecond; writes into `actions` what is to be done at `now_ms`.
    fn decide(&mut self, now_ms: u64, pool: &Pool, actions: &mut Vec<Action>);

    /// When it wants to be asked again even if nothing happens.
    fn wake_ms(&self) -> Option<u64> {
        None
    }
}
