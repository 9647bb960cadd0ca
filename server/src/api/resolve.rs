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
/// Ids read at once in a search.
const SEARCH_PAGE: usize = 10_000;
/// Ids that a search reads at most, newest first.
const SEARCH_IDS_MAX: usize = 500_000;
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
    if candidates.len() < 2 && !(candidates.len() == 1 && prefix.len() == SHORT_DIGITS) {
        search(service, &prefix, &mut candidates).await?;
    }
    match candidates.as_slice() {
        [] => Err(ApiError::NoTask { task: text.to_owned() }),
        [one] => Ok(*one),
        _ => Err(ApiError::Ambiguous { prefix, candidates }),
    }
}

/// Adds tasks that the view does not have, the ended ones: their ids are read from the store, newest first. A whole short form ends the search at
/// its first page with a match, because an older task with all eight digits equal is not to be expected.
async fn search(service: &Service, prefix: &str, found: &mut Vec<TaskId>) -> Result<(), ApiError> {
    let _one_at_a_time = service.searches.acquire().await.map_err(|_| ApiError::Stopping)?;
    let mut range = key::records();
    let mut options = ListOptions {
        limit: SEARCH_PAGE,
        descending: true,
        projection: Projection::KeysOnly,
        ..ListOptions::default()
    };
    for _ in 0..SEARCH_IDS_MAX / SEARCH_PAGE {
        let page = service.api.store.list(range.clone(), options.clone()).await?;
        options.revision = Some(page.revision);
        for kv in &page.kvs {
            let Ok(Key::Task(id)) = Key::parse(&kv.key) else { continue };
            if id.short().starts_with(prefix) && !found.contains(&id) {
                found.push(id);
            }
        }
        let enough = found.len() >= CANDIDATES_MAX || (!found.is_empty() && prefix.len() == SHORT_DIGITS);
        match page.kvs.last() {
            Some(last) if page.more && !enough => range.end.clone_from(&last.key),
            Some(_) | None => break,
        }
    }
    found.truncate(CANDIDATES_MAX);
    Ok(())
}
