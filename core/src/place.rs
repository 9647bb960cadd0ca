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
    /// How far before (below 0) or behind the task whose place this is otherwise; 0 of all that nobody has moved.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub step: i32,
}

/// Between a place and the one that is next to it, so that others find room between them later.
const STRIDE: i32 = 1 << 16;

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

    /// The place right before it, where `others` are the steps of those that were moved to the same place already. (Where there is no room left, after sixteen
    /// moves into the same gap, or between two who did not know of each other, ids say who is first.)
    pub fn before(self, others: &[i32]) -> Place {
        let below = self.occupied(others).filter(|step| *step < self.step).max();
        Place {
            step: below.map_or(self.step.saturating_sub(STRIDE), |below| {
                below.saturating_add(half(below, self.step))
            }),
            ..self
        }
    }

    /// The place right behind it.
    pub fn behind(self, others: &[i32]) -> Place {
        let above = self.occupied(others).filter(|step| *step > self.step).min();
        Place {
            step: above.map_or(self.step.saturating_add(STRIDE), |above| {
                above.saturating_sub(half(self.step, above))
            }),
            ..self
        }
    }

    /// Nobody is between whose place it is otherwise and who was moved there.
    fn occupied(self, others: &[i32]) -> impl Iterator<Item = i32> {
        others.iter().copied().chain([0])
    }

    /// Whether both are the place of the same task, or steps from it.
    pub fn is_beside(self, other: Place) -> bool {
        Place { step: 0, ..self } == Place { step: 0, ..other }
    }
}

/// Half of the gap, rounded down: where there is none left, one is at the far end of it, on the right side of the other still.
fn half(low: i32, high: i32) -> i32 {
    ((i64::from(high) - i64::from(low)) / 2) as i32
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
            assert!(other < at.before(&[]) && at.before(&[]) < at && at < at.behind(&[]));
        }
        for other in [place(7, 5, 4), place(7, 6, 0), place(8, 0, 0)] {
            assert!(at.behind(&[]) < other);
        }
    }

    #[test]
    fn what_is_moved_next_to_another_is_next_to_it_whoever_was_moved_there_before() {
        let at = Place { rank: Rank::default(), revision: 5, seq: 3, step: 0 };
        let mut order = vec![at];
        let steps = |order: &[Place]| order.iter().map(|place| place.step).collect::<Vec<_>>();
        for (index, before) in
            [(0, true), (0, true), (1, true), (1, false), (4, false), (4, true), (0, false)]
        {
            let to = order[index];
            let new = if before { to.before(&steps(&order)) } else { to.behind(&steps(&order)) };
            order.insert(index + usize::from(!before), new);
            assert!(order.is_sorted_by(|one, other| one < other), "{order:?}");
        }
        // So many find room in one gap; then it is no more than the right side.
        let mut low = at.before(&[]);
        for _ in 0..16 {
            let next = low.behind(&[]);
            assert!(low < next && next < at);
            low = next;
        }
        assert!(low.behind(&[]) > low && low.behind(&[low.step]) <= at);
    }
}
