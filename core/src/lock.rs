//! What people keep from taking tasks: a node, for themselves or because something is wrong with it; or the whole queue. What runs goes on.
//!
//! A lock with an end is over when the cluster's clock ([`crate::clock`]) has reached it, on every node at the same revision, whether or not somebody has
//! removed its key by then: a stale lock cannot exist.

use crate::clock::{TICK_S, Tick};
use crate::spec::Unknown;
use crate::time::WallMs;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// What can be locked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lockable {
    /// The node of this name, through all its identities.
    Node(String),
    /// All starts of tasks.
    Queue,
}

/// Under `/lock/node/NAME` and `/lock/queue`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockEntry {
    /// Who.
    pub by: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Since when, for people.
    pub at: WallMs,
    /// Its end by the cluster's clock; without, until somebody ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Tick>,
    /// The request that took any node, and got this one: asked again, it gets the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Uuid>,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl LockEntry {
    /// Whether it holds at this time of the cluster.
    pub fn holds(&self, now: Tick) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Seconds that it still holds, give or take a step of the clock; `None` without an end.
    pub fn left_s(&self, now: Tick) -> Option<u64> {
        self.until.map(|until| until.seconds_since(now))
    }

    /// The time of the cluster at which a lock of so many milliseconds that begins now is over: not before it has lasted so long.
    pub fn end_after(now: Tick, ms: u64) -> Tick {
        // The present step may be nearly over.
        Tick(now.0.saturating_add(ms.div_ceil(TICK_S * 1_000)).saturating_add(1))
    }
}

/// Who and why, as the end of a sentence.
impl fmt::Display for LockEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {}", self.by)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}
