//! The highest keys of a long range. For a descending order etcd reads and sorts the whole range, whatever the limit; so the part that holds the
//! answer is looked for first, by counting, which costs no values. Ids of version 7 begin with their time: the search begins at now.
//!
//! The wall clock is a hint: with a wrong one the search takes longer and finds the same.

use super::error::ApiError;
use super::list_source::Kind;
use shoal_core::time::WallMs;
use shoal_store::port::{KeyRange, ListOptions, Listing, Projection, Revision, Store};

/// Width of the first part tried: less than a millisecond of ids.
const FIRST_WIDTH: u128 = 1 << 64;
/// How much wider each next part is.
const GROWTH: u128 = 16;
/// Halvings of a part that holds too much; each costs a count of it at most.
const HALVINGS_MAX: usize = 64;

/// A search under way.
struct Search<'a> {
    store: &'a dyn Store,
    kind: Kind,
    range: &'a KeyRange,
    revision: Revision,
}

/// Up to `options.limit` of the highest keys of `range`, highest first. `range` is that of `kind`, or what a list left of it.
pub async fn newest(
    store: &dyn Store,
    kind: Kind,
    range: &KeyRange,
    options: ListOptions,
    now: WallMs,
) -> Result<Listing, ApiError> {
    let mut search = Search { store, kind, range, revision: options.revision.unwrap_or(0) };
    let limit = options.limit as u64;
    let start = search.start_for(limit, now).await?;
    let part = KeyRange { start: start.clone(), end: range.end.clone() };
    let revision = Some(search.revision).filter(|revision| *revision > 0);
    let options = ListOptions { revision, descending: true, ..options };
    let mut listing = store.list(part, options).await?;
    listing.more |= start > range.start;
    Ok(listing)
}

impl Search<'_> {
    /// Where a part begins that holds at least `limit` keys, and not many more; the range's start when that holds fewer.
    async fn start_for(&mut self, limit: u64, now: WallMs) -> Result<String, ApiError> {
        let top = self.kind.position_of(&self.range.end).unwrap_or(u128::MAX);
        let now = self.kind.position_at(now).min(top);
        // Ids that do not begin with their time may lie beyond now.
        let anchor = if self.count(&self.start_at(now)).await? >= limit { top } else { now };
        let (mut narrow, mut width) = (0, FIRST_WIDTH);
        let mut held = self.count(&self.start_at(anchor.saturating_sub(width))).await?;
        while held < limit && width < anchor {
            narrow = width;
            width = width.saturating_mul(GROWTH).min(anchor);
            held = self.count(&self.start_at(anchor - width)).await?;
        }
        for _ in 0..HALVINGS_MAX {
            if held <= limit.saturating_mul(2) {
                break;
            }
            let middle = narrow + (width - narrow) / 2;
            match self.count(&self.start_at(anchor.saturating_sub(middle))).await? {
                count if count >= limit => (width, held) = (middle, count),
                _ => narrow = middle,
            }
        }
        Ok(self.start_at(anchor.saturating_sub(width)))
    }

    fn start_at(&self, position: u128) -> String {
        if position == 0 {
            self.range.start.clone()
        } else {
            self.kind.key_at(position).max(self.range.start.clone())
        }
    }

    /// Keys from `start` to the range's end. The first count settles the revision.
    async fn count(&mut self, start: &str) -> Result<u64, ApiError> {
        if start >= self.range.end.as_str() {
            return Ok(0);
        }
        let part = KeyRange { start: start.to_owned(), end: self.range.end.clone() };
        let revision = Some(self.revision).filter(|revision| *revision > 0);
        let options = ListOptions { revision, projection: Projection::Count, ..ListOptions::default() };
        let listing = self.store.list(part, options).await?;
        self.revision = listing.revision;
        Ok(listing.count)
    }
}
