//! When a format here changes: a new field with a default needs nothing; a change of meaning needs `VERSION` + 1, and `decode` must go on reading the old one.
//!
//! Encodes and decodes the values of the store: JSON with the format version first (`{"v":1,…}`), so that `etcdctl` shows
//! them readably. Fields that this version does not know survive a decode and encode; a value of a newer format version is an
//! error, because its known fields may mean something else.

use crate::port::{KeyValue, Revision};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shoal_core::duration::DurationEntry;
use shoal_core::entry::{ClockEntry, EndEntry, NodeEntry, OfferEntry, QueueEntry, RunEntry, StatusEntry};
use shoal_core::gang_key::{GangEntry, GangValue};
use shoal_core::image::ImageEntry;
use shoal_core::lock::LockEntry;
use shoal_core::reserve::ReserveEntry;
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
record!(OfferEntry, "offer");
record!(EndEntry, "end entry");
record!(NodeEntry, "node entry");
record!(ImageEntry, "image entry");
record!(ClockEntry, "clock");
record!(LockEntry, "lock");
record!(ReserveEntry, "reserve");
record!(DurationEntry, "duration");
record!(GangEntry, "gang");
record!(GangValue, "gang value");

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
        StatusEntry::Running(entry) => encode(entry),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn task_json() -> Value {
        json!({
            "id": "0192d000-0000-7000-8000-000000000001",
            "spec": {
                "command": ["true"], "root": "default", "resources": {"cpu_milli": 500, "memory_bytes": 1048576},
                "pids_max": 64, "workdir": "/", "kill_grace_ms": 1000, "max_attempts": 3, "time_limit_ms": 0,
                "on_node_loss": "fail", "v": "a spec may have its own"
            },
            "state": {"is": "running", "node": "0192d000-0000-7000-8000-00000000000a"},
            "attempt": 2, "seq": 7, "submitted": 1_700_000_000_000_i64,
        })
    }

    fn queue_json() -> Value {
        json!({"resources": {"cpu_milli": 1, "memory_bytes": 2}, "root": "host", "attempt": 1, "order": 9})
    }

    fn node_json() -> Value {
        json!({
            "name": "n1", "address": "127.0.0.1:7400", "resources": {"cpu_milli": 2000, "memory_bytes": 4096},
            "roots": ["default"], "version": "0.1.0",
        })
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Fields that no version knows; the prefix keeps them clear of those that are known.
    fn any_unknown() -> impl Strategy<Value = Unknown> {
        prop::collection::btree_map("x.{0,8}", any_value(), 0..5).prop_map(|map| map.into_iter().collect())
    }

    /// A newer program's value goes through this one and comes out with every field it had.
    fn passes_through<T: Record + PartialEq + std::fmt::Debug>(known: Value, unknown: Unknown) {
        let mut whole = known.as_object().cloned().expect("an object");
        whole.extend(unknown);
        whole.insert("v".to_owned(), json!(VERSION));
        let mut value: T = decode("/k", &serde_json::to_vec(&whole).unwrap()).unwrap();
        assert!(!value.unknown_mut().contains_key("v"));
        let bytes = encode(&value);
        assert!(bytes.starts_with(br#"{"v":1,"#), "the version comes first");
        assert_eq!(decode::<T>("/k", &bytes).unwrap(), value);
        let written: Unknown = serde_json::from_slice(&bytes).unwrap();
        for (field, content) in &whole {
            assert_eq!(written.get(field), Some(content), "{field}");
        }
    }

    proptest! {
        #[test]
        fn unknown_fields_survive(unknown in any_unknown(), in_spec in any_unknown()) {
            let mut task = task_json();
            task["spec"].as_object_mut().unwrap().extend(in_spec);
            passes_through::<Task>(task, unknown.clone());
            passes_through::<QueueEntry>(queue_json(), unknown.clone());
            passes_through::<NodeEntry>(
                json!({"state": "draining", "voter": true, "name": "", "address": "", "roots": [], "version": "",
                       "resources": {"cpu_milli": 0, "memory_bytes": 0}}),
                unknown.clone(),
            );
            passes_through::<GangEntry>(json!({"nodes": 3}), unknown.clone());
            passes_through::<GangValue>(json!({"node": "n1", "text": "a"}), unknown.clone());
            passes_through::<EndEntry>(json!({"attempt": 1, "end": "exit 0"}), unknown.clone());
            passes_through::<RunEntry>(
                json!({"attempt": 1, "cancel": true, "resources": {"cpu_milli": 0, "memory_bytes": 0}}),
                unknown,
            );
        }

        #[test]
        fn hostile_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode::<Task>("/k", &bytes).is_err());
        }

        #[test]
        fn a_cut_value_is_an_error(cut in 0..200_usize) {
            let mut node = node_json();
            node["v"] = json!(1);
            let bytes = serde_json::to_vec(&node).unwrap();
            let cut = cut.min(bytes.len() - 1);
            let malformed = matches!(decode::<NodeEntry>("/k", &bytes[..cut]), Err(RecordError::Malformed { .. }));
            prop_assert!(malformed);
        }
    }

    #[test]
    fn a_newer_format_is_said_plainly_whether_it_parses_or_not() {
        let mut parses = queue_json();
        parses["v"] = json!(2);
        for bytes in [parses.to_string(), r#"{"v":2,"attempt":"second"}"#.to_owned()] {
            let error = decode::<QueueEntry>("/task/status/queued/x", bytes.as_bytes()).unwrap_err();
            let said = "/task/status/queued/x: queue entry has format version 2, this program reads up to 1: upgrade it";
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn a_value_without_a_version_is_refused() {
        for v in [Value::Null, json!(0), json!("1"), json!(-1)] {
            let mut entry = queue_json();
            entry["v"] = v;
            let read = decode::<QueueEntry>("/k", entry.to_string().as_bytes());
            assert!(matches!(read, Err(RecordError::NoVersion { .. })), "{read:?}");
        }
        let read = decode::<QueueEntry>("/k", queue_json().to_string().as_bytes());
        assert!(matches!(read, Err(RecordError::NoVersion { .. })), "{read:?}");
    }
}
