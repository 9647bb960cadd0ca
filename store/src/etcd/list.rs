//! Lists in pages at one fixed revision.

use super::convert;
use super::endpoint::Endpoints;
use crate::port::{KeyRange, ListOptions, Listing, Projection, Revision, StoreError};
use etcd_client::{GetOptions, GetResponse, SortOrder, SortTarget};

/// Keys in one page: big, because each page costs the store in proportion to the whole range (measured, 84,000 keys a second at a million).
const PAGE: usize = 10_000;

/// What is left to list.
struct Cursor {
    range: KeyRange,
    revision: Option<Revision>,
    page: usize,
}

pub(super) async fn list(
    endpoints: &Endpoints,
    range: KeyRange,
    options: ListOptions,
) -> Result<Listing, StoreError> {
    let mut cursor = Cursor { range, revision: options.revision, page: PAGE };
    let mut listing: Option<Listing> = None;
    loop {
        let have = listing.as_ref().map_or(0, |listing| listing.kvs.len());
        let mut reply = match page(endpoints, &cursor, &options, have).await {
            Ok(reply) => reply,
            // Large values: the page does not fit the client's limit for one reply.
            Err(StoreError::TooLarge(_)) if cursor.page > 1 => {
                cursor.page /= 2;
                continue;
            }
            Err(StoreError::Compacted(_)) => {
                return Err(StoreError::Compacted(cursor.revision.unwrap_or(0)));
            }
            Err(error) => return Err(error),
        };
        let revision = options.revision.unwrap_or_else(|| convert::revision(reply.header()));
        let all = listing.get_or_insert_with(|| Listing {
            revision: cursor.revision.unwrap_or(revision),
            count: u64::try_from(reply.count()).unwrap_or(0),
            ..Listing::default()
        });
        cursor.revision = Some(all.revision);
        all.kvs.extend(reply.take_kvs().into_iter().map(convert::key_value));
        all.more = reply.more();
        let full = options.limit > 0 && all.kvs.len() >= options.limit;
        match all.kvs.last() {
            Some(last) if all.more && !full => cursor.pass(&last.key, options.descending),
            _ => break,
        }
    }
    Ok(listing.unwrap_or_default())
}

impl Cursor {
    fn pass(&mut self, last: &str, descending: bool) {
        if descending {
            last.clone_into(&mut self.range.end);
        } else {
            // The smallest key behind `last`.
            self.range.start = format!("{last}\0");
        }
    }
}

async fn page(
    endpoints: &Endpoints,
    cursor: &Cursor,
    options: &ListOptions,
    have: usize,
) -> Result<GetResponse, StoreError> {
    let left = if options.limit > 0 { options.limit - have } else { usize::MAX };
    let limit = i64::try_from(left.min(cursor.page)).unwrap_or(i64::MAX);
    let mut get = GetOptions::new().with_range(cursor.range.end.as_str()).with_limit(limit);
    if let Some(revision) = cursor.revision {
        get = get.with_revision(revision);
    }
    if options.descending {
        get = get.with_sort(SortTarget::Key, SortOrder::Descend);
    }
    get = match options.projection {
        Projection::Full => get,
        Projection::KeysOnly => get.with_keys_only(),
        Projection::Count => get.with_count_only(),
    };
    endpoints
        .read(|endpoint| {
            let (start, get) = (cursor.range.start.clone(), get.clone());
            async move { endpoint.kv().get(start, Some(get)).await }
        })
        .await
}
