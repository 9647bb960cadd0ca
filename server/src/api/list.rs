//! List: tasks in pages, all pages at the revision of the first. Without a filter by state it reads the records; with one it reads the status
//! keys, so that the few running tasks among a million ended ones cost little.
//!
//! Bounded: one call reads so many keys and answers so many bytes at most, and then returns a short page with a token.

use super::Service;
use super::error::ApiError;
use super::list_source::{self, Step};
use super::page_token::PageToken;
use prost::Message;
use shoal_core::task::Task;
use shoal_proto::convert::check::Check;
use shoal_proto::convert::limits;
use shoal_proto::convert::task::task_to_wire;
use shoal_proto::v1;
use shoal_store::record::Stored;
use uuid::Uuid;

/// Keys that one call reads at most: a rare user's tasks among many others' come in short pages.
const SCANNED_KEYS_MAX: usize = 4000;
/// Records of the first read of a call; the largest are a quarter of a MiB.
const FIRST_READ: usize = 100;
/// Bytes of records that the reads after it aim for.
const READ_BYTES: usize = 4 << 20;
/// Bytes of one answer; gRPC clients take 4 MiB unless told otherwise.
const ANSWER_BYTES_MAX: usize = 3 << 20;
/// What has been gathered for the answer.
#[derive(Default)]
struct Page {
    tasks: Vec<v1::Task>,
    bytes: usize,
    scanned: usize,
    /// Of all records read, wanted or not.
    read_bytes: usize,
}

/// Lists tasks.
pub async fn list(service: &Service, request: v1::ListRequest) -> Result<v1::ListResponse, ApiError> {
    let _place = service.lists.acquire().await.map_err(|_| ApiError::Stopping)?;
    let mut check = Check::new();
    let page_size = check.number("page_size", request.page_size.into(), limits::PAGE_SIZE);
    let page_size = usize::try_from(page_size).unwrap_or(usize::MAX);
    let states = states(&request.states, &mut check);
    check.finish(())?;
    let sources = list_source::of_states(&states);
    let query = fingerprint(&states, &request);
    let mut at = start(&request, query, &sources)?;
    let mut page = Page::default();
    while at.source < sources.len() {
        let source = &sources[at.source];
        let step = Step {
            revision: at.revision,
            last_key: &at.last_key,
            descending: request.newest_first,
            limit: page.next_read(page_size),
            now: (service.api.wall)(),
        };
        let read = source.read(&*service.api.store, step).await?;
        at.revision = read.revision;
        page.scanned += read.tasks.len();
        for (key, stored) in read.tasks {
            if !page.add(stored, &request.user) {
                return Ok(answer(page, Some(at)));
            }
            at.last_key = key;
        }
        if !read.more {
            at = PageToken { source: at.source + 1, last_key: String::new(), ..at };
        }
        let full = page.tasks.len() >= page_size || page.scanned >= SCANNED_KEYS_MAX;
        if full && at.source < sources.len() {
            return Ok(answer(page, Some(at)));
        }
    }
    let revision = at.revision;
    Ok(v1::ListResponse { revision, ..answer(page, None) })
}

impl Page {
    /// How many records to read next: few at first, for they may be large, then as many as their size so far allows.
    fn next_read(&self, page_size: usize) -> usize {
        let fitting = match self.read_bytes.checked_div(self.scanned) {
            None => FIRST_READ,
            Some(average) => READ_BYTES / average.max(1),
        };
        let left =
            page_size.saturating_sub(self.tasks.len()).min(SCANNED_KEYS_MAX.saturating_sub(self.scanned));
        fitting.min(left).max(1)
    }

    /// Takes a task up if it is asked for; `false` when it does not fit and must wait for the next page.
    fn add(&mut self, stored: Option<Stored<Task>>, user: &str) -> bool {
        let Some(stored) = stored else { return true };
        let wire = task_to_wire(&stored.value, stored.mod_revision);
        let bytes = wire.encoded_len();
        self.read_bytes += bytes;
        if !user.is_empty() && stored.value.spec.user != user {
            return true;
        }
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

fn fingerprint(states: &[v1::State], request: &v1::ListRequest) -> Uuid {
    let text = format!("{states:?} {:?} {}", request.user, request.newest_first);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())
}

/// Where the request's token stands; revision 0 at the start of a list.
fn start(
    request: &v1::ListRequest,
    query: Uuid,
    sources: &[list_source::Source],
) -> Result<PageToken, ApiError> {
    if request.page_token.is_empty() {
        return Ok(PageToken { revision: 0, source: 0, last_key: String::new(), query });
    }
    let token = PageToken::decode(&request.page_token, query)?;
    let inside =
        |source: &list_source::Source| token.last_key.is_empty() || source.range.contains(&token.last_key);
    if !sources.get(token.source).is_some_and(inside) {
        return Err(ApiError::field("page_token", "must be a next_page_token as it was returned"));
    }
    Ok(token)
}
