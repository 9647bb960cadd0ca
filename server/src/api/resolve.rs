//! From what a person typed to a task: a full id, or a prefix of its short form.

use super::Service;
use super::error::ApiError;
use super::records;
use shoal_core::id::TaskId;
use shoal_core::task::Task;
use shoal_store::key::{self, Key};
use shoal_store::port::{ListOptions, Projection};
use shoal_store::record::Stored;
use uuid::Uuid;

/// A shorter prefix would name half the cluster.
const PREFIX_DIGITS_MIN: usize = 4;
/// Digits of a whole short form.
const SHORT_DIGITS: usize = 8;
/// Ids that a search reads, newest first.
const SEARCH_IDS_MAX: usize = 10_000;
/// Candidates that a message names.
const CANDIDATES_MAX: usize = 3;

/// The task that `text` names.
pub async fn task(service: &Service, text: &str) -> Result<Stored<Task>, ApiError> {
    let id = id(service, text).await?;
    let found = records::read(&*service.api.store, id).await?;
    found.ok_or_else(|| ApiError::NoTask { task: text.to_owned() })
}

/// The id that `text` names; a full id is not looked up.
pub async fn id(service: &Service, text: &str) -> Result<TaskId, ApiError> {
    if let Ok(id) = Uuid::parse_str(text) {
        return Ok(TaskId(id));
    }
    let prefix = text.to_ascii_lowercase();
    let is_hex = prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || !(PREFIX_DIGITS_MIN..=SHORT_DIGITS).contains(&prefix.len()) {
        let shown = shoal_proto::convert::check::shown(text);
        let wanted = format!("{PREFIX_DIGITS_MIN} to {SHORT_DIGITS} hexadecimal digits");
        return Err(ApiError::field(
            "task",
            format!("must be a full id or {wanted} of a short one, was {shown}"),
        ));
    }
    let mut candidates = service.api.insight.resolve(&prefix).await;
    if candidates.is_empty() {
        candidates = search(service, &prefix).await?;
    }
    match candidates.as_slice() {
        [] => Err(ApiError::NoTask { task: text.to_owned() }),
        [one] => Ok(*one),
        _ => Err(ApiError::Ambiguous { prefix, candidates }),
    }
}

/// Looks among the newest ids in the store, for a task that this node's view does not have yet.
async fn search(service: &Service, prefix: &str) -> Result<Vec<TaskId>, ApiError> {
    let _one_at_a_time = service.searches.acquire().await.map_err(|_| ApiError::Stopping)?;
    let options = ListOptions {
        limit: SEARCH_IDS_MAX,
        descending: true,
        projection: Projection::KeysOnly,
        ..ListOptions::default()
    };
    let newest = service.api.store.list(key::records(), options).await?;
    let ids = newest.kvs.iter().filter_map(|kv| Key::parse(&kv.key).ok()?.task());
    Ok(ids.filter(|id| id.short().starts_with(prefix)).take(CANDIDATES_MAX).collect())
}
