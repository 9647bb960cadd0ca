//! Things that nodes have and that are counted, beside cores and memory: GPUs, licences, test devices. A name and a number; what a name means is between the
//! operator, who says how many a node has, and the tasks that ask for some.
//!
//! Persisted in specifications, queue, run and node entries. A name that a node has never heard of is one of which it has none.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Different names on one node, or in one task.
pub const NAMES_MAX: usize = 16;
/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 32;

/// How many of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(pub BTreeMap<String, u32>);

/// Whether it is a name: lower-case letters, digits, `-` and `_`, a letter first.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= NAME_CHARS_MAX
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

impl Counts {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of this.
    pub fn of(&self, name: &str) -> u32 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Whether here are as many as `ask` wants, of everything.
    pub fn fits(&self, ask: &Counts) -> bool {
        self.lacking(ask).is_none()
    }

    /// The first thing of which `ask` wants more than there is: its name, how many it wants, how many there are.
    pub fn lacking<'a>(&self, ask: &'a Counts) -> Option<(&'a str, u32, u32)> {
        let mut wanted = ask.0.iter().map(|(name, wanted)| (name.as_str(), *wanted, self.of(name)));
        wanted.find(|(_, wanted, there)| there < wanted)
    }

    /// Takes `ask` away; saturates at zero.
    pub fn minus(&self, ask: &Counts) -> Counts {
        if self.is_empty() {
            return Counts::default();
        }
        let left = |(name, there): (&String, &u32)| (name.clone(), there.saturating_sub(ask.of(name)));
        Counts(self.0.iter().map(left).collect())
    }

    /// Adds `more`; saturates.
    pub fn plus(&self, more: &Counts) -> Counts {
        let mut sum = self.clone();
        for (name, count) in &more.0 {
            let here = sum.0.entry(name.clone()).or_default();
            *here = here.saturating_add(*count);
        }
        sum
    }
}

/// `2 gpu, 1 licence`.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.0.iter().enumerate() {
            write!(f, "{}{count} {name}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts<const N: usize>(of: [(&str, u32); N]) -> Counts {
        Counts(of.map(|(name, count)| (name.to_owned(), count)).into())
    }

    #[test]
    fn what_is_not_there_is_none() {
        let there = counts([("gpu", 2)]);
        assert!(there.fits(&counts([("gpu", 2)])) && there.fits(&Counts::default()));
        assert_eq!(there.lacking(&counts([("gpu", 3)])), Some(("gpu", 3, 2)));
        assert_eq!(there.lacking(&counts([("tape", 1)])), Some(("tape", 1, 0)));
    }

    #[test]
    fn taking_and_giving_back_is_nothing() {
        let (there, ask) = (counts([("gpu", 2), ("tape", 1)]), counts([("gpu", 2)]));
        assert_eq!(there.minus(&ask), counts([("gpu", 0), ("tape", 1)]));
        assert_eq!(there.minus(&ask).plus(&ask), there);
    }

    #[test]
    fn names_are_short_words() {
        assert!(["gpu", "a100-80g", "x_1"].iter().all(|name| is_name(name)));
        assert!(!["", "GPU", "1gpu", "a b", "a=b", &"x".repeat(33)].iter().any(|name| is_name(name)));
    }
}
