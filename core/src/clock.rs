//! The cluster's own time, which all nodes read alike: a count in the store that one node after another advances, each by its own boot-time clock. So what
//! depends on how long a task has waited is the same on every node, and no wall clock has a say in it. While the whole cluster is down it stands still.
//!
//! Any node may advance it, by one, when it has seen the last step [`TICK_S`] ago; the store lets one of them through. To spare the others the try, they are
//! patient in the order of a rendezvous hash.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Seconds of one step, by the clock of whoever makes it. A write of the whole cluster each time; nothing planned needs it finer.
pub const TICK_S: u64 = 10;

/// A time of the cluster, in steps of [`TICK_S`] since its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tick(pub u64);

impl Tick {
    /// The next.
    pub fn next(self) -> Tick {
        Tick(self.0.saturating_add(1))
    }

    /// Whether it is the beginning: what was submitted before there was a clock.
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// Seconds since the beginning, give or take a step.
    pub fn seconds(self) -> u64 {
        self.0.saturating_mul(TICK_S)
    }

    /// Seconds since `earlier`, give or take a step; 0 when that is later.
    pub fn seconds_since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0).saturating_mul(TICK_S)
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tick {}", self.0)
    }
}
