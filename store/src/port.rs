//! The store port: what Shoal needs of a store, and nothing of etcd's client. Implemented by [`crate::etcd`] (the real one) and
//! [`crate::memory`] (a model with real revisions); one conformance suite holds both to this text.
//!
//! Semantics are etcd's: one revision counter for the whole store, bumped once by each transaction that writes; compares and
//! operations of a transaction are atomic; a watch delivers every change of each of its ranges from its start revision on, in order, the
//! changes of one revision in one range never split. Changes in different ranges may come in any order relative to each other.

use async_trait::async_trait;
use std::fmt;
use std::time::Duration;

/// A store revision; 0 is "none".
pub type Revision = i64;

/// A lease of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// One key as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
    /// The revision that created it.
    pub create_revision: Revision,
    /// The revision that last changed it.
    pub mod_revision: Revision,
    /// The lease it is attached to, if any.
    pub lease: Option<LeaseId>,
}

/// The keys from `start` up to and without `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub start: String,
    /// First key that is not in it.
    pub end: String,
}

impl KeyRange {
    /// All keys that begin with `prefix` (which is not empty and ends in ASCII).
    pub fn prefix(prefix: &str) -> KeyRange {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            debug_assert!(*last < 0x7f, "prefixes end in a printable character");
            *last += 1;
        }
        KeyRange { start: prefix.to_owned(), end: String::from_utf8_lossy(&end).into_owned() }
    }
    /// Whether `key` is in it.
    pub fn contains(&self, key: &str) -> bool {
        self.start.as_str() <= key && key < self.end.as_str()
    }
}

/// What a list returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Projection {
    /// Keys with values.
    #[default]
    Full,
    /// Keys without values.
    KeysOnly,
    /// Nothing but the count.
    Count,
}

/// How to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// At which revision; `None` is now (linearizable).
    pub revision: Option<Revision>,
    /// At most this many keys; 0 is all.
    pub limit: usize,
    /// Highest key first.
    pub descending: bool,
    /// What to return.
    pub projection: Projection,
}

/// The answer to a list.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The keys, in the order asked for.
    pub kvs: Vec<KeyValue>,
    /// The revision that the list shows.
    pub revision: Revision,
    /// Whether the limit cut the list.
    pub more: bool,
    /// How many keys the range holds, the limit aside.
    pub count: u64,
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key's mod revision is this; 0 means the key does not exist.
    ModRevision(String, Revision),
    /// The key's create revision is this; 0 means the key does not exist.
    CreateRevision(String, Revision),
    /// The key exists.
    Exists(String),
}

/// An operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a key.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: Vec<u8>,
        /// Deletes the key when this lease ends.
        lease: Option<LeaseId>,
    },
    /// Deletes a key; nothing happens where it does not exist.
    Delete(String),
    /// Deletes all keys of a range.
    DeleteRange(KeyRange),
    /// Reads a key.
    Get(String),
    /// A transaction of its own, with its own compares: it may fail while the others succeed.
    Txn(Txn),
}

/// Compares, and what to do when all hold or not. Two operations of one transaction must not write the same key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// Done when they do.
    pub then: Vec<Op>,
    /// Done when one does not.
    pub or_else: Vec<Op>,
}

/// What one operation of a transaction gave, in the order of the operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpReply {
    /// Written.
    Put,
    /// How many keys it deleted.
    Deleted(u64),
    /// What it read.
    Got(Option<KeyValue>),
    /// The inner transaction's reply.
    Txn(TxnReply),
}

/// The reply to a transaction that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnReply {
    /// Whether the compares held.
    pub succeeded: bool,
    /// The store's revision after it (only meaningful on the outermost reply).
    pub revision: Revision,
    /// One reply for each operation of the branch taken.
    pub replies: Vec<OpReply>,
}

/// One change that a watch delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key has this value now.
    Put(KeyValue),
    /// The key is gone since this revision.
    Delete {
        /// The key.
        key: String,
        /// The revision that deleted it.
        revision: Revision,
    },
}

/// What a watch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// Changes of one range in revision order; all changes of a revision in that range are in one item.
    Changes {
        /// Never empty.
        changes: Vec<Change>,
        /// The revision of the last of them.
        revision: Revision,
    },
    /// Nothing up to this revision remains to be delivered: a sign of life.
    Progress(Revision),
    /// The watch has ended and nothing more will come: list again, then watch anew.
    Lost(WatchLost),
}

/// Why a watch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchLost {
    /// What it asked for has been compacted away up to this revision.
    Compacted(Revision),
    /// The store could not be reached, or said nothing for too long.
    Disconnected(String),
}

impl fmt::Display for WatchLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WatchLost::Compacted(revision) => write!(f, "compacted up to revision {revision}"),
            WatchLost::Disconnected(why) => write!(f, "disconnected: {why}"),
        }
    }
}

/// A running watch. Dropping it ends it.
#[async_trait]
pub trait Watch: Send {
    /// The next item. After [`WatchItem::Lost`] it returns `Lost` for ever. Safe to drop and call again (a `select!` arm).
    async fn next(&mut self) -> WatchItem;
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The call did not reach the store: nothing was done.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The call may or may not have been carried out: read back and decide, never repeat blindly.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// This revision, which was asked for, has been compacted away.
    #[error("revision {0} has been compacted away")]
    Compacted(Revision),
    /// The store is full: puts are refused until space is made; deletes and renewals work.
    #[error("store out of space")]
    NoSpace,
    /// The lease does not exist: it expired or was revoked.
    #[error("lease not found")]
    LeaseNotFound,
    /// The request was refused as too large.
    #[error("request too large: {0}")]
    TooLarge(String),
    /// The store refused the call for another reason.
    #[error("store refused: {0}")]
    Refused(String),
}

/// The port. Reads without a revision are linearizable unless the name says otherwise. Each call is bounded in time by the
/// implementation's own timeout and never hangs.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads one key. The revision is the store's at the time of the read.
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError>;

    /// Reads some keys in one call, possibly a little stale (from the nearest replica); the order is that of `keys`.
    async fn get_many_stale(&self, keys: &[String]) -> Result<Vec<Option<KeyValue>>, StoreError>;

    /// Lists a range.
    async fn list(&self, range: KeyRange, options: ListOptions) -> Result<Listing, StoreError>;

    /// Carries out a transaction.
    async fn txn(&self, txn: Txn) -> Result<TxnReply, StoreError>;

    /// Watches some ranges from `from` (inclusive) on.
    async fn watch(&self, ranges: Vec<KeyRange>, from: Revision) -> Result<Box<dyn Watch>, StoreError>;

    /// Grants a lease; the store may lengthen the time to live, and returns what it is.
    async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError>;

    /// Renews a lease and returns its time to live; [`StoreError::LeaseNotFound`] when it is gone. May take longer than the lease
    /// has: take the time *before* the call as the time of renewal.
    async fn lease_renew(&self, lease: LeaseId) -> Result<Duration, StoreError>;

    /// Ends a lease and deletes its keys; fine where it is gone already.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
}
