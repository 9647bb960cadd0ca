//! The queued tasks: by id, and those that may be taken now by shape, each shape's in queue order.
//!
//! Small on purpose: a task is two entries of 64 and 40 bytes; what tasks have in common is kept once, in the line of their shape, which has a number of this
//! view's own (measured: core/benches/plan.rs). Invariant: a queued task that is not held is either in `unripe` or in its line's `orders`, never in both.

use super::line::Line;
use crate::backoff;
use crate::entry::QueueEntry;
use crate::id::TaskId;
use crate::place::Place;
use crate::priority::{Priority, Rank};
use crate::shape::Shape;
use crate::time::BootMs;
use std::collections::{BTreeMap, BTreeSet};

/// Position in the queue: its place (by priority, waiting and cost, then submission's revision, then position in the request, or where somebody has moved it
/// to), then its id. The fields of a place stand here one by one because so they fill 40 bytes, not 48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// By priority, waiting and cost.
    pub rank: Rank,
    /// The store revision of the submission.
    pub revision: i64,
    /// Position inside the request.
    pub seq: u32,
    /// How far somebody has moved it from there.
    pub step: i32,
    /// The task.
    pub task: TaskId,
}

impl Order {
    /// Where it stands.
    pub fn place(self) -> Place {
        let Order { rank, revision, seq, step, task: _ } = self;
        Place { rank, revision, seq, step }
    }
}

/// A queued task.
#[derive(Clone, Debug)]
pub struct Queued {
    place: Place,
    /// When this node first saw the entry.
    pub seen: BootMs,
    /// The line of its shape.
    pub(super) line: u32,
    /// The attempt that is queued; counts from 1.
    pub attempt: u32,
    /// Seconds that it probably takes; 0 is not known.
    pub expected_s: u32,
    /// Its present priority.
    pub priority: Priority,
    /// Somebody wants it not to start.
    pub held: bool,
    /// Somebody has given it its place.
    pub is_moved: bool,
}

impl Queued {
    /// Its place.
    pub fn order(&self, task: TaskId) -> Order {
        let Place { rank, revision, seq, step } = self.place;
        Order { rank, revision, seq, step, task }
    }

    /// When any node may take it.
    pub fn ripe_at(&self) -> BootMs {
        self.seen.plus(backoff::wait_ms(self.attempt))
    }
}

/// The queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub(super) tasks: BTreeMap<TaskId, Queued>,
    numbers: BTreeMap<Shape, u32>,
    pub(super) lines: Vec<Option<Line>>,
    unripe: BTreeSet<(BootMs, TaskId)>,
    ripe: usize,
    /// Those that somebody has moved, held or not.
    pub(super) moved: BTreeSet<Order>,
}

impl Queue {
    /// Puts a task in, or changes it. A task that is there as the same attempt keeps the time at which it was first seen.
    pub(super) fn put(&mut self, task: TaskId, entry: &QueueEntry, created: i64, now: BootMs) {
        let before = self.remove(task).filter(|queued| queued.attempt == entry.attempt);
        let shape = Shape::of(entry);
        let queued = Queued {
            line: self.number(shape),
            place: Place::of(entry, created),
            seen: before.map_or(now, |queued| queued.seen),
            attempt: entry.attempt,
            expected_s: entry.expected_s,
            priority: entry.priority,
            held: entry.held,
            is_moved: entry.moved.is_some(),
        };
        self.link(task, queued);
    }

    /// The number of this shape's line; of a new one, one that is free.
    fn number(&mut self, shape: Shape) -> u32 {
        if let Some(number) = self.numbers.get(&shape) {
            return *number;
        }
        let free = self.lines.iter().position(Option::is_none).unwrap_or(self.lines.len());
        if free == self.lines.len() {
            self.lines.push(None);
        }
        self.lines[free] = Some(Line::new(shape.clone()));
        self.numbers.insert(shape, free as u32);
        free as u32
    }

    fn line_mut(&mut self, number: u32) -> Option<&mut Line> {
        self.lines.get_mut(number as usize)?.as_mut()
    }

    fn link(&mut self, task: TaskId, queued: Queued) {
        if queued.is_moved {
            self.moved.insert(queued.order(task));
        }
        if !queued.held {
            self.unripe.insert((queued.ripe_at(), task));
        }
        if let Some(line) = self.line_mut(queued.line) {
            line.tasks += 1;
        }
        self.tasks.insert(task, queued);
    }

    fn unlink(&mut self, task: TaskId) -> Option<Queued> {
        let queued = self.tasks.remove(&task)?;
        self.moved.remove(&queued.order(task));
        let waits = queued.held || self.unripe.remove(&(queued.ripe_at(), task));
        if let Some(line) = self.line_mut(queued.line) {
            line.tasks -= 1;
            if !waits && line.orders.remove(&queued.order(task)) {
                self.ripe -= 1;
            }
        }
        Some(queued)
    }

    pub(super) fn remove(&mut self, task: TaskId) -> Option<Queued> {
        let queued = self.unlink(task)?;
        if let Some(gone) =
            self.lines.get_mut(queued.line as usize).and_then(|line| line.take_if(|l| l.tasks == 0))
        {
            self.numbers.remove(&gone.shape);
        }
        Some(queued)
    }

    /// The same task was seen earlier, by what this node knew before.
    pub(super) fn seen_before(&mut self, task: TaskId, old: &Queued) {
        if self.tasks.get(&task).is_some_and(|queued| queued.attempt == old.attempt)
            && let Some(queued) = self.unlink(task)
        {
            self.link(task, Queued { seen: old.seen, ..queued });
        }
    }

    /// Lets tasks whose back-off has passed into their lines.
    pub(super) fn ripen(&mut self, now: BootMs) {
        while let Some((at, task)) = self.unripe.first().copied()
            && at <= now
        {
            self.unripe.remove(&(at, task));
            let Some(queued) = self.tasks.get(&task) else { continue };
            let order = queued.order(task);
            if let Some(Some(line)) = self.lines.get_mut(queued.line as usize) {
                self.ripe += usize::from(line.orders.insert(order));
            }
        }
    }

    pub(super) fn next_ripe(&self) -> Option<BootMs> {
        self.unripe.first().map(|(at, _)| *at)
    }

    /// How many may be taken now.
    pub(super) fn ripe(&self) -> usize {
        self.ripe
    }
}
