//! Removes copies of other nodes' logs on this node whose task is gone from the store, by the same rule as [`super::attempts`]: nothing whose record may
//! still be there, and the store itself has the last word.

use crate::logs::copies::Copies as Kept;
use crate::logs::name::LogName;
use shoal_core::id::TaskId;
use shoal_store::port::{Store, StoreError};
use std::collections::{BTreeSet, HashSet};
use std::fs::ReadDir;
use std::io;
use std::sync::Arc;

/// Copies looked at in one round.
const ROUND_LEN: usize = 2000;

/// A pass over the copies, kept between rounds.
pub struct Copies {
    store: Arc<dyn Store>,
    kept: Arc<Kept>,
    /// Where the pass is; `None` begins a new one.
    position: Option<ReadDir>,
    /// Those without a record, as the last pass found them, and as this one does: a copy may come before its record's end is seen here.
    missed_before: HashSet<LogName>,
    missed_now: HashSet<LogName>,
}

impl Copies {
    /// A pass that has not begun.
    pub fn new(store: Arc<dyn Store>, kept: Arc<Kept>) -> Copies {
        let (missed_before, missed_now) = Default::default();
        Copies { store, kept, position: None, missed_before, missed_now }
    }

    /// One round; returns how many it removed. An error leaves the round's copies to the next pass.
    pub async fn round(&mut self) -> Result<usize, StoreError> {
        let (kept, position) = (self.kept.clone(), self.position.take());
        let read = tokio::task::spawn_blocking(move || read_some(&kept, position)).await;
        let found = match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok((found, position)) => {
                self.position = position;
                found
            }
            Err(error) => {
                tracing::warn!(%error, dir = %self.kept.dir().display(), "copies of logs not read");
                return Ok(0);
            }
        };
        let tasks: BTreeSet<TaskId> = found.iter().map(|log| log.attempt.task).collect();
        let gone = super::gone(&*self.store, tasks).await?;
        let missed: Vec<LogName> = found.into_iter().filter(|log| gone.contains(&log.attempt.task)).collect();
        let (remove, young): (Vec<_>, Vec<_>) =
            missed.into_iter().partition(|log| self.missed_before.contains(log));
        self.missed_now.extend(young);
        if self.position.is_none() {
            self.missed_before = std::mem::take(&mut self.missed_now);
        }
        let kept = self.kept.clone();
        Ok(tokio::task::spawn_blocking(move || remove_all(&kept, &remove)).await.unwrap_or(0))
    }
}

fn read_some(kept: &Kept, position: Option<ReadDir>) -> io::Result<(Vec<LogName>, Option<ReadDir>)> {
    let mut entries = match position {
        Some(position) => position,
        None => std::fs::read_dir(kept.dir())?,
    };
    let mut found = Vec::new();
    for _ in 0..ROUND_LEN {
        let Some(entry) = entries.next() else { return Ok((found, None)) };
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<LogName>().ok()));
    }
    Ok((found, Some(entries)))
}

fn remove_all(kept: &Kept, logs: &[LogName]) -> usize {
    let remove = |log: &&LogName| match kept.remove(**log) {
        Ok(removed) => removed,
        Err(error) => {
            tracing::warn!(%log, %error, "copy of a log not removed");
            false
        }
    };
    logs.iter().filter(remove).count()
}
