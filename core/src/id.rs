//! Identifiers. All are UUIDs; version 7 where Shoal makes them, so that they sort by the time they were made.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A task, for its whole life and through all its attempts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub Uuid);

/// One lease's lifetime of a node: a node that lost its lease comes back under a new `NodeId` with the same name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub Uuid);

/// One attempt at a task; numbers count from 1. Its text form, `TASK.NUMBER`, names its directory and its cgroup.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The task.
    pub task: TaskId,
    /// Counts from 1.
    pub number: u32,
}

impl TaskId {
    /// The id of task `index` of the submit request `request`: the same request always names the same tasks.
    /// The request's first 48 bits (the milliseconds of a version 7 id) are kept, so that ids sort by submission.
    pub fn of_request(request: Uuid, index: usize) -> TaskId {
        let hashed = Uuid::new_v5(&request, &(index as u64).to_be_bytes());
        let mut bytes = *hashed.as_bytes();
        bytes[..6].copy_from_slice(&request.as_bytes()[..6]);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        TaskId(Uuid::from_bytes(bytes))
    }

    /// The first eight digits of the random tail: what people read and type.
    pub fn short(&self) -> String {
        self.0.simple().to_string()[20..28].to_owned()
    }
}

macro_rules! uuid_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map($name)
            }
        }
    };
}
uuid_text!(TaskId);
uuid_text!(NodeId);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.task, self.number)
    }
}
impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not `TASK.NUMBER`.
#[derive(Debug, thiserror::Error)]
#[error("not an attempt id: {0}")]
pub struct BadAttemptId(String);

impl FromStr for AttemptId {
    type Err = BadAttemptId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadAttemptId(text.to_owned());
        let (task, number) = text.split_once('.').ok_or_else(bad)?;
        let task = task.parse().map_err(|_| bad())?;
        let number = number.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?;
        Ok(AttemptId { task, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_same_tasks_each_time_and_keeps_its_time() {
        let request = Uuid::parse_str("0192d000-0000-7000-8000-000000000001").unwrap();
        let first = TaskId::of_request(request, 0);
        assert_eq!(first, TaskId::of_request(request, 0));
        assert_ne!(first, TaskId::of_request(request, 1));
        assert_eq!(first.0.as_bytes()[..6], request.as_bytes()[..6]);
        assert_eq!(first.0.get_version_num(), 7);
    }

    #[test]
    fn attempt_text_round_trips() {
        let id = AttemptId { task: TaskId(Uuid::from_u128(7)), number: 3 };
        assert_eq!(id.to_string().parse::<AttemptId>().unwrap(), id);
        assert!("x.1".parse::<AttemptId>().is_err());
        assert!(format!("{}.0", id.task).parse::<AttemptId>().is_err());
    }
}
