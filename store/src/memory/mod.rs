//! The model of etcd: the whole port in memory, with real revisions, nested transactions, watches from old revisions, compaction,
//! and leases on a clock that only [`MemoryStore::advance`] moves. The conformance suite holds it to what etcd does.
//!
//! Never fails by itself: for faults wrap it in [`crate::fault::FaultyStore`].

mod state;
mod txn;
mod watch;

use crate::port::{
    KeyRange, KeyValue, LeaseId, ListOptions, Listing, Revision, Store, StoreError, Txn, TxnReply, Watch,
};
use async_trait::async_trait;
use state::State;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// A store in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// The state, and a counter that wakes the watches when it has changed.
struct Shared {
    state: Mutex<State>,
    changed: tokio::sync::watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Shared { state: Mutex::default(), changed: tokio::sync::watch::Sender::new(0) }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the state is half changed")
    }

    fn change<T>(&self, how: impl FnOnce(&mut State) -> T) -> T {
        let done = how(&mut self.lock());
        self.changed.send_modify(|count| *count += 1);
        done
    }
}

impl MemoryStore {
    /// An empty store at revision 1, as etcd has it.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Forgets what was superseded at or before `revision`, and with it the history of the revisions before it.
    pub fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.shared.change(|state| state.compact(revision))
    }

    /// Lets time pass: leases that run out end, each in a revision of its own.
    pub fn advance(&self, time: Duration) {
        self.shared.change(|state| state.advance(time));
    }

    /// Makes each watch tell its progress.
    pub fn send_progress(&self) {
        self.shared.change(State::send_progress);
    }

    /// Fills or empties the store's space: while it is full, puts and grants are refused.
    pub fn set_full(&self, full: bool) {
        self.shared.change(|state| state.set_full(full));
    }

    /// The present revision.
    pub fn revision(&self) -> Revision {
        self.shared.lock().revision()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let state = self.shared.lock();
        Ok((state.get(key).cloned(), state.revision()))
    }

    async fn get_many_stale(&self, keys: &[String]) -> Result<Vec<Option<KeyValue>>, StoreError> {
        let state = self.shared.lock();
        Ok(keys.iter().map(|key| state.get(key).cloned()).collect())
    }

    async fn list(&self, range: KeyRange, options: ListOptions) -> Result<Listing, StoreError> {
        self.shared.lock().list(&range, &options)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply, StoreError> {
        self.shared.change(|state| txn::carry_out(state, txn))
    }

    async fn watch(&self, ranges: Vec<KeyRange>, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        watch::open(self.shared.clone(), ranges, from)
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
        self.shared.change(|state| state.grant(ttl))
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.shared.change(|state| state.renew(lease))
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.shared.change(|state| state.revoke(lease));
        Ok(())
    }
}
