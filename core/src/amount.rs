//! All that can run out on a node: cores, memory and what is counted. What a task takes, what a node has, what is left of it.

use crate::counts::Counts;
use crate::resources::Resources;
use std::fmt;

/// So much of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount {
    /// Cores and memory.
    pub resources: Resources,
    /// What is counted.
    pub counts: Counts,
}

impl Amount {
    /// Whether `self` has room for `ask` in every dimension.
    pub fn fits(&self, ask: &Amount) -> bool {
        self.resources.fits(&ask.resources) && self.counts.fits(&ask.counts)
    }

    /// Takes `ask` away; saturates at zero.
    #[must_use]
    pub fn minus(&self, ask: &Amount) -> Amount {
        Amount { resources: self.resources.minus(&ask.resources), counts: self.counts.minus(&ask.counts) }
    }

    /// Adds `more`; saturates.
    #[must_use]
    pub fn plus(&self, more: &Amount) -> Amount {
        Amount { resources: self.resources.plus(&more.resources), counts: self.counts.plus(&more.counts) }
    }
}

impl From<Resources> for Amount {
    fn from(resources: Resources) -> Amount {
        Amount { resources, counts: Counts::default() }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.resources)?;
        if self.counts.is_empty() { Ok(()) } else { write!(f, ", {}", self.counts) }
    }
}
