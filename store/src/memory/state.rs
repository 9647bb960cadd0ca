//! Keys with all their versions, the history of changes, and the leases.
//!
//! Invariant: `history` holds every change of the revisions from `compacted` on, and `keys` enough versions to show the state at each of
//! those revisions.

use crate::port::{
    Change, KeyRange, KeyValue, LeaseId, ListOptions, Listing, Projection, Revision, StoreError,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a key was from a revision on; no value means deleted.
struct Version {
    since: Revision,
    kv: Option<KeyValue>,
}

struct Lease {
    ttl: Duration,
    ends: Duration,
}

pub(super) struct State {
    revision: Revision,
    compacted: Revision,
    keys: BTreeMap<String, Vec<Version>>,
    history: BTreeMap<Revision, Vec<Change>>,
    leases: BTreeMap<LeaseId, Lease>,
    leases_granted: i64,
    now: Duration,
    progress_sent: u64,
    full: bool,
}

impl Default for State {
    fn default() -> Self {
        State {
            revision: 1,
            compacted: 0,
            keys: BTreeMap::new(),
            history: BTreeMap::new(),
            leases: BTreeMap::new(),
            leases_granted: 0,
            now: Duration::ZERO,
            progress_sent: 0,
            full: false,
        }
    }
}

impl State {
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }
    pub(super) fn compacted(&self) -> Revision {
        self.compacted
    }
    pub(super) fn is_full(&self) -> bool {
        self.full
    }
    pub(super) fn set_full(&mut self, full: bool) {
        self.full = full;
    }
    pub(super) fn progress_sent(&self) -> u64 {
        self.progress_sent
    }
    pub(super) fn send_progress(&mut self) {
        self.progress_sent += 1;
    }

    pub(super) fn get(&self, key: &str) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.kv.as_ref()
    }

    fn get_at(versions: &[Version], revision: Revision) -> Option<&KeyValue> {
        versions.iter().rev().find(|version| version.since <= revision)?.kv.as_ref()
    }

    pub(super) fn list(&self, range: &KeyRange, options: &ListOptions) -> Result<Listing, StoreError> {
        let revision = options.revision.unwrap_or(self.revision);
        if revision < self.compacted {
            return Err(StoreError::Compacted(revision));
        }
        if revision > self.revision {
            return Err(StoreError::Refused(format!("revision {revision} is a future revision")));
        }
        let mut kvs: Vec<KeyValue> = self
            .keys
            .range(range.start.clone()..)
            .take_while(|(key, _)| **key < range.end)
            .filter_map(|(_, versions)| Self::get_at(versions, revision).cloned())
            .collect();
        let count = kvs.len() as u64;
        if options.descending {
            kvs.reverse();
        }
        let mut more = false;
        match options.projection {
            Projection::Count => kvs.clear(),
            Projection::Full | Projection::KeysOnly => {
                more = options.limit > 0 && kvs.len() > options.limit;
                kvs.truncate(if options.limit > 0 { options.limit } else { usize::MAX });
            }
        }
        if options.projection == Projection::KeysOnly {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        Ok(Listing { kvs, revision, more, count })
    }

    /// The changes of a range in the revisions from `from` on.
    pub(super) fn changes(&self, range: &KeyRange, from: Revision) -> Vec<Change> {
        self.history
            .range(from..)
            .flat_map(|(_, changes)| changes)
            .filter(|change| match change {
                Change::Put(kv) => range.contains(&kv.key),
                Change::Delete { key, .. } => range.contains(key),
            })
            .cloned()
            .collect()
    }

    /// Writes a key as part of the next revision; [`State::commit`] makes it the present one.
    pub(super) fn put(&mut self, key: String, value: Vec<u8>, lease: Option<LeaseId>) {
        let since = self.revision + 1;
        let create_revision = self.get(&key).map_or(since, |kv| kv.create_revision);
        let kv = KeyValue { key: key.clone(), value, create_revision, mod_revision: since, lease };
        self.history.entry(since).or_default().push(Change::Put(kv.clone()));
        self.keys.entry(key).or_default().push(Version { since, kv: Some(kv) });
    }

    /// Deletes a key as part of the next revision; returns how many keys that were.
    pub(super) fn delete(&mut self, key: &str) -> u64 {
        if self.get(key).is_none() {
            return 0;
        }
        let since = self.revision + 1;
        self.history.entry(since).or_default().push(Change::Delete { key: key.to_owned(), revision: since });
        self.keys.entry(key.to_owned()).or_default().push(Version { since, kv: None });
        1
    }

    /// Deletes all keys of a range as part of the next revision; returns how many those were.
    pub(super) fn delete_range(&mut self, range: &KeyRange) -> u64 {
        let keys: Vec<String> =
            self.keys.range(range.start.clone()..range.end.clone()).map(|(key, _)| key.clone()).collect();
        keys.iter().map(|key| self.delete(key)).sum()
    }

    /// Makes what was written the present revision; without a write it stays.
    pub(super) fn commit(&mut self) {
        if self.history.contains_key(&(self.revision + 1)) {
            self.revision += 1;
        }
    }

    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        if revision <= self.compacted {
            return Err(StoreError::Compacted(revision));
        }
        if revision > self.revision {
            return Err(StoreError::Refused(format!("revision {revision} is a future revision")));
        }
        self.compacted = revision;
        self.history = self.history.split_off(&revision);
        for versions in self.keys.values_mut() {
            let kept = versions.iter().rposition(|version| version.since <= revision).unwrap_or(0);
            versions.drain(..kept);
        }
        let is_gone =
            |versions: &[Version]| matches!(versions, [only] if only.kv.is_none() && only.since <= revision);
        self.keys.retain(|_, versions| !is_gone(versions));
        Ok(())
    }

    pub(super) fn lease_lives(&self, lease: LeaseId) -> bool {
        self.leases.contains_key(&lease)
    }

    /// Times to live are whole seconds, as etcd's are.
    pub(super) fn grant(&mut self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
        if self.full {
            return Err(StoreError::NoSpace);
        }
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let ttl = Duration::from_secs(whole.max(1));
        self.leases_granted += 1;
        let id = LeaseId(self.leases_granted);
        self.leases.insert(id, Lease { ttl, ends: self.now + ttl });
        Ok((id, ttl))
    }

    pub(super) fn renew(&mut self, lease: LeaseId) -> Result<Duration, StoreError> {
        let found = self.leases.get_mut(&lease).ok_or(StoreError::LeaseNotFound)?;
        found.ends = self.now + found.ttl;
        Ok(found.ttl)
    }

    /// Ends a lease and deletes its keys, in one revision.
    pub(super) fn revoke(&mut self, lease: LeaseId) {
        if self.leases.remove(&lease).is_none() {
            return;
        }
        let live = self.keys.values().filter_map(|versions| versions.last()?.kv.as_ref());
        let keys: Vec<String> = live.filter(|kv| kv.lease == Some(lease)).map(|kv| kv.key.clone()).collect();
        for key in keys {
            self.delete(&key);
        }
        self.commit();
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now += time;
        let over = self.leases.iter().filter(|(_, lease)| lease.ends <= self.now);
        let over: Vec<LeaseId> = over.map(|(id, _)| *id).collect();
        for lease in over {
            self.revoke(lease);
        }
    }
}
