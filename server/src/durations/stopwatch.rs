//! Measures the attempts of this node, from the execution of their program to their end, by the node's boot-time clock.
//!
//! An attempt whose start this server has not heard of (the one before it has, or the connection to the runner was gone) is not measured. Holds as many
//! times as the node has attempts.

use shoal_core::event::{Decision, Event};
use shoal_core::id::AttemptId;
use shoal_core::task::{Exit, ExitHow, TaskState};
use shoal_core::time::BootMs;
use shoal_core::transition::Transition;
use std::collections::HashMap;

#[derive(Clone, Copy, Debug)]
enum Time {
    StartedAt(BootMs),
    TookMs(u64),
}

/// The times of attempts whose end is not recorded yet.
#[derive(Debug, Default)]
pub struct Stopwatch {
    times: HashMap<AttemptId, Time>,
}

impl Stopwatch {
    /// Its program was executed now.
    pub fn started(&mut self, attempt: AttemptId, now: BootMs) {
        self.times.insert(attempt, Time::StartedAt(now));
    }

    /// It ended now.
    pub fn ended(&mut self, attempt: AttemptId, now: BootMs) {
        if let Some(time) = self.times.get_mut(&attempt)
            && let Time::StartedAt(at) = *time
        {
            *time = Time::TookMs(now.since(at));
        }
    }

    /// Its end is recorded, or nobody wants it.
    pub fn forget(&mut self, attempt: AttemptId) {
        self.times.remove(&attempt);
    }

    /// Nothing that was measured counts any more: the node is another.
    pub fn clear(&mut self) {
        self.times.clear();
    }

    /// A run that teaches: its name, and how long it took. The store's word counts, so a task that somebody canceled does not, even where its
    /// process then said that all is well.
    pub fn lesson<'a>(&self, event: &'a Event) -> Option<(&'a str, u64)> {
        let Event::Decided { transition: Transition::Finish { attempt, .. }, decision, .. } = event else {
            return None;
        };
        let Decision::Committed { task, .. } = decision else { return None };
        let TaskState::Complete { exit: Exit { how: ExitHow::Code(0), .. } } = task.state else {
            return None;
        };
        match self.times.get(&AttemptId { task: task.id, number: *attempt }) {
            Some(Time::TookMs(ms)) => Some((&task.spec.name, *ms)),
            Some(Time::StartedAt(_)) | None => None,
        }
    }
}
