//! Where a queued task stands, and what happens when somebody moves it: it gets a place of its own, which its priority, waiting and cost say nothing
//! about any more.
//!
//! Persisted in records and queue entries of tasks that were moved: only add fields, with a default.

use crate::charge::Cost;
use crate::entry::QueueEntry;
use crate::priority::Rank;
use crate::shape::Shape;
use crate::time::WallMs;
use serde::{Deserialize, Serialize};

/// A position in the queue; places sort as they are served. Equal on every node: it comes from what the store says alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// By priority, waiting and cost.
    pub rank: Rank,
    /// The store revision of the submission.
    pub revision: i64,
    /// Position inside the request.
    pub seq: u32,
    /// How many steps before (below 0) or behind the task whose place this is otherwise; 0 of all that nobody has moved.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub step: i32,
}

fn is_zero(step: &i32) -> bool {
    *step == 0
}

impl Place {
    /// The place of the task of this entry; `created` is the revision that created the entry, for one that does not know its submission's.
    pub fn of(entry: &QueueEntry, created: i64) -> Place {
        let natural = || {
            let cost = Cost::new(Shape::of(entry).nodes(), entry.expected_s, entry.limit_s);
            Place {
                rank: Rank::of(entry.priority, entry.tick, cost),
                revision: entry.order.unwrap_or(created),
                seq: entry.seq,
                step: 0,
            }
        };
        entry.moved.unwrap_or_else(natural)
    }

    /// The place right before it. (Of two tasks that were moved there one after the other, without either knowing of the other, their ids say who is first.)
    pub fn before(self) -> Place {
        Place { step: self.step.saturating_sub(1), ..self }
    }

    /// The place right behind it.
    pub fn after(self) -> Place {
        Place { step: self.step.saturating_add(1), ..self }
    }
}

/// That somebody has moved a task, in its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Its place since then.
    pub place: Place,
    /// Who.
    pub by: String,
    /// Where to, in words: `first`, `before 1a2b3c4d`.
    pub to: String,
    /// When.
    pub at: WallMs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_lies_between_a_place_and_the_one_before_it() {
        let place = |rank, revision, seq| {
            let rank = serde_json::from_value(serde_json::json!(rank)).unwrap();
            Place { rank, revision, seq, step: 0 }
        };
        let at = place(7, 5, 3);
        for other in [place(6, 9, 9), place(7, 4, 9), place(7, 5, 2)] {
            assert!(other < at.before() && at.before() < at && at < at.after());
        }
        for other in [place(7, 5, 4), place(7, 6, 0), place(8, 0, 0)] {
            assert!(at.after() < other);
        }
        assert!(at.before().before() < at.before());
    }
}
