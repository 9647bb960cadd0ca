//! One watch stream with a watcher for each range.
//!
//! A watch that says nothing may be idle or dead, so silence is never trusted: after [`QUIET`] the member is asked for a sign of
//! life, and after [`SILENT`] the watch is lost. The connection's own keep-alive ends it sooner where the member is frozen.

use super::endpoint::Endpoints;
use super::error::Failure;
use super::{CALL_TIMEOUT, convert};
use crate::port::{Change, KeyRange, Revision, StoreError, Watch, WatchItem, WatchLost};
use async_trait::async_trait;
use etcd_client::{Event, EventType, WatchOptions, WatchResponse, WatchStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Silence after which a sign of life is asked for.
const QUIET: Duration = Duration::from_secs(2);
/// Silence after which the watch is lost. A loaded member was seen to answer within 0.3 s.
const SILENT: Duration = Duration::from_secs(6);
/// What etcd puts as watcher id on the answer to a request for progress.
const ALL_WATCHERS: i64 = -1;

pub(super) async fn open(
    endpoints: Arc<Endpoints>,
    ranges: Vec<KeyRange>,
    from: Revision,
) -> Result<Box<dyn Watch>, StoreError> {
    if ranges.is_empty() || from <= 0 {
        return Err(StoreError::Refused("a watch needs a range and a revision to start from".to_owned()));
    }
    let (index, endpoint) = endpoints.preferred();
    let opened = timeout(CALL_TIMEOUT, async {
        let mut ranges = (1..).zip(&ranges);
        let first = ranges.next().map(|(id, range)| (options(id, range, from), range.start.as_str()));
        let (first, start) = first.expect("checked above");
        let mut stream = endpoint.watch().watch(start, Some(first)).await?;
        for (id, range) in ranges {
            stream.watch(range.start.as_str(), Some(options(id, range, from))).await?;
        }
        Ok(stream)
    });
    let stream = match opened.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => match Failure::of(error) {
            Failure::Refused(error) => return Err(error),
            Failure::NotSent(why) | Failure::NoAnswer(why) => {
                return Err(StoreError::Unavailable(endpoints.failed(index, &why)));
            }
        },
        Err(_) => return Err(StoreError::Unavailable(endpoints.failed(index, "watch not opened in time"))),
    };
    let heard = Instant::now();
    Ok(Box::new(EtcdWatch {
        endpoints,
        index,
        stream,
        shown: vec![from - 1; ranges.len()],
        heard,
        asked: false,
        lost: None,
    }))
}

/// Without `fragment`: the changes of one revision arrive in one message.
fn options(id: i64, range: &KeyRange, from: Revision) -> WatchOptions {
    WatchOptions::new()
        .with_range(range.end.as_str())
        .with_start_revision(from)
        .with_progress_notify()
        .with_watch_id(id)
}

struct EtcdWatch {
    endpoints: Arc<Endpoints>,
    index: usize,
    stream: WatchStream,
    /// For each range, the revision up to which everything has been delivered.
    shown: Vec<Revision>,
    heard: Instant,
    asked: bool,
    lost: Option<WatchLost>,
}

#[async_trait]
impl Watch for EtcdWatch {
    async fn next(&mut self) -> WatchItem {
        loop {
            if let Some(lost) = &self.lost {
                return WatchItem::Lost(lost.clone());
            }
            let wait = if self.asked { SILENT } else { QUIET };
            match timeout_at(self.heard + wait, self.stream.message()).await {
                Ok(Ok(Some(message))) => {
                    self.heard = Instant::now();
                    self.asked = false;
                    if let Some(item) = self.take(&message) {
                        return item;
                    }
                }
                Ok(Ok(None)) => self.disconnect("stream ended"),
                Ok(Err(error)) => self.disconnect(&error.to_string()),
                Err(_) if self.asked => self.disconnect("no sign of life"),
                Err(_) => match timeout_at(self.heard + SILENT, self.stream.request_progress()).await {
                    Ok(Ok(())) => self.asked = true,
                    Ok(Err(error)) => self.disconnect(&error.to_string()),
                    Err(_) => self.disconnect("no sign of life"),
                },
            }
        }
    }
}

impl EtcdWatch {
    fn take(&mut self, message: &WatchResponse) -> Option<WatchItem> {
        if message.canceled() {
            let compacted = message.compact_revision();
            if compacted > 0 {
                self.lost = Some(WatchLost::Compacted(compacted));
            } else {
                self.disconnect(&format!("watch canceled: {}", message.cancel_reason()));
            }
            return None;
        }
        if message.created() {
            return None;
        }
        if message.watch_id() == ALL_WATCHERS {
            // Its header may run ahead of changes that are still to come (etcd before 3.4.25 and 3.5.8): a sign of life, no more.
            return Some(self.progress());
        }
        let range = usize::try_from(message.watch_id() - 1).ok()?;
        let changes: Vec<Change> = message.events().iter().filter_map(change).collect();
        let shown = self.shown.get_mut(range)?;
        let Some(revision) = changes.last().map(revision_of) else {
            *shown = (*shown).max(convert::revision(message.header()));
            return Some(self.progress());
        };
        *shown = (*shown).max(revision);
        Some(WatchItem::Changes { changes, revision })
    }

    fn progress(&self) -> WatchItem {
        WatchItem::Progress(self.shown.iter().copied().min().unwrap_or(0))
    }

    fn disconnect(&mut self, why: &str) {
        let why = self.endpoints.failed(self.index, why);
        self.lost = Some(WatchLost::Disconnected(why));
    }
}

fn change(event: &Event) -> Option<Change> {
    let kv = event.kv()?;
    Some(match event.event_type() {
        EventType::Put => Change::Put(convert::key_value(kv.clone())),
        EventType::Delete => {
            Change::Delete { key: convert::text(kv.key().to_vec()), revision: kv.mod_revision() }
        }
    })
}

fn revision_of(change: &Change) -> Revision {
    match change {
        Change::Put(kv) => kv.mod_revision,
        Change::Delete { revision, .. } => *revision,
    }
}
