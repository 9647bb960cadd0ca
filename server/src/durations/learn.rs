//! Writes what was gathered: on top of what the watch has brought, and once more on top of what stands there when somebody was faster. Whatever else goes
//! wrong costs the runs, not the server.

use super::gather::{Gather, Pace};
use super::{Durations, Lesson};
use crate::clock;
use shoal_core::duration::{DurationEntry, Runs};
use shoal_store::learn::{Learned, Removal, Update, learn, read};
use shoal_store::port::Store;
use shoal_store::record::Stored;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Lessons taken up in a row.
const BURST: usize = 256;

pub(super) struct Learner {
    store: Arc<dyn Store>,
    durations: Arc<Durations>,
    gather: Gather,
}

impl Learner {
    pub(super) fn new(store: Arc<dyn Store>, durations: Arc<Durations>, pace: Pace) -> Learner {
        Learner { store, durations, gather: Gather::new(pace) }
    }

    /// Runs until stopped.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Lesson>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut lessons = Vec::new();
        loop {
            let wait = self.gather.due_at().map(|at| Duration::from_millis(at.since(clock::boot())));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = inbox.recv_many(&mut lessons, BURST) => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
            let now = clock::boot();
            lessons.drain(..).for_each(|lesson| self.gather.add(lesson, now));
            let due = self.gather.due(now);
            if !due.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = self.write(due) => {}
                }
            }
        }
    }

    async fn write(&self, due: Vec<(String, Runs)>) {
        let names: Vec<String> = due.iter().map(|(name, _)| name.clone()).collect();
        let (updates, removals) = {
            let known = self.durations.known();
            let on_top = |(name, runs): &(String, Runs)| update(name, runs, known.stored(name));
            (due.iter().map(on_top).collect::<Vec<_>>(), known.removals(&names))
        };
        let beaten = |(outcome, (name, runs)): (Learned, (String, Runs))| match outcome {
            Learned::Written => None,
            Learned::Beaten(now) => Some(update(&name, &runs, now.as_ref())),
            Learned::Unreadable(error) => {
                tracing::warn!(%error, "not learned");
                None
            }
        };
        let outcomes = self.commit(&updates, &removals).await;
        let again: Vec<Update> = outcomes.into_iter().zip(due).filter_map(beaten).collect();
        if !again.is_empty() {
            self.commit(&again, &[]).await;
        }
    }

    /// What became of each; nothing where that is not known: the runs may be in the store, and are not told twice.
    async fn commit(&self, updates: &[Update], removals: &[Removal]) -> Vec<Learned> {
        let reply = match self.store.txn(learn(updates, removals)).await {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(%error, names = updates.len(), "durations not learned");
                return Vec::new();
            }
        };
        read(updates, &reply).unwrap_or_else(|error| {
            tracing::error!(%error, "durations");
            Vec::new()
        })
    }
}

fn update(name: &str, runs: &Runs, known: Option<&Stored<DurationEntry>>) -> Update {
    let mut entry = known.map(|stored| stored.value.clone()).unwrap_or_default();
    entry.learn(runs);
    Update { name: name.to_owned(), after: known.map_or(0, |stored| stored.mod_revision), entry }
}
