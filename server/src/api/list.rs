//! List: tasks in pages, all pages at the revision of the first. Without a filter by state it reads the records; with one it reads the status
//! keys, so that the few running tasks among a million ended ones cost little.
//!
//! Bounded: one call reads so many keys and answers so many bytes at most, and then returns a short page with a token.

use super::error::ApiError;
use super::page_token::PageToken;
use super::{Service, records};
use futures::stream::{self, StreamExt, TryStreamExt};
use prost::Message;
use shoal_core::task::Task;
use shoal_proto::convert::check::Check;
use shoal_proto::convert::limits;
use shoal_proto::convert::task::task_to_wire;
use shoal_proto::v1;
use shoal_store::key::{self, EndKind, Key};
use shoal_store::port::{KeyRange, KeyValue, ListOptions, Projection, Revision, Store};
use shoal_store::record::{Stored, decode_kv};
use uuid::Uuid;

/// Keys that one call reads at most: a rare user's tasks among many others' come in short pages.
const SCANNED_KEYS_MAX: usize = 4000;
/// Keys of one read, so that even the largest records stay within the store's message limit.
const READ_KEYS_MAX: usize = 250;
/// Bytes of one answer; gRPC clients take 4 MiB unless told otherwise.
const ANSWER_BYTES_MAX: usize = 3 << 20;
/// Records read at once, when they are read one by one.
const READS_AT_ONCE: usize = 32;

/// One range of keys that a list reads.
struct Source {
    range: KeyRange,
    of_status: bool,
}

/// What has been gathered for the answer.
#[derive(Default)]
struct Page {
    tasks: Vec<v1::Task>,
    bytes: usize,
    scanned: usize,
}

/// Lists tasks.
pub async fn list(service: &Service, request: v1::ListRequest) -> Result<v1::ListResponse, ApiError> {
    let mut check = Check::new();
    let page_size = check.number("page_size", request.page_size.into(), limits::PAGE_SIZE);
    let states = states(&request.states, &mut check);
    check.finish(())?;
    let sources = sources(&states);
    let query = fingerprint(&states, &request);
    let mut at = start(&request, query, &sources)?;
    let mut page = Page::default();
    while at.source < sources.len() {
        let source = &sources[at.source];
        let wanted = usize::try_from(page_size).unwrap_or(usize::MAX) - page.tasks.len();
        let (kvs, more) = read(service, source, &mut at, request.newest_first, wanted, page.scanned).await?;
        page.scanned += kvs.len();
        let stored = records_of(service, source, &kvs, at.revision).await?;
        for (kv, stored) in kvs.iter().zip(stored) {
            if !page.add(stored, &request.user) {
                return Ok(answer(page, Some(at)));
            }
            at.last_key.clone_from(&kv.key);
        }
        if !more {
            at = PageToken { source: at.source + 1, last_key: String::new(), ..at };
        }
        let full = page.tasks.len() as u64 >= page_size || page.scanned >= SCANNED_KEYS_MAX;
        if full && at.source < sources.len() {
            return Ok(answer(page, Some(at)));
        }
    }
    let revision = at.revision;
    Ok(v1::ListResponse { revision, ..answer(page, None) })
}

impl Page {
    /// Takes a task up if it is asked for; `false` when it does not fit and must wait for the next page.
    fn add(&mut self, stored: Option<Stored<Task>>, user: &str) -> bool {
        let wanted = |stored: &Stored<Task>| user.is_empty() || stored.value.spec.user == user;
        let Some(stored) = stored.filter(wanted) else { return true };
        let wire = task_to_wire(&stored.value, stored.mod_revision);
        let bytes = wire.encoded_len();
        if !self.tasks.is_empty() && self.bytes + bytes > ANSWER_BYTES_MAX {
            return false;
        }
        self.bytes += bytes;
        self.tasks.push(wire);
        true
    }
}

fn answer(page: Page, next: Option<PageToken>) -> v1::ListResponse {
    v1::ListResponse {
        tasks: page.tasks,
        revision: next.as_ref().map_or(0, |next| next.revision),
        next_page_token: next.map(|next| next.encode()).unwrap_or_default(),
    }
}

fn states(wire: &[i32], check: &mut Check) -> Vec<v1::State> {
    let mut states = Vec::new();
    for (index, value) in wire.iter().enumerate() {
        match v1::State::try_from(*value) {
            Ok(state) if state != v1::State::Unspecified => states.push(state),
            Ok(_) | Err(_) => {
                check.refuse(format!("states[{index}]"), format!("must be 1 to 5, was {value}"))
            }
        }
        if check.is_full() {
            break;
        }
    }
    states.sort_unstable_by_key(|state| *state as i32);
    states.dedup();
    states
}

fn sources(states: &[v1::State]) -> Vec<Source> {
    let status = |range| Source { range, of_status: true };
    let of_state = |state: &v1::State| match state {
        v1::State::Unspecified => None,
        v1::State::Queued => Some(status(key::queued())),
        v1::State::Running => Some(status(key::running())),
        v1::State::Complete => Some(status(key::ended(EndKind::Complete))),
        v1::State::Canceled => Some(status(key::ended(EndKind::Canceled))),
        v1::State::Failed => Some(status(key::ended(EndKind::Failed))),
    };
    const ALL_STATES: usize = 5;
    if states.is_empty() || states.len() == ALL_STATES {
        return vec![Source { range: key::records(), of_status: false }];
    }
    states.iter().filter_map(of_state).collect()
}

fn fingerprint(states: &[v1::State], request: &v1::ListRequest) -> Uuid {
    let text = format!("{states:?} {:?} {}", request.user, request.newest_first);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())
}

/// Where the request's token stands; revision 0 at the start of a list.
fn start(request: &v1::ListRequest, query: Uuid, sources: &[Source]) -> Result<PageToken, ApiError> {
    if request.page_token.is_empty() {
        return Ok(PageToken { revision: 0, source: 0, last_key: String::new(), query });
    }
    let token = PageToken::decode(&request.page_token, query)?;
    let inside = |source: &Source| token.last_key.is_empty() || source.range.contains(&token.last_key);
    if !sources.get(token.source).is_some_and(inside) {
        return Err(ApiError::field("page_token", "must be a next_page_token as it was returned"));
    }
    Ok(token)
}

/// The next keys of a source, and whether it has more behind them. The first read of a list settles its revision.
async fn read(
    service: &Service,
    source: &Source,
    at: &mut PageToken,
    descending: bool,
    wanted: usize,
    scanned: usize,
) -> Result<(Vec<KeyValue>, bool), ApiError> {
    let mut range = source.range.clone();
    match (at.last_key.is_empty(), descending) {
        (true, _) => {}
        (false, true) => range.end.clone_from(&at.last_key),
        (false, false) => range.start = format!("{}\0", at.last_key),
    }
    let options = ListOptions {
        revision: Some(at.revision).filter(|revision| *revision > 0),
        limit: wanted.min(READ_KEYS_MAX).min(SCANNED_KEYS_MAX.saturating_sub(scanned)).max(1),
        descending,
        projection: if source.of_status { Projection::KeysOnly } else { Projection::Full },
    };
    let listing = service.api.store.list(range, options).await?;
    if at.revision == 0 {
        at.revision = listing.revision;
    }
    Ok((listing.kvs, listing.more))
}

/// The record behind each key, as it was at `revision`.
async fn records_of(
    service: &Service,
    source: &Source,
    kvs: &[KeyValue],
    revision: Revision,
) -> Result<Vec<Option<Stored<Task>>>, ApiError> {
    if !source.of_status {
        return Ok(kvs.iter().map(|kv| decode_kv(kv).map(Some)).collect::<Result<_, _>>()?);
    }
    let store = &*service.api.store;
    let reads: Vec<_> = kvs.iter().map(|kv| record_of(store, &kv.key, revision)).collect();
    stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await
}

async fn record_of(
    store: &dyn Store,
    status_key: &str,
    revision: Revision,
) -> Result<Option<Stored<Task>>, ApiError> {
    match Key::parse(status_key).ok().and_then(|key| key.task()) {
        Some(id) => records::read_at(store, id, revision).await,
        None => Ok(None),
    }
}
