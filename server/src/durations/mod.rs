//! What this node knows, and tells, of how long tasks of one name take ([`shoal_core::duration`]).
//!
//! A task gets its expectation when it is submitted, from what the accepting node's watch has brought ([`known`]): no read of the store, and the same
//! for ever after, so that the order of the queue is the same on all nodes. The node on which a task ends measures it ([`stopwatch`]), gathers
//! ([`gather`]) and writes now and then ([`learn`]).
//!
//! Never: delaying or failing the end of a task for it. What cannot be passed on at once is lost, and so is what a server that stops has not written;
//! the next runs teach the same.

pub mod gather;
pub mod known;
pub mod learn;
pub mod stopwatch;

use gather::Pace;
use known::Known;
use learn::Learner;
use shoal_core::clock::Tick;
use shoal_core::duration::seconds_of;
use shoal_store::port::{Change, KeyValue, Store};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Runs waiting to be gathered; what finds it full is lost.
const LESSONS_LEN: usize = 4096;

/// A run that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lesson {
    name: String,
    seconds: u32,
    tick: Tick,
}

/// What is expected of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Seconds that it takes; 0 is nothing known.
    pub seconds: u32,
    /// Runs that this was learned from.
    pub runs: u64,
}

/// What the node knows. Shared by the node loop, which keeps it up to date, the API and the learner.
pub struct Durations {
    known: Mutex<Known>,
    lessons: mpsc::Sender<Lesson>,
}

impl Durations {
    /// Nothing known yet, and the work that must run for what is told here to get into the store.
    pub fn new(
        store: Arc<dyn Store>,
        pace: Pace,
        stop: CancellationToken,
    ) -> (Arc<Durations>, impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (lessons, inbox) = mpsc::channel(LESSONS_LEN);
        let durations = Arc::new(Durations { known: Mutex::default(), lessons });
        let learner = Learner::new(store, durations.clone(), pace);
        (durations, learner.run(inbox, stop))
    }

    /// What a task of this name is expected to take.
    pub fn expected(&self, name: &str) -> Expected {
        self.known().expected(name)
    }

    /// A task of this name took so long, and ended with exit code 0. Never waits.
    pub fn teach(&self, name: &str, took_ms: u64, tick: Tick) {
        // Of tasks without a name nobody knows what they have in common.
        if !name.is_empty() {
            let lesson = Lesson { name: name.to_owned(), seconds: seconds_of(took_ms), tick };
            let _ = self.lessons.try_send(lesson);
        }
    }

    /// Begins anew from a full list.
    pub fn reset(&self, kvs: &[KeyValue]) {
        self.known().reset(kvs);
    }

    /// Folds a change in; of other keys than durations nothing.
    pub fn fold(&self, change: &Change) {
        self.known().fold(change);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is one step, so a panic elsewhere leaves it usable.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
