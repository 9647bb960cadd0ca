//! Watch: first the present state of each task named, then every change. The stream ends when all tasks named have ended.
//!
//! It subscribes before it reads, so no change falls between; what it reads twice it sends once, by the record's revision. Nothing is
//! gathered for a client that does not read: the stream works only when it is asked for the next event, and a client that falls
//! behind the channel gets the present states again, or the end of the stream where it watches everything.

use super::error::ApiError;
use super::{ResponseStream, Service, records, resolve};
use crate::seam::TaskChanged;
use shoal_core::id::TaskId;
use shoal_core::task::Task;
use shoal_proto::convert::limits;
use shoal_proto::convert::task::task_to_wire;
use shoal_proto::v1;
use shoal_store::port::Revision;
use shoal_store::record::Stored;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, Interval, interval_at};

/// Changes that one read answers.
const CHANGES_AT_ONCE: usize = 256;
/// The slow reconcile: the tasks named are read again, in case a change was never told.
const RECONCILE: Duration = Duration::from_secs(10);

/// Begins a watch.
pub async fn watch(
    service: Arc<Service>,
    request: v1::WatchRequest,
) -> Result<ResponseStream<v1::WatchEvent>, ApiError> {
    let (count, max) = (request.tasks.len() as u64, limits::WATCHED_TASKS.max);
    if count > max {
        return Err(ApiError::field("tasks", format!("must be at most {max} tasks, was {count}")));
    }
    let changes = service.api.changes.subscribe();
    let mut watcher = Watcher::new(service, changes);
    if !request.tasks.is_empty() {
        watcher.name(&request.tasks).await?;
    }
    let events = futures::stream::unfold(Some(watcher), |watcher| async move {
        let mut watcher = watcher?;
        match watcher.next().await {
            Ok(Some(event)) => Some((Ok(event), Some(watcher))),
            Ok(None) => None,
            Err(error) => Some((Err(error.into()), None)),
        }
    });
    Ok(Box::pin(events))
}

struct Watcher {
    service: Arc<Service>,
    changes: broadcast::Receiver<TaskChanged>,
    reconcile: Interval,
    /// The tasks named that have not ended, with the last revision sent; `None` when all tasks are watched.
    open: Option<HashMap<TaskId, Revision>>,
    ready: VecDeque<v1::WatchEvent>,
}

impl Watcher {
    fn new(service: Arc<Service>, changes: broadcast::Receiver<TaskChanged>) -> Watcher {
        let reconcile = interval_at(Instant::now() + RECONCILE, RECONCILE);
        Watcher { service, changes, reconcile, open: None, ready: VecDeque::new() }
    }

    /// Watches these tasks alone, and makes their present states ready.
    async fn name(&mut self, tasks: &[String]) -> Result<(), ApiError> {
        let mut named = HashMap::new();
        for text in tasks {
            // Revision 1 is the store's first: a record as the nearest replica has it will do, if it has one at all.
            named.insert(resolve::id(&self.service, text).await?, 1);
        }
        let found = records::read_since(&*self.service.api.store, &named).await?;
        let open: HashMap<TaskId, Revision> = found.iter().map(|stored| (stored.value.id, 0)).collect();
        if let Some(absent) = named.into_keys().find(|task| !open.contains_key(task)) {
            return Err(ApiError::NoTask { task: absent.to_string() });
        }
        self.open = Some(open);
        found.into_iter().for_each(|stored| self.tell(stored));
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<v1::WatchEvent>, ApiError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.open.as_ref().is_some_and(HashMap::is_empty) {
                return Ok(None);
            }
            let changed = tokio::select! {
                () = self.service.api.shutdown.cancelled() => return Err(ApiError::Stopping),
                change = self.changes.recv() => Some(change),
                _ = self.reconcile.tick() => None,
            };
            let (told, lagged) = match changed {
                Some(Ok(change)) => self.gather(change),
                Some(Err(RecvError::Closed)) => return Err(ApiError::Stopping),
                Some(Err(RecvError::Lagged(_))) => (HashMap::new(), true),
                None => (self.open.clone().unwrap_or_default(), false),
            };
            let wanted = match &self.open {
                None if lagged => return Err(ApiError::WatchLagged),
                Some(open) if lagged => open.clone(),
                None | Some(_) => told,
            };
            let found = records::read_since(&*self.service.api.store, &wanted).await?;
            found.into_iter().for_each(|stored| self.tell(stored));
        }
    }

    /// The changes that have come by now and concern this watch, each task with its newest revision; and whether some were lost.
    fn gather(&mut self, first: TaskChanged) -> (HashMap<TaskId, Revision>, bool) {
        let mut wanted = HashMap::new();
        let mut next = Ok(first);
        while let Ok(change) = next {
            if self.open.as_ref().is_none_or(|open| open.contains_key(&change.task)) {
                let newest = wanted.entry(change.task).or_insert(change.revision);
                *newest = change.revision.max(*newest);
            }
            if wanted.len() >= CHANGES_AT_ONCE {
                return (wanted, false);
            }
            next = self.changes.try_recv();
        }
        (wanted, matches!(next, Err(TryRecvError::Lagged(_))))
    }

    /// Makes an event of a record, unless it has been sent.
    fn tell(&mut self, stored: Stored<Task>) {
        let (task, revision) = (&stored.value, stored.mod_revision);
        let mut wire = task_to_wire(task, revision);
        match &mut self.open {
            None => wire.spec = None,
            Some(open) => match open.get_mut(&task.id) {
                Some(sent) if *sent < revision => *sent = revision,
                Some(_) | None => return,
            },
        }
        if let Some(open) = self.open.as_mut().filter(|_| task.state.is_terminal()) {
            open.remove(&task.id);
        }
        self.ready.push_back(v1::WatchEvent { task: Some(wire), revision });
    }
}
