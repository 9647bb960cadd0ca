//! Watches of the model: a place in the history for each range.

use super::Shared;
use crate::port::{Change, KeyRange, Revision, StoreError, Watch, WatchItem, WatchLost};
use async_trait::async_trait;
use std::sync::Arc;

pub(super) fn open(
    shared: Arc<Shared>,
    ranges: Vec<KeyRange>,
    from: Revision,
) -> Result<Box<dyn Watch>, StoreError> {
    if ranges.is_empty() || from <= 0 {
        return Err(StoreError::Refused("a watch needs a range and a revision to start from".to_owned()));
    }
    let changed = shared.changed.subscribe();
    let progress_seen = shared.lock().progress_sent();
    let places = ranges.into_iter().map(|range| (range, from)).collect();
    Ok(Box::new(MemoryWatch { shared, changed, places, progress_seen, lost: None }))
}

struct MemoryWatch {
    shared: Arc<Shared>,
    changed: tokio::sync::watch::Receiver<u64>,
    /// Each range with the first revision that it has not yet delivered.
    places: Vec<(KeyRange, Revision)>,
    progress_seen: u64,
    lost: Option<WatchLost>,
}

#[async_trait]
impl Watch for MemoryWatch {
    async fn next(&mut self) -> WatchItem {
        loop {
            if let Some(lost) = &self.lost {
                return WatchItem::Lost(lost.clone());
            }
            self.changed.borrow_and_update();
            if let Some(item) = self.step() {
                return item;
            }
            if self.changed.changed().await.is_err() {
                self.lost = Some(WatchLost::Disconnected("store dropped".to_owned()));
            }
        }
    }
}

impl MemoryWatch {
    fn step(&mut self) -> Option<WatchItem> {
        let state = self.shared.lock();
        for (range, next) in &mut self.places {
            if *next < state.compacted() {
                let lost = WatchLost::Compacted(state.compacted());
                self.lost = Some(lost.clone());
                return Some(WatchItem::Lost(lost));
            }
            let changes = state.changes(range, *next);
            *next = (*next).max(state.revision() + 1);
            let last = changes.last().map(|change| match change {
                Change::Put(kv) => kv.mod_revision,
                Change::Delete { revision, .. } => *revision,
            });
            if let Some(revision) = last {
                return Some(WatchItem::Changes { changes, revision });
            }
        }
        if self.progress_seen < state.progress_sent() {
            self.progress_seen = state.progress_sent();
            return Some(WatchItem::Progress(state.revision()));
        }
        None
    }
}
