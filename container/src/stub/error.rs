//! Errors of setting up a container: a step in words and its cause, which is what the user gets to read.

use crate::cgroup::CgroupError;
use std::io;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A system call.
    #[error("{step}: {source}")]
    Step {
        /// What was being done.
        step: String,
        /// The cause.
        source: io::Error,
    },
    /// The control group.
    #[error("limit the task: {0}")]
    Limits(#[from] CgroupError),
}

/// Names the step of a result's error.
pub trait Step<T> {
    /// Names it.
    fn step(self, step: impl Into<String>) -> Result<T, SetupError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, SetupError> {
        self.map_err(|e| SetupError::Step { step: step.into(), source: e.into() })
    }
}
