//! Policies by the names that people type: `workers`, `dispatcher`, `dispatcher:60`, `easy`, `easy:100`, `shoal`.

use super::{Policy, dispatcher, easy, shoal, workers};
use crate::job::SECOND_MS;
use std::str::FromStr;

/// The serial cost of the reference's dispatcher.
const COST_S: u32 = 5;

/// A policy and its parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// Teuthology's old workers.
    Workers,
    /// Teuthology's dispatcher; c in seconds.
    Dispatcher(u32),
    /// EASY backfill; points of aging an hour.
    Easy(u32),
    /// What Shoal ships: the core's own plan.
    Shoal,
}

/// The text names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wanted workers, dispatcher[:SECONDS], easy[:POINTS-PER-HOUR] or shoal, was {0:?}")]
pub struct UnknownPolicy(String);

impl FromStr for Named {
    type Err = UnknownPolicy;
    fn from_str(text: &str) -> Result<Named, UnknownPolicy> {
        let unknown = || UnknownPolicy(text.to_owned());
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number.parse::<u32>().map_err(|_| unknown())?)),
            None => (text, None),
        };
        match (name, number) {
            ("workers", None) => Ok(Named::Workers),
            ("dispatcher", cost_s) => Ok(Named::Dispatcher(cost_s.unwrap_or(COST_S))),
            ("easy", points) => Ok(Named::Easy(points.unwrap_or(0))),
            ("shoal", None) => Ok(Named::Shoal),
            _ => Err(unknown()),
        }
    }
}

/// What all policies share.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// R: nodes that jobs leave free for people.
    pub reserve: u32,
    /// W of the worker model.
    pub workers: u32,
}

impl Named {
    /// The policy with nothing queued; `seed` is for those that draw lots.
    pub fn build(self, setting: Setting, seed: u64) -> Box<dyn Policy> {
        let Setting { reserve, workers } = setting;
        match self {
            Named::Workers => {
                Box::new(workers::Workers::new(workers::Params { workers, reserve, job_ms_max: None }, seed))
            }
            Named::Dispatcher(cost_s) => {
                let cost_ms = u64::from(cost_s) * SECOND_MS;
                Box::new(dispatcher::Dispatcher::new(dispatcher::Params { cost_ms, reserve }))
            }
            Named::Easy(points_per_hour) => {
                Box::new(easy::Easy::new(easy::Params { reserve, points_per_hour }))
            }
            Named::Shoal => Box::new(shoal::Shoal::new(reserve)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_others_refused() {
        assert_eq!("dispatcher".parse(), Ok(Named::Dispatcher(5)));
        assert_eq!("easy:100".parse(), Ok(Named::Easy(100)));
        assert!(["", "fifo", "workers:3", "easy:x"].iter().all(|text| text.parse::<Named>().is_err()));
    }
}
