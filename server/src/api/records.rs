//! Reads task records for the other modules. Every answer carries the revision of the record's last change.

use super::error::ApiError;
use futures::stream::{self, StreamExt, TryStreamExt};
use shoal_core::id::TaskId;
use shoal_core::task::Task;
use shoal_store::key::Key;
use shoal_store::port::{KeyRange, KeyValue, ListOptions, Revision, Store, StoreError};
use shoal_store::record::{RecordError, Stored, decode_kv};
use std::collections::HashMap;

/// Keys of one stale read; keeps the reply below the store's message limit for ordinary records.
const READ_MANY_MAX: usize = 100;
/// Single reads under way at once.
const READS_AT_ONCE: usize = 32;

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        match error {
            StoreError::NoSpace => ApiError::StoreFull,
            StoreError::Compacted(_) => ApiError::PageTokenStale,
            StoreError::Unavailable(why) | StoreError::Unknown(why) => ApiError::StoreUnavailable(why),
            StoreError::LeaseNotFound | StoreError::TooLarge(_) | StoreError::Refused(_) => {
                ApiError::Internal(error.to_string())
            }
        }
    }
}

impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> ApiError {
        ApiError::Internal(error.to_string())
    }
}

/// One task as it is now (linearizable).
pub async fn read(store: &dyn Store, task: TaskId) -> Result<Option<Stored<Task>>, ApiError> {
    let (kv, _) = store.get(&Key::Task(task).to_string()).await?;
    decode(kv.as_ref())
}

/// One task as it was at `revision`.
pub async fn read_at(
    store: &dyn Store,
    task: TaskId,
    revision: Revision,
) -> Result<Option<Stored<Task>>, ApiError> {
    let key = Key::Task(task).to_string();
    let range = KeyRange { end: format!("{key}\0"), start: key };
    let options = ListOptions { revision: Some(revision), limit: 1, ..ListOptions::default() };
    decode(store.list(range, options).await?.kvs.first())
}

/// Tasks with, for each, a revision that the answer must at least show; those that do not exist are left out. Cheap: reads the nearest
/// replica, and the whole store only for what that does not have yet.
pub async fn read_since(
    store: &dyn Store,
    wanted: &HashMap<TaskId, Revision>,
) -> Result<Vec<Stored<Task>>, ApiError> {
    let all: Vec<(TaskId, Revision)> = wanted.iter().map(|(task, revision)| (*task, *revision)).collect();
    let mut found = Vec::with_capacity(all.len());
    for part in all.chunks(READ_MANY_MAX) {
        let keys: Vec<String> = part.iter().map(|(task, _)| Key::Task(*task).to_string()).collect();
        let kvs = store.get_many_stale(&keys).await?;
        let reads = part.iter().zip(kvs).map(|((task, least), kv)| read_unless(store, *task, *least, kv));
        let reads: Vec<_> = reads.collect();
        let read: Vec<_> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        found.extend(read.into_iter().flatten());
    }
    found.sort_by_key(|stored| stored.mod_revision);
    Ok(found)
}

/// What the nearest replica had, where that is new enough.
async fn read_unless(
    store: &dyn Store,
    task: TaskId,
    least: Revision,
    had: Option<KeyValue>,
) -> Result<Option<Stored<Task>>, ApiError> {
    match had {
        Some(kv) if kv.mod_revision >= least => decode(Some(&kv)),
        Some(_) | None => read(store, task).await,
    }
}

fn decode(kv: Option<&KeyValue>) -> Result<Option<Stored<Task>>, ApiError> {
    Ok(kv.map(decode_kv).transpose()?)
}
