//! Time as an argument. The core never asks what time it is.

use serde::{Deserialize, Serialize};

/// Milliseconds on the boot-time clock (CLOCK_BOOTTIME) of one machine. Never compared across machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BootMs(pub u64);

impl BootMs {
    /// This instant and `ms` more.
    pub fn plus(self, ms: u64) -> BootMs {
        BootMs(self.0.saturating_add(ms))
    }
    /// Milliseconds since `earlier`; 0 when that is later.
    pub fn since(self, earlier: BootMs) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since 1970 by the wall clock: shown to people and used for retention, never for a decision that must be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallMs(pub i64);
