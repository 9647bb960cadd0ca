//! What the store's keys and changes mean to the core. A value that cannot be read (a newer format, damage) is reported and left out: it
//! must not stop the node, and nothing is ever decided from it.

use shoal_core::entry::ClockEntry;
use shoal_core::id::TaskId;
use shoal_core::view::{Fact, Snapshot};
use shoal_store::key::Key;
use shoal_store::port::{Change, KeyValue};
use shoal_store::record;

/// The facts of a full list.
pub fn snapshot(kvs: &[KeyValue], revision: i64) -> Snapshot {
    Snapshot { revision, facts: kvs.iter().filter_map(put).collect() }
}

/// The facts of changes, in their order.
pub fn changes(changes: &[Change]) -> Vec<Fact> {
    changes
        .iter()
        .filter_map(|change| match change {
            Change::Put(kv) => put(kv),
            Change::Delete { key, .. } => gone(key),
        })
        .collect()
}

/// The task whose status a key is, for readers of changes and for the index of ids.
pub fn task_of(key: &str) -> Option<TaskId> {
    match parsed(key)? {
        Key::Queued(task) | Key::Running(_, task) | Key::Ended(_, _, task) => Some(task),
        Key::Offered(..) | Key::Task(_) | Key::Node(_) | Key::Image(_) => None,
        Key::Clock | Key::Lock(_) | Key::Reserve | Key::Duration(_) => None,
        Key::Gang(..) | Key::GangKey(..) => None,
    }
}

fn put(kv: &KeyValue) -> Option<Fact> {
    let created = kv.create_revision;
    match parsed(&kv.key)? {
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

fn gone(key: &str) -> Option<Fact> {
    match parsed(key)? {
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
