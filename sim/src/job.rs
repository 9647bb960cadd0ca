//! A job, as all policies see it, and the directions and classes that they and the measures speak of.
//!
//! Priority: the core's scale, where higher is sooner and the urgent begin at 900. Teuthology's numbers (lower is sooner, 75 the last urgent one,
//! 1000 the default) are put on it where they come in, by [`priority_of_teuthology`] and nowhere else. Here the scale goes on below the core's
//! lowest, for the policies that know no such end; [`core_priority`] cuts it.

use serde::{Deserialize, Serialize};
use shoal_core::priority::Priority;

/// Milliseconds of one second.
pub const SECOND_MS: u64 = 1000;
/// Milliseconds of one hour.
pub const HOUR_MS: u64 = 3_600_000;

/// The place of a job in its workload: jobs are numbered by arrival, and this is the number.
pub type JobId = u32;

/// One job. What runs is a gang: it holds `nodes` whole nodes from its start to its end, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Counts from 0 in order of submission; ids break ties everywhere.
    pub id: JobId,
    /// When it was submitted, in milliseconds from the start of the workload.
    pub arrival_ms: u64,
    /// Higher is sooner, on the core's scale.
    pub priority: i32,
    /// How many nodes it takes, at least 1.
    pub nodes: u32,
    /// How long it holds them: reimaging and run. Policies must not read it.
    pub service_ms: u64,
    /// What `service_ms` probably is: learned, and wrong as often as not. Good for the order of the queue.
    pub estimate_ms: u64,
    /// What `service_ms` surely does not exceed: the time limit. Reservations and backfill stand on it: a bound that is exceeded breaks promises.
    pub limit_ms: u64,
}

/// From this priority on a job is urgent.
pub const URGENT: i32 = Priority::URGENT.number() as i32;
/// The last of Teuthology's that is: its scheduler refuses runs of more than 25 jobs above it.
const TEUTHOLOGY_URGENT: i32 = 75;

/// Teuthology's priority turned round, point for point, so that its urgent ones are the core's: 0 becomes 975, 75 becomes 900, 76 becomes 899, and 974 becomes 1, below
/// which is only the default, 1000.
pub fn priority_of_teuthology(lower_is_sooner: i32) -> i32 {
    (URGENT + TEUTHOLOGY_URGENT).saturating_sub(lower_is_sooner)
}

/// What the core has of it: 1 to 1000.
pub fn core_priority(priority: i32) -> Priority {
    let number = priority.clamp(Priority::MIN.into(), Priority::MAX.into());
    u64::try_from(number).ok().and_then(Priority::new).unwrap_or_default()
}

/// Bands of priority that waits are told by, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Band {
    /// Teuthology's 0 to 75.
    Urgent,
    /// 76 to 150.
    High,
    /// 151 to 999.
    Normal,
    /// 1000 and more.
    Low,
}

impl Band {
    /// All, in order.
    pub const ALL: [Band; 4] = [Band::Urgent, Band::High, Band::Normal, Band::Low];

    /// The band of a priority.
    pub fn of(priority: i32) -> Band {
        match priority {
            p if p >= URGENT => Band::Urgent,
            p if p >= priority_of_teuthology(150) => Band::High,
            p if p > priority_of_teuthology(1000) => Band::Normal,
            _ => Band::Low,
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Band::Urgent => "urgent",
            Band::High => "high",
            Band::Normal => "normal",
            Band::Low => "low",
        }
    }
}

/// Classes of width (nodes per job) that waits are told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Width {
    /// 1 or 2 nodes.
    #[serde(rename = "1-2")]
    Narrow,
    /// 3 or 4.
    #[serde(rename = "3-4")]
    Middle,
    /// 5 to 8.
    #[serde(rename = "5-8")]
    Broad,
    /// 9 and more.
    #[serde(rename = "9+")]
    Wide,
}

impl Width {
    /// All, in order.
    pub const ALL: [Width; 4] = [Width::Narrow, Width::Middle, Width::Broad, Width::Wide];

    /// The class of a number of nodes.
    pub fn of(nodes: u32) -> Width {
        match nodes {
            0..=2 => Width::Narrow,
            3..=4 => Width::Middle,
            5..=8 => Width::Broad,
            _ => Width::Wide,
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Width::Narrow => "1-2",
            Width::Middle => "3-4",
            Width::Broad => "5-8",
            Width::Wide => "9+",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teuthologys_direction_is_turned_round_and_its_bands_keep_their_edges() {
        let bands =
            [0, 75, 76, 150, 151, 999, 1000, 2000].map(|p| Band::of(priority_of_teuthology(p)).name());
        assert_eq!(bands, ["urgent", "urgent", "high", "high", "normal", "normal", "low", "low"]);
        assert!(priority_of_teuthology(50) > priority_of_teuthology(1000));
    }

    #[test]
    fn what_is_urgent_to_teuthology_and_nothing_else_is_urgent_to_the_core() {
        let core = [-100, 0, 75, 76, 100, 974, 1000, 2000].map(|p| core_priority(priority_of_teuthology(p)));
        assert_eq!(core.map(Priority::number), [1000, 975, 900, 899, 875, 1, 1, 1]);
        assert_eq!(core.map(Priority::is_urgent), [true, true, true, false, false, false, false, false]);
    }

    #[test]
    fn widths_have_the_edges_of_the_reference() {
        assert_eq!(
            [1, 2, 3, 4, 5, 8, 9, 51].map(|n| Width::of(n).name()).join(" "),
            "1-2 1-2 3-4 3-4 5-8 5-8 9+ 9+"
        );
    }
}
