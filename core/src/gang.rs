//! A task that runs on several nodes at once: its members, and what the end of one means for the others.
//!
//! All members start in one transaction or none does. The attempt is over when every member is surely dead; what decides how it ended is the *verdict*, which
//! the first end that matters by the task's rule brings, and at which all others are stopped.
//!
//! Persisted inside of the task's record: only add fields, with a default.

use crate::id::NodeId;
use crate::spec::GangEnd;
use crate::task::{Exit, ExitHow};
use crate::transition::Outcome;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Nodes of one task. A start writes one key for each of them in one transaction, of which etcd allows 128 operations, among up to 40 other moves.
pub const NODES_MAX: u32 = 64;

/// How a member ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberEnd {
    /// As its node reported.
    Reported(Outcome),
    /// Its node was lost.
    Lost,
}

/// One node's part of an attempt. Its rank is its place in the attempt's list, from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node's identity then.
    pub node: NodeId,
    /// Its name.
    pub node_name: String,
    /// Where others reach it: a host name or an address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// How it ended; then it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<MemberEnd>,
}

impl MemberEnd {
    /// Whether its program ended by itself with status 0.
    fn is_success(&self) -> bool {
        matches!(
            self,
            MemberEnd::Reported(Outcome::Exited(Exit { how: ExitHow::Code(0), oom_killed: false }))
        )
    }

    /// Whether the attempt cannot go on without it, and may be tried again: the member's program had no say in it.
    fn breaks(&self) -> bool {
        match self {
            MemberEnd::Lost => true,
            MemberEnd::Reported(outcome) => match outcome {
                Outcome::Exited(_) | Outcome::TimeLimit => false,
                Outcome::NotFound(_)
                | Outcome::NotExecutable(_)
                | Outcome::LaunchFailed(_)
                | Outcome::ImageNotReady(_)
                | Outcome::NoImage(_)
                | Outcome::Vanished(_) => true,
            },
        }
    }
}

/// How it ended, in words.
impl fmt::Display for MemberEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemberEnd::Reported(outcome) => outcome.fmt(f),
            MemberEnd::Lost => f.write_str("node lost"),
        }
    }
}

impl Member {
    /// Whether its program was surely never executed.
    pub fn never_began(&self) -> bool {
        match &self.end {
            Some(MemberEnd::Reported(outcome)) => match outcome {
                Outcome::NotFound(_)
                | Outcome::NotExecutable(_)
                | Outcome::LaunchFailed(_)
                | Outcome::ImageNotReady(_)
                | Outcome::NoImage(_) => true,
                Outcome::Exited(_) | Outcome::TimeLimit | Outcome::Vanished(_) => false,
            },
            Some(MemberEnd::Lost) | None => false,
        }
    }
}

/// Whether this end of the member of this rank decides the attempt.
pub fn decides(rule: GangEnd, rank: u32, end: &MemberEnd) -> bool {
    let by_rule = match rule {
        GangEnd::FirstFailure => !end.is_success(),
        GangEnd::All => false,
        GangEnd::Lead => rank == 0,
    };
    by_rule || end.breaks()
}

/// The rank of the member whose end counts as the attempt's when none decided it and all have ended: the first that failed, else the lead.
pub fn counts(members: &[Member]) -> usize {
    let failed = |member: &Member| member.end.as_ref().is_some_and(|end| !end.is_success());
    members.iter().position(failed).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: u8) -> MemberEnd {
        MemberEnd::Reported(Outcome::Exited(Exit { how: ExitHow::Code(code), oom_killed: false }))
    }

    #[test]
    fn who_decides_follows_the_rule() {
        let ends = [exited(0), exited(1), MemberEnd::Reported(Outcome::TimeLimit), MemberEnd::Lost];
        let decided = |rule, rank| ends.clone().map(|end| decides(rule, rank, &end));
        assert_eq!(decided(GangEnd::FirstFailure, 1), [false, true, true, true]);
        assert_eq!(decided(GangEnd::All, 0), [false, false, false, true]);
        assert_eq!(decided(GangEnd::Lead, 0), [true, true, true, true]);
        assert_eq!(decided(GangEnd::Lead, 1), [false, false, false, true]);
    }

    #[test]
    fn a_failure_counts_before_the_leads_success() {
        let member = |end| Member {
            node: NodeId(uuid::Uuid::nil()),
            node_name: String::new(),
            address: String::new(),
            end: Some(end),
        };
        let of = |ends: [MemberEnd; 3]| counts(&ends.map(member));
        assert_eq!(of([exited(0), exited(0), exited(0)]), 0);
        assert_eq!(of([exited(0), exited(3), exited(4)]), 1);
    }
}
