//! Removes directories of attempts (their logs) on this node whose task is gone from the store, a bounded number a round.
//!
//! Never: one that the runner has not let go of (no `done` marker); one whose record may still be there. The replica that is asked
//! first may lag, so the store itself has the last word; and a young directory goes only when two passes in a row found no record.

use shoal_container::record::AttemptDir;
use shoal_core::id::{AttemptId, TaskId};
use shoal_core::time::WallMs;
use shoal_store::port::{Store, StoreError};
use std::collections::{BTreeSet, HashSet};
use std::fs::ReadDir;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Directories looked at in one round: 100,000 take 50 rounds, and one round takes some tens of milliseconds of disk and 20 reads.
pub const ROUND_LEN: usize = 2000;
/// The runner's marker (`shoal_container::record`).
const DONE: &str = "done";

/// A directory that the runner has let go of.
struct Found {
    attempt: AttemptId,
    /// Since when.
    done: WallMs,
}

/// A pass over the directory, kept between rounds.
pub struct Attempts {
    store: Arc<dyn Store>,
    dir: PathBuf,
    keep: Duration,
    /// Where the pass is; `None` begins a new one.
    position: Option<ReadDir>,
    /// Young directories without a record, as the last pass found them, and as this one does.
    missed_before: HashSet<AttemptId>,
    missed_now: HashSet<AttemptId>,
}

impl Attempts {
    /// A pass that has not begun over `dir`. `keep` is how old a directory must be to go at once.
    pub fn new(store: Arc<dyn Store>, dir: PathBuf, keep: Duration) -> Attempts {
        let (missed_before, missed_now) = Default::default();
        Attempts { store, dir, keep, position: None, missed_before, missed_now }
    }

    /// One round; returns how many directories it removed. An error leaves the round's directories to the next pass.
    pub async fn round(&mut self, now: WallMs) -> Result<usize, StoreError> {
        let (dir, position) = (self.dir.clone(), self.position.take());
        let read = move || read_some(&dir, position);
        let found = match tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| Err(io::Error::other(e)))
        {
            Ok((found, position)) => {
                self.position = position;
                found
            }
            Err(error) => {
                tracing::warn!(%error, dir = %self.dir.display(), "attempts not read");
                return Ok(0);
            }
        };
        let tasks: BTreeSet<TaskId> = found.iter().map(|found| found.attempt.task).collect();
        let gone = super::gone(&*self.store, tasks).await?;
        let keep_ms = i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX);
        let mut remove = Vec::new();
        for Found { attempt, done } in found.iter().filter(|found| gone.contains(&found.attempt.task)) {
            let old = now.0.saturating_sub(done.0) > keep_ms;
            if old || self.missed_before.contains(attempt) {
                remove.push(*attempt);
            } else {
                self.missed_now.insert(*attempt);
            }
        }
        if self.position.is_none() {
            self.missed_before = std::mem::take(&mut self.missed_now);
        }
        let dir = self.dir.clone();
        Ok(tokio::task::spawn_blocking(move || remove_all(&dir, &remove)).await.unwrap_or(0))
    }
}

/// The next directories of a pass that the runner has let go of, and where the pass goes on. Blocks for the disk.
fn read_some(dir: &Path, position: Option<ReadDir>) -> io::Result<(Vec<Found>, Option<ReadDir>)> {
    let mut entries = match position {
        Some(position) => position,
        None => std::fs::read_dir(dir)?,
    };
    let mut found = Vec::new();
    for _ in 0..ROUND_LEN {
        let Some(entry) = entries.next() else { return Ok((found, None)) };
        // What does not carry an attempt's name is not ours to touch.
        let attempt = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(attempt.and_then(|attempt| done(dir, attempt)));
    }
    Ok((found, Some(entries)))
}

fn done(dir: &Path, attempt: AttemptId) -> Option<Found> {
    let attempt_dir = AttemptDir::at(dir, &attempt.to_string());
    if !attempt_dir.is_done() {
        return None;
    }
    let modified =
        std::fs::symlink_metadata(attempt_dir.path()).and_then(|metadata| metadata.modified()).ok()?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(Found { attempt, done: WallMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)) })
}

/// Removes them and returns how many went. Blocks for the disk.
fn remove_all(dir: &Path, attempts: &[AttemptId]) -> usize {
    let remove = |attempt: &&AttemptId| match remove(AttemptDir::at(dir, &attempt.to_string()).path()) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%attempt, %error, "attempt not removed");
            false
        }
    };
    attempts.iter().filter(remove).count()
}

/// The marker goes last: without it a restarted runner would take what is left for an attempt that it has to look after.
fn remove(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false if entry.file_name() == DONE => {}
            false => std::fs::remove_file(entry.path())?,
        }
    }
    std::fs::remove_dir_all(path)
}
