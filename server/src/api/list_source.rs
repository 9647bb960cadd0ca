//! Where a list reads: the records themselves, or the status keys of some states and the record behind each.

use super::error::ApiError;
use super::{list_newest, records};
use futures::stream::{self, StreamExt, TryStreamExt};
use shoal_core::id::TaskId;
use shoal_core::task::Task;
use shoal_core::time::WallMs;
use shoal_proto::v1;
use shoal_store::key::{self, EndKind, Epoch, Key};
use shoal_store::port::{KeyRange, KeyValue, ListOptions, Projection, Revision, Store};
use shoal_store::record::{Stored, decode_kv};
use std::collections::HashMap;
use uuid::Uuid;

/// Records read at once, when they are read one by one.
const READS_AT_ONCE: usize = 32;
/// How many states there are.
const STATES: usize = 5;

/// What the keys of a source are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records, in the order of their ids.
    Records,
    /// Status keys in the same order.
    Queue,
    /// Status keys by node, one for each node of a task: never very many.
    Running,
    /// Status keys by the second of the end.
    Ended(EndKind),
}

/// Positions order keys as numbers: an id, or the second of an end followed by the first half of an id. Running tasks have none.
impl Kind {
    /// Keys of this position begin here.
    pub fn key_at(self, position: u128) -> String {
        let id = TaskId(Uuid::from_u128(position));
        let key = match self {
            Kind::Records | Kind::Running => Key::Task(id),
            Kind::Queue => Key::Queued(id),
            Kind::Ended(kind) => {
                let second = u64::try_from(position >> 64).unwrap_or(u64::MAX);
                Key::Ended(kind, Epoch::new(second), TaskId(Uuid::from_u128(position << 64)))
            }
        };
        key.to_string()
    }

    /// Where a key lies; `None` for what is no key of this kind.
    pub fn position_of(self, key: &str) -> Option<u128> {
        match (self, Key::parse(key).ok()?) {
            (Kind::Records, Key::Task(id)) | (Kind::Queue, Key::Queued(id)) => Some(id.0.as_u128()),
            (Kind::Ended(_), Key::Ended(_, epoch, id)) => {
                Some(u128::from(epoch.seconds()) << 64 | id.0.as_u128() >> 64)
            }
            _ => None,
        }
    }

    /// Where the keys of this time begin.
    pub fn position_at(self, at: WallMs) -> u128 {
        match self {
            Kind::Records | Kind::Queue | Kind::Running => u128::try_from(at.0).unwrap_or(0) << 80,
            Kind::Ended(_) => u128::from(Epoch::of(at).seconds()) << 64,
        }
    }
}

/// One range of keys that a list reads.
pub struct Source {
    /// The range.
    pub range: KeyRange,
    kind: Kind,
}

/// The next read of a source.
pub struct Step<'a> {
    /// At which revision; 0 is now.
    pub revision: Revision,
    /// The last key read before; empty at the start.
    pub last_key: &'a str,
    /// Highest key first.
    pub descending: bool,
    /// At most this many.
    pub limit: usize,
    /// The wall clock, as a hint where the newest ids are.
    pub now: WallMs,
}

/// What a read gave.
pub struct Read {
    /// Each key with the task behind it.
    pub tasks: Vec<(String, Option<Stored<Task>>)>,
    /// The revision that it shows.
    pub revision: Revision,
    /// Whether the source has more behind it.
    pub more: bool,
}

/// The sources of a list of tasks in these states, which are sorted and distinct; none means all.
pub fn of_states(states: &[v1::State]) -> Vec<Source> {
    if states.is_empty() || states.len() == STATES {
        return vec![Source { range: key::records(), kind: Kind::Records }];
    }
    let ended = |kind| Source { range: key::ended(kind), kind: Kind::Ended(kind) };
    let of_state = |state: &v1::State| match state {
        v1::State::Unspecified => None,
        v1::State::Queued => Some(Source { range: key::queued(), kind: Kind::Queue }),
        v1::State::Running => Some(Source { range: key::running(), kind: Kind::Running }),
        v1::State::Complete => Some(ended(EndKind::Complete)),
        v1::State::Canceled => Some(ended(EndKind::Canceled)),
        v1::State::Failed => Some(ended(EndKind::Failed)),
    };
    states.iter().filter_map(of_state).collect()
}

impl Source {
    /// Reads on.
    pub async fn read(&self, store: &dyn Store, step: Step<'_>) -> Result<Read, ApiError> {
        let mut range = self.range.clone();
        match (step.last_key.is_empty(), step.descending) {
            (true, _) => {}
            (false, true) => step.last_key.clone_into(&mut range.end),
            (false, false) => range.start = format!("{}\0", step.last_key),
        }
        let options = ListOptions {
            revision: Some(step.revision).filter(|revision| *revision > 0),
            limit: step.limit,
            descending: step.descending,
            projection: if self.kind == Kind::Records { Projection::Full } else { Projection::KeysOnly },
        };
        let listing = if step.descending && self.kind != Kind::Running {
            list_newest::newest(store, self.kind, &range, options, step.now).await?
        } else {
            store.list(range, options).await?
        };
        let (revision, more) = (listing.revision, listing.more);
        let tasks = self.tasks(store, listing.kvs, revision).await?;
        Ok(Read { tasks, revision, more })
    }

    /// The record behind each key, as it was at `revision`.
    async fn tasks(
        &self,
        store: &dyn Store,
        kvs: Vec<KeyValue>,
        revision: Revision,
    ) -> Result<Vec<(String, Option<Stored<Task>>)>, ApiError> {
        if self.kind == Kind::Records {
            let decoded = kvs.into_iter().map(|kv| Ok((kv.key.clone(), Some(decode_kv(&kv)?))));
            return decoded.collect();
        }
        let mut near = HashMap::new();
        if self.kind == Kind::Queue {
            near = between(store, &kvs, revision).await?;
        }
        let mut reads = Vec::with_capacity(kvs.len());
        for kv in kvs {
            let id = Key::parse(&kv.key).ok().and_then(|key| key.task());
            let known = id.and_then(|id| near.remove(&id));
            reads.push(behind(store, kv.key, id, known, revision));
        }
        stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await
    }
}

/// The records from the first of these tasks to the last, in one read: in a long queue nearly all of them belong to it. No more are read
/// than half as many again; what is missing then is read one by one.
async fn between(
    store: &dyn Store,
    kvs: &[KeyValue],
    revision: Revision,
) -> Result<HashMap<TaskId, Stored<Task>>, ApiError> {
    let ids = || kvs.iter().filter_map(|kv| Key::parse(&kv.key).ok()?.task());
    let (Some(first), Some(last)) = (ids().min(), ids().max()) else { return Ok(HashMap::new()) };
    let end = format!("{}\0", Key::Task(last));
    let range = KeyRange { start: Key::Task(first).to_string(), end };
    let limit = kvs.len() + kvs.len() / 2;
    let options = ListOptions { revision: Some(revision), limit, ..ListOptions::default() };
    let listing = store.list(range, options).await?;
    let decoded = listing.kvs.iter().map(|kv| decode_kv::<Task>(kv).map(|stored| (stored.value.id, stored)));
    Ok(decoded.collect::<Result<_, _>>()?)
}

/// A status key with its task's record: the one that is known, else read.
async fn behind(
    store: &dyn Store,
    status_key: String,
    task: Option<TaskId>,
    known: Option<Stored<Task>>,
    revision: Revision,
) -> Result<(String, Option<Stored<Task>>), ApiError> {
    let stored = match (known, task) {
        (Some(known), _) => Some(known),
        (None, Some(task)) => records::read_at(store, task, revision).await?,
        (None, None) => None,
    };
    // A task of several nodes is told of once: at the key of the first that still runs. All pages see the same revision, so all agree which that is.
    let is_first = |stored: &Stored<Task>| match Key::parse(&status_key) {
        Ok(Key::Running(node, _)) => stored.value.live_nodes().first() == Some(&node),
        Ok(_) | Err(_) => true,
    };
    let stored = stored.filter(is_first);
    Ok((status_key, stored))
}
