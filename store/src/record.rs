//! When a format here changes: a new field with a default needs nothing; a change of meaning needs `VERSION` + 1, and `decode` must go on reading the old one.
//!
//! Encodes and decodes the values of the store: JSON with the format version first (`{"v":1,…}`), so that `etcdctl` shows
//! them readably. Fields that this version does not know survive a decode and encode; a value of a newer format version is an
//! error, because its known fields may mean something else.

use crate::port::{KeyValue, Revision};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shoal_core::entry::{EndEntry, NodeEntry, QueueEntry, RunEntry, StatusEntry};
use shoal_core::spec::Unknown;
use shoal_core::task::Task;

/// The format version that this program writes, and the newest that it reads.
pub const VERSION: u64 = 1;
const VERSION_FIELD: &str = "v";

/// A value with the revisions that the store gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<T> {
    /// The value.
    pub value: T,
    /// The revision that created its key.
    pub create_revision: Revision,
    /// The revision that last changed it.
    pub mod_revision: Revision,
}

/// Why a value could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not the JSON of this type.
    #[error("{key}: not a {kind}: {source}")]
    Malformed {
        /// Where it stands.
        key: String,
        /// What was expected there.
        kind: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// No format version.
    #[error("{key}: {kind} without a format version (field \"v\")")]
    NoVersion {
        /// Where it stands.
        key: String,
        /// What was expected there.
        kind: &'static str,
    },
    /// Written by a newer program.
    #[error("{key}: {kind} has format version {found}, this program reads up to {VERSION}: upgrade it")]
    Newer {
        /// Where it stands.
        key: String,
        /// What was expected there.
        kind: &'static str,
        /// Its format version.
        found: u64,
    },
}

/// A type that stands in the store.
pub trait Record: Serialize + DeserializeOwned {
    /// Its name in messages.
    const KIND: &'static str;
    /// Where it keeps the fields that it does not know.
    fn unknown_mut(&mut self) -> &mut Unknown;
}

macro_rules! record {
    ($type:ty, $kind:literal) => {
        impl Record for $type {
            const KIND: &'static str = $kind;
            fn unknown_mut(&mut self) -> &mut Unknown {
                &mut self.unknown
            }
        }
    };
}
record!(Task, "task record");
record!(QueueEntry, "queue entry");
record!(RunEntry, "run entry");
record!(EndEntry, "end entry");
record!(NodeEntry, "node entry");

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u64,
    #[serde(flatten)]
    value: &'a T,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: Option<u64>,
}

/// The bytes of a value.
pub fn encode<T: Record>(value: &T) -> Vec<u8> {
    serde_json::to_vec(&Versioned { v: VERSION, value }).expect("records are maps with string keys")
}

/// The bytes of a status key's value.
pub fn encode_status(entry: &StatusEntry) -> Vec<u8> {
    match entry {
        StatusEntry::Queued(entry) => encode(entry),
        StatusEntry::Running(_, entry) => encode(entry),
        StatusEntry::Ended(entry) => encode(entry),
    }
}

/// Reads a value; `key` is for the message.
pub fn decode<T: Record>(key: &str, bytes: &[u8]) -> Result<T, RecordError> {
    let key = || key.to_owned();
    let mut value: T = serde_json::from_slice(bytes).map_err(|source| {
        // What a newer program wrote may well not parse: then its version is the better message.
        match serde_json::from_slice::<VersionOnly>(bytes) {
            Ok(VersionOnly { v: Some(found) }) if found > VERSION => {
                RecordError::Newer { key: key(), kind: T::KIND, found }
            }
            _ => RecordError::Malformed { key: key(), kind: T::KIND, source },
        }
    })?;
    // The version is no field of the type, so it arrives among the unknown ones; it must not stay there and be written twice.
    match value.unknown_mut().remove(VERSION_FIELD).and_then(|v| v.as_u64()) {
        None | Some(0) => Err(RecordError::NoVersion { key: key(), kind: T::KIND }),
        Some(found) if found > VERSION => Err(RecordError::Newer { key: key(), kind: T::KIND, found }),
        Some(_) => Ok(value),
    }
}

/// Reads what stands under a key.
pub fn decode_kv<T: Record>(kv: &KeyValue) -> Result<Stored<T>, RecordError> {
    Ok(Stored {
        value: decode(&kv.key, &kv.value)?,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
    })
}
