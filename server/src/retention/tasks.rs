//! Removes records of tasks that ended before the retention, a slice at a time: one range delete of many keys stops all of etcd's writes
//! for seconds (0.4 s per 100,000 keys measured).

use shoal_core::time::WallMs;
use shoal_store::key::{EndKind, Epoch};
use shoal_store::port::{Store, StoreError};
use shoal_store::retire::{self, Retirement};
use std::sync::Arc;
use std::time::Duration;

/// Status keys listed at once, 100 bytes each. A limited list costs etcd in proportion to the whole range, so not too few.
pub const SLICE_LEN: usize = 1000;

/// What one slice came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Tasks removed.
    pub removed: usize,
    /// Whether there is more to look at now.
    pub more: bool,
}

/// A sweep through everything that has ended, kept between slices.
pub struct Tasks {
    store: Arc<dyn Store>,
    keep: Duration,
    /// Which kind of end comes next, as a position in [`EndKind::ALL`].
    kind: usize,
    /// The last status key looked at: one that could not be removed must not be met again in this sweep.
    after: Option<String>,
}

impl Tasks {
    /// A sweep that has not begun. `keep` is how long a task is kept after its end.
    pub fn new(store: Arc<dyn Store>, keep: Duration) -> Tasks {
        Tasks { store, keep, kind: 0, after: None }
    }

    /// Lists and removes one slice. An error ends the sweep; the next slice begins a new one.
    pub async fn slice(&mut self, now: WallMs) -> Result<Slice, StoreError> {
        match self.try_slice(cut(now, self.keep)).await {
            Ok(removed) => Ok(Slice { removed, more: self.kind != 0 || self.after.is_some() }),
            Err(error) => {
                (self.kind, self.after) = (0, None);
                Err(error)
            }
        }
    }

    async fn try_slice(&mut self, before: Epoch) -> Result<usize, StoreError> {
        let kind = EndKind::ALL[self.kind];
        let (range, options) = retire::slice(kind, before, self.after.as_deref(), SLICE_LEN);
        let listing = self.store.list(range, options).await?;
        let retirements: Vec<Retirement> = listing.kvs.iter().filter_map(Retirement::of).collect();
        let mut removed = 0;
        for txn in retire::batches(&retirements) {
            match self.store.txn(txn).await {
                Ok(reply) => removed += retire::removed(&reply),
                // The keys say in the next sweep whether it was done: to try again is harmless.
                Err(StoreError::Unknown(why)) => tracing::debug!(why, "retirement with unknown outcome"),
                Err(error) => return Err(error),
            }
        }
        self.after = listing.kvs.last().filter(|_| listing.more).map(|kv| kv.key.clone());
        if self.after.is_none() {
            self.kind = (self.kind + 1) % EndKind::ALL.len();
        }
        Ok(removed)
    }
}

/// What ended before this second is past its retention.
fn cut(now: WallMs, keep: Duration) -> Epoch {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    Epoch::of(WallMs(now.0.saturating_sub(keep_ms)))
}
