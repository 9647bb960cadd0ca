//! Which task is sooner. Higher is sooner: a number from 1 to 1000, with names for four of them. (Teuthology counts the other way round; its numbers are
//! converted where its users come in.)
//!
//! The urgent go before all others. Among them, and among the others, waiting counts: [`POINTS_PER_HOUR`] points for each hour. Since all gain alike, their order never
//! changes while they wait, and is known at submit: a *virtual time of submission*, [`Rank`], earlier by what the priority is worth and later by what the
//! task costs ([`crate::charge`]). It never reaches the urgent class, where naive aging was simulated to wreck the latency (docs/scheduling.md).

use crate::charge::Cost;
use crate::clock::Tick;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How much sooner waiting makes a task that is not urgent. With it, `low` stands equal with a new `high` after eight hours and twenty minutes
/// (found by simulation: docs/scheduling.md).
pub const POINTS_PER_HOUR: i64 = 60;
/// What a point of priority is worth.
const SECONDS_PER_POINT: i64 = 3600 / POINTS_PER_HOUR;
/// Where the ranks of the urgent lie: before all others.
const URGENT_FROM: i64 = i64::MIN / 2;
/// No virtual time of submission is later: 35,000 years.
const URGENT_SPAN: i64 = 1 << 40;
/// Tasks whose ranks lie so close count as equal when nodes choose among them without talking ([`crate::plan`]).
const EQUAL_S: i64 = 600;
/// The same of urgent ones.
const EQUAL_URGENT_S: i64 = 60;

/// A task's priority: 1 to 1000, higher is sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(u16);

impl Priority {
    /// The lowest.
    pub const MIN: u16 = 1;
    /// The highest.
    pub const MAX: u16 = 1000;
    /// When there is nothing else to do.
    pub const LOW: Priority = Priority(250);
    /// What a task gets that asks for nothing.
    pub const NORMAL: Priority = Priority(500);
    /// Before others.
    pub const HIGH: Priority = Priority(750);
    /// From here on: before all that is not, however long that has waited.
    pub const URGENT: Priority = Priority(900);
    const NAMES: [(&'static str, Priority); 4] = [
        ("low", Priority::LOW),
        ("normal", Priority::NORMAL),
        ("high", Priority::HIGH),
        ("urgent", Priority::URGENT),
    ];

    /// `None` outside of the range.
    pub fn new(number: u64) -> Option<Priority> {
        let number = u16::try_from(number).ok()?;
        (Priority::MIN..=Priority::MAX).contains(&number).then_some(Priority(number))
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Whether it goes before all that are not.
    pub fn is_urgent(self) -> bool {
        self >= Priority::URGENT
    }

    /// Whether it is what a task gets without asking.
    pub fn is_normal(&self) -> bool {
        *self == Priority::NORMAL
    }
}

impl Default for Priority {
    fn default() -> Priority {
        Priority::NORMAL
    }
}

/// The name of a class where it is exactly that, else the number.
impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Priority::NAMES.iter().find(|(_, class)| class == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// No priority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be low, normal, high, urgent, or a number from {min} to {max} (higher is sooner), was {0:?}", min = Priority::MIN, max = Priority::MAX)]
pub struct BadPriority(String);

impl FromStr for Priority {
    type Err = BadPriority;

    fn from_str(text: &str) -> Result<Priority, BadPriority> {
        let named = Priority::NAMES.iter().find(|(name, _)| *name == text).map(|(_, class)| *class);
        let number = || text.parse().ok().and_then(Priority::new);
        named.or_else(number).ok_or_else(|| BadPriority(text.to_owned()))
    }
}

/// A task's place by priority and waiting; the lower is sooner. Equal on every node: it comes from what the store says alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rank(i64);

impl Rank {
    /// Of a task of this priority and cost that was submitted at that time of the cluster.
    pub fn of(priority: Priority, submitted: Tick, cost: Cost) -> Rank {
        let is_urgent = priority.is_urgent();
        let charged = if is_urgent { cost.urgent_s() } else { cost.charge_s() };
        let worth = i64::from(priority.number()) * SECONDS_PER_POINT;
        let virtual_s = signed(submitted.seconds()).saturating_add(signed(charged)).saturating_sub(worth);
        Rank(if is_urgent { virtual_s.min(URGENT_SPAN).saturating_add(URGENT_FROM) } else { virtual_s })
    }

    /// Which of the groups of equals it belongs to; groups sort as ranks do. An urgent task does not wait long for its owner.
    pub fn group(self) -> i64 {
        let is_urgent = self.0 <= URGENT_FROM + URGENT_SPAN;
        self.0.div_euclid(if is_urgent { EQUAL_URGENT_S } else { EQUAL_S })
    }
}

fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TICK_S;

    fn rank(priority: u64, hours: u64) -> Rank {
        Rank::of(Priority::new(priority).unwrap(), Tick(hours * 3600 / TICK_S), Cost::NONE)
    }

    #[test]
    fn higher_is_sooner_and_waiting_makes_up_for_points() {
        assert!(rank(750, 10) < rank(500, 10));
        let four_hours_and_ten_minutes = Tick(15_000 / TICK_S);
        assert_eq!(rank(500, 0), Rank::of(Priority::HIGH, four_hours_and_ten_minutes, Cost::NONE));
        assert!(rank(500, 0) < rank(750, 5), "it has waited five hours");
        assert!(rank(750, 4) < rank(500, 0), "it has waited only four");
    }

    #[test]
    fn no_waiting_reaches_the_urgent_class() {
        let waited_for_years = rank(899, 0);
        assert!(rank(900, 1_000_000) < waited_for_years);
        assert!(rank(961, 1) < rank(900, 0), "among the urgent a point is worth as much as below");
        assert!(rank(900, 0) < rank(959, 1));
        assert!(rank(900, 1_000_000).group() < waited_for_years.group());
    }

    #[test]
    fn groups_are_ranges_of_ranks() {
        let mut ranks: Vec<Rank> =
            (1..=1000).step_by(7).flat_map(|p| (0..40).map(move |h| rank(p, h))).collect();
        ranks.sort_unstable();
        assert!(ranks.is_sorted_by_key(|rank| rank.group()));
        assert_ne!(rank(950, 1).group(), rank(952, 1).group(), "urgent tasks wait for no owner of long ago");
        assert_eq!(rank(500, 0).group(), rank(499, 0).group());
    }

    #[test]
    fn names_and_numbers_read_back() {
        for number in 1..=1000 {
            let priority = Priority::new(number).unwrap();
            assert_eq!(priority.to_string().parse(), Ok(priority));
        }
        assert_eq!("high".parse(), Ok(Priority::HIGH));
        assert_eq!(Priority::HIGH.to_string(), "high");
        for bad in ["", "0", "1001", "-1", "High", "5.0", "99999999999999999999"] {
            let error = bad.parse::<Priority>().unwrap_err().to_string();
            assert!(error.ends_with(&format!("was {bad:?}")), "{error}");
        }
    }
}
