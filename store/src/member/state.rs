//! What a member is doing, for people and for those who wait.

use super::health::Role;
use std::fmt;
use std::time::Duration;

/// What a member is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// etcd has been started and has not served yet.
    Starting,
    /// It serves.
    Healthy {
        /// As what.
        role: Role,
    },
    /// It runs, but does not serve: no majority, no leader, frozen, or too slow.
    Unhealthy {
        /// The last answer.
        reason: String,
    },
    /// It ended and will be started again.
    Restarting {
        /// How often it has ended since it was last well for a minute.
        failures: u32,
        /// After which time.
        wait: Duration,
        /// Exit status and last lines of its log.
        reason: String,
    },
    /// It ends again and again. It is still started anew every few seconds, since a full disk may be emptied; its data are left as they are.
    Failed {
        /// How often it has ended.
        failures: u32,
        /// Exit status and last lines of its log.
        reason: String,
    },
    /// It was stopped.
    Stopped,
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemberState::Starting => f.write_str("starting"),
            MemberState::Healthy { role: Role::Voter } => f.write_str("healthy"),
            MemberState::Healthy { role: Role::Learner } => f.write_str("healthy (learner)"),
            MemberState::Unhealthy { reason } => write!(f, "runs but does not serve: {reason}"),
            MemberState::Restarting { failures, wait, reason } => {
                write!(f, "ended ({failures} times), starts again in {wait:?}: {reason}")
            }
            MemberState::Failed { failures, reason } => {
                write!(f, "ended {failures} times in a row: {reason}")
            }
            MemberState::Stopped => f.write_str("stopped"),
        }
    }
}

/// The members as last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Client URLs to use, own first where it serves.
    pub endpoints: Vec<String>,
    /// How many members vote.
    pub voters: usize,
}
