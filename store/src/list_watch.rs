//! List at revision R, watch from R + 1, and list again whenever the watch is lost: the only way to follow the store.
//!
//! Invariant: the last snapshot with all changes after it applied in the order of delivery is, for each range, the state of that range at
//! the revision last delivered for it. What a folder keeps from before a snapshot is void.

use crate::port::{
    Change, KeyRange, KeyValue, ListOptions, Revision, Store, StoreError, Watch, WatchItem, WatchLost,
};
use futures::future::BoxFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Sleep;

/// Wait after the first failure; doubled with each that follows, up to [`BACKOFF_MAX`].
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest wait between two tries: what a node adds at most to the time in which it notices that the store is back.
pub const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// What following says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowItem {
    /// All keys of the ranges at this revision: forget everything and begin from these.
    Snapshot {
        /// In the order of the ranges, each range in key order.
        kvs: Vec<KeyValue>,
        /// The revision that they show.
        revision: Revision,
    },
    /// Changes since, of one range, in revision order.
    Changes {
        /// Never empty.
        changes: Vec<Change>,
        /// The revision of the last of them.
        revision: Revision,
    },
    /// Nothing up to this revision remains to be delivered: a sign of life.
    Progress(Revision),
    /// Not following at present, because of this; a snapshot follows when the store can be reached again. What is known grows stale.
    Interrupted(String),
}

type Started = (Vec<KeyValue>, Revision, Box<dyn Watch>);

enum State {
    /// Lists and opens the watch. Kept here and not in `next`, so that a caller who drops `next` again and again loses no work.
    Starting(BoxFuture<'static, Result<Started, StoreError>>),
    Watching(Box<dyn Watch>),
    Waiting(Pin<Box<Sleep>>),
}

/// Follows some ranges of a store for ever.
pub struct Follow {
    store: Arc<dyn Store>,
    ranges: Vec<KeyRange>,
    state: State,
    backoff: Duration,
}

impl Follow {
    /// Begins with a snapshot of these ranges (at least one).
    pub fn new(store: Arc<dyn Store>, ranges: Vec<KeyRange>) -> Follow {
        let state = State::Starting(start(store.clone(), ranges.clone()));
        Follow { store, ranges, state, backoff: BACKOFF_MIN }
    }

    /// Lists everything anew: the next item is a snapshot (or an interruption). For the periodic reconcile behind the watch.
    pub fn resync(&mut self) {
        self.state = State::Starting(start(self.store.clone(), self.ranges.clone()));
    }

    /// The next item. Safe to drop and call again (a `select!` arm).
    pub async fn next(&mut self) -> FollowItem {
        loop {
            match &mut self.state {
                State::Starting(starting) => match starting.await {
                    Ok((kvs, revision, watch)) => {
                        self.state = State::Watching(watch);
                        return FollowItem::Snapshot { kvs, revision };
                    }
                    Err(error) => return self.interrupt(error.to_string()),
                },
                State::Watching(watch) => match watch.next().await {
                    WatchItem::Changes { changes, revision } => {
                        self.backoff = BACKOFF_MIN;
                        return FollowItem::Changes { changes, revision };
                    }
                    WatchItem::Progress(revision) => {
                        self.backoff = BACKOFF_MIN;
                        return FollowItem::Progress(revision);
                    }
                    WatchItem::Lost(lost) => return self.interrupt(describe(&lost)),
                },
                State::Waiting(sleep) => {
                    sleep.await;
                    self.resync();
                }
            }
        }
    }

    /// Back-off is reset by an item of a watch alone: where each new watch is lost at once, lists would follow each other without pause.
    fn interrupt(&mut self, why: String) -> FollowItem {
        tracing::warn!(why, retry_ms = self.backoff.as_millis(), "not following the store at present");
        self.state = State::Waiting(Box::pin(tokio::time::sleep(self.backoff)));
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        FollowItem::Interrupted(why)
    }
}

fn describe(lost: &WatchLost) -> String {
    format!("watch lost: {lost}")
}

/// All ranges at one revision, and the watch that begins right behind it.
fn start(store: Arc<dyn Store>, ranges: Vec<KeyRange>) -> BoxFuture<'static, Result<Started, StoreError>> {
    Box::pin(async move {
        let mut kvs = Vec::new();
        let mut revision = None;
        for range in &ranges {
            let options = ListOptions { revision, ..ListOptions::default() };
            let listing = store.list(range.clone(), options).await?;
            revision = Some(listing.revision);
            kvs.extend(listing.kvs);
        }
        let revision = revision.ok_or_else(|| StoreError::Refused("no range to follow".to_owned()))?;
        let watch = store.watch(ranges, revision + 1).await?;
        Ok((kvs, revision, watch))
    })
}
