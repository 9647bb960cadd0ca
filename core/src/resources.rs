//! What a task asks of a node and what a node has.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An amount of cores and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

impl Resources {
    /// Whether `self` has room for `ask` in every dimension.
    pub fn fits(&self, ask: &Resources) -> bool {
        self.cpu_milli >= ask.cpu_milli && self.memory_bytes >= ask.memory_bytes
    }
    /// How often `each`, of something at least, is in it.
    pub fn times(&self, each: &Resources) -> usize {
        let cpu = u64::from(self.cpu_milli / each.cpu_milli.max(1));
        cpu.min(self.memory_bytes / each.memory_bytes.max(1)) as usize
    }
    /// Takes `ask` away; saturates at zero.
    pub fn minus(&self, ask: &Resources) -> Resources {
        Resources {
            cpu_milli: self.cpu_milli.saturating_sub(ask.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_sub(ask.memory_bytes),
        }
    }
    /// Adds `more`; saturates.
    pub fn plus(&self, more: &Resources) -> Resources {
        Resources {
            cpu_milli: self.cpu_milli.saturating_add(more.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(more.memory_bytes),
        }
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.cpu_milli / 1000, self.cpu_milli % 1000);
        match rest {
            0 => write!(f, "{whole} cpu")?,
            _ => write!(f, "{}.{} cpu", whole, format!("{rest:03}").trim_end_matches('0'))?,
        }
        write!(f, ", {} MiB", self.memory_bytes >> 20)
    }
}
