//! What the store's keys and changes mean to the core. A value that cannot be read (a newer format, damage) is reported and left out: it
//! must not stop the node, and nothing is ever decided from it.

use shoal_core::entry::ClockEntry;
use shoal_core::id::TaskId;
use shoal_core::view::{Fact, Snapshot};
use shoal_store::key::Key;
use shoal_store::port::{Change, KeyValue};
use shoal_store::record;

/// A change whose key has been read.
pub struct Seen<'a> {
    /// Its key.
    pub key: Key,
    /// The change.
    pub change: &'a Change,
}

/// Reads the keys of changes, once for all that hear of them.
pub fn seen(changes: &[Change]) -> Vec<Seen<'_>> {
    let key = |change: &Change| match change {
        Change::Put(KeyValue { key, .. }) | Change::Delete { key, .. } => parsed(key),
    };
    changes.iter().filter_map(|change| Some(Seen { key: key(change)?, change })).collect()
}

/// The facts of a full list.
pub fn snapshot(kvs: &[KeyValue], revision: i64) -> Snapshot {
    Snapshot { revision, facts: kvs.iter().filter_map(|kv| put(&parsed(&kv.key)?, kv)).collect() }
}

/// The facts of changes, in their order.
pub fn changes(seen: &[Seen<'_>]) -> Vec<Fact> {
    let fact = |Seen { key, change }: &Seen<'_>| match change {
        Change::Put(kv) => put(key, kv),
        Change::Delete { .. } => gone(key),
    };
    seen.iter().filter_map(fact).collect()
}

/// The task whose status a key is, for readers of changes and for the index of ids.
pub fn task_of(key: &Key) -> Option<TaskId> {
    match key {
        Key::Queued(task) | Key::Running(_, task) | Key::Ended(_, _, task) => Some(*task),
        Key::Offered(..) | Key::Task(_) | Key::Node(_) | Key::Image(_) => None,
        Key::Clock | Key::Lock(_) | Key::Reserve | Key::Duration(_) => None,
        Key::Gang(..) | Key::GangKey(..) => None,
    }
}

/// The tasks of a full list.
pub fn tasks_of(kvs: &[KeyValue]) -> impl Iterator<Item = TaskId> {
    kvs.iter().filter_map(|kv| task_of(&parsed(&kv.key)?))
}

fn put(key: &Key, kv: &KeyValue) -> Option<Fact> {
    let created = kv.create_revision;
    match key.clone() {
        Key::Queued(task) => read(kv).map(|entry| Fact::Queued { task, entry, created }),
        Key::Running(node, task) => read(kv).map(|entry| Fact::Running { task, node, entry }),
        Key::Offered(task, node) => read(kv).map(|entry| Fact::Offered { task, node, entry, created }),
        Key::Node(node) => read(kv).map(|entry| Fact::NodeUp { node, entry, created }),
        Key::Lock(what) => read(kv).map(|entry| Fact::Locked { what, entry, revision: kv.mod_revision }),
        Key::Reserve => read(kv).map(|entry| Fact::Reserve(Some(entry))),
        Key::Clock => {
            let entry = read::<ClockEntry>(kv)?;
            Some(Fact::Clock { tick: entry.tick, revision: kv.mod_revision })
        }
        // Planning reads none of it: crate::durations does, and crate::gangs.
        Key::Ended(..) | Key::Task(_) | Key::Image(_) | Key::Duration(_) => None,
        Key::Gang(..) | Key::GangKey(..) => None,
    }
}

fn gone(key: &Key) -> Option<Fact> {
    match key.clone() {
        Key::Queued(task) => Some(Fact::NotQueued(task)),
        Key::Running(node, task) => Some(Fact::NotRunning { task, node }),
        Key::Offered(task, node) => Some(Fact::NotOffered { task, node }),
        Key::Node(node) => Some(Fact::NodeDown(node)),
        Key::Lock(what) => Some(Fact::Unlocked(what)),
        Key::Reserve => Some(Fact::Reserve(None)),
        // Nobody deletes the clock; who does finds it begun anew at the next list.
        Key::Ended(..) | Key::Task(_) | Key::Image(_) | Key::Clock | Key::Duration(_) => None,
        Key::Gang(..) | Key::GangKey(..) => None,
    }
}

fn parsed(key: &str) -> Option<Key> {
    Key::parse(key).inspect_err(|error| tracing::warn!(%error, "ignored")).ok()
}

fn read<T: record::Record>(kv: &KeyValue) -> Option<T> {
    match record::decode_kv(kv) {
        Ok(stored) => Some(stored.value),
        Err(error) => {
            tracing::error!(key = kv.key, %error, "value cannot be read");
            None
        }
    }
}
