//! What a log is called: each member of a task of several nodes writes one of its own, on its own node.
//!
//! On its node a log lies in the attempt's directory, of which a node has one at most. A peer may have copies of several members' logs, so the rank is in the
//! name of a copy: `TASK.NUMBER` is the first member's (and that of any other task), `TASK.NUMBER.RANK` another's.

use super::file::open_plain;
use shoal_container::record::StartRecord;
use shoal_core::gang::NODES_MAX;
use shoal_core::id::AttemptId;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::str::FromStr;

/// What says a member its rank.
const RANK: &str = "SHOAL_RANK";
/// How the attempt was started, before and after the runner has let go of it.
const RECORDS: [&str; 2] = ["done", "status"];

/// A log's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    /// Of which attempt.
    pub attempt: AttemptId,
    /// Of which member; 0 of a task of one node.
    pub rank: u32,
}

impl LogName {
    /// Of the log that this node has in the directory of this attempt. An attempt that was never started has none, and is called like a first member's.
    pub fn of_own(attempts: &Path, attempt: AttemptId) -> io::Result<LogName> {
        let directory = attempts.join(attempt.to_string());
        for record in RECORDS {
            let Some(file) = open_plain(&directory.join(record))? else { continue };
            // A guess would give one member's log another's name.
            let unread = || io::Error::other(format!("{record} does not say how it was started"));
            let start = StartRecord::read(file.as_fd()).ok_or_else(unread)?.start;
            let rank = start.env.get(RANK).map_or(Ok(0), |rank| rank.parse()).map_err(io::Error::other)?;
            return Ok(LogName { attempt, rank });
        }
        Ok(LogName { attempt, rank: 0 })
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.attempt.fmt(f)?;
        if self.rank == 0 { Ok(()) } else { write!(f, ".{}", self.rank) }
    }
}

/// The text is not `TASK.NUMBER` or `TASK.NUMBER.RANK`.
#[derive(Debug, thiserror::Error)]
#[error("not a log's name: {0}")]
pub struct BadLogName(String);

impl FromStr for LogName {
    type Err = BadLogName;
    fn from_str(text: &str) -> Result<LogName, BadLogName> {
        let bad = || BadLogName(text.to_owned());
        // An id has no dot: two of them are before a number and a rank.
        let (attempt, rank) = match text.rsplit_once('.').filter(|(attempt, _)| attempt.contains('.')) {
            Some((attempt, rank)) => {
                let rank = rank.parse().ok().filter(|rank| (1..NODES_MAX).contains(rank));
                (attempt, rank.ok_or_else(bad)?)
            }
            None => (text, 0),
        };
        Ok(LogName { attempt: attempt.parse().map_err(|_| bad())?, rank })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::id::TaskId;
    use uuid::Uuid;

    fn name(rank: u32) -> LogName {
        LogName { attempt: AttemptId { task: TaskId(Uuid::from_u128(7)), number: 2 }, rank }
    }

    #[test]
    fn names_round_trip_and_the_firsts_is_the_attempts() {
        for rank in [0, 1, 63] {
            assert_eq!(name(rank).to_string().parse::<LogName>().unwrap(), name(rank));
        }
        assert_eq!(name(0).to_string(), name(0).attempt.to_string());
        let attempt = name(0).attempt;
        for bad in ["", ".", "x.1", "x.1.1"] {
            assert!(bad.parse::<LogName>().is_err(), "{bad}");
        }
        for rank in ["0", "64", "", "-1", "1.1", "x"] {
            assert!(format!("{attempt}.{rank}").parse::<LogName>().is_err(), "{rank}");
        }
    }

    #[test]
    fn a_log_that_does_not_say_whose_it_is_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let own = || LogName::of_own(dir.path(), name(0).attempt);
        assert_eq!(own().unwrap(), name(0), "never started");
        let directory = dir.path().join(name(0).to_string());
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("status"), "{\"format\":1,\"sta").unwrap();
        assert!(own().is_err());
    }
}
