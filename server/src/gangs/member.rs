//! One member of a task of several nodes that runs here: what its directory holds, what the store holds, and what has still to go from one to the other.
//!
//! Nothing in here waits, and what it keeps is bounded whatever the task does: so many values of so many bytes, and so many names that were refused.

use super::directory::{Directory, Found, Seen};
use super::refusal::{self, Refusal};
use shoal_core::gang_key::{GangValue, KEYS_MAX, is_key};
use shoal_store::gang::{PUBLICATIONS_MAX, Published};
use shoal_store::key::Key;
use shoal_store::list_watch::FollowItem;
use shoal_store::port::{Change, KeyValue};
use shoal_store::record;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

/// Names whose refusal is said, each once.
const REFUSED_MAX: usize = 256;
/// Keys of an attempt that are shown. More than [`KEYS_MAX`] come about where members publish in the same moment.
const SHOWN_MAX: usize = 2 * KEYS_MAX;

/// A member.
pub struct Member {
    directory: Directory,
    /// What the store holds, by key.
    known: BTreeMap<String, Vec<u8>>,
    /// Whether the store has said all that it holds.
    listed: bool,
    /// What was read here and is on its way to the store.
    pending: BTreeMap<String, Vec<u8>>,
    /// What the store holds and the directory had no room for.
    unshown: BTreeSet<String>,
    refused: BTreeSet<OsString>,
}

impl Member {
    /// One of which nothing is known yet.
    pub fn new(directory: Directory) -> Member {
        Member {
            directory,
            known: BTreeMap::new(),
            listed: false,
            pending: BTreeMap::new(),
            unshown: BTreeSet::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Its directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Looks at all that is in the directory.
    pub fn look_at_all(&mut self) {
        match self.directory.names() {
            Ok(names) => names.iter().for_each(|name| self.look_at(name, Seen::Listed)),
            Err(error) => tracing::warn!(%error, "a gang's directory cannot be listed"),
        }
    }

    /// Looks at one name: what stands there is published, passed over or refused. Hidden names are the task's own.
    pub fn look_at(&mut self, name: &OsStr, seen: Seen) {
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if hidden {
            return;
        }
        let Some(key) = name.to_str().filter(|name| is_key(name)) else {
            // Of a file that never had a name the kernel makes one up.
            if self.directory.has(name) {
                self.refuse(name, &Refusal::Name);
            }
            return;
        };
        match self.directory.read(key, seen) {
            Found::Nothing | Found::Unfinished => {}
            Found::Refused(why) => self.refuse(name, &why),
            Found::Value(bytes) => self.offer(key, bytes),
        }
    }

    fn offer(&mut self, key: &str, bytes: Vec<u8>) {
        match self.known.get(key).or(self.pending.get(key)) {
            Some(first) if *first == bytes => {}
            Some(_) => self.refuse(key.as_ref(), &Refusal::Taken),
            None if self.pending.len() >= KEYS_MAX => self.refuse(key.as_ref(), &Refusal::TooMany),
            None => _ = self.pending.insert(key.to_owned(), bytes),
        }
    }

    /// What to publish next, of the member on this node. None before the store has said what it holds.
    pub fn publications(&mut self, node: &str) -> Vec<(String, GangValue)> {
        if !self.listed {
            return Vec::new();
        }
        let room = KEYS_MAX.saturating_sub(self.known.len());
        while self.pending.len() > room {
            let Some((key, _)) = self.pending.pop_last() else { break };
            self.refuse(key.as_ref(), &Refusal::TooMany);
        }
        let next = self.pending.iter().take(PUBLICATIONS_MAX);
        next.map(|(key, bytes)| (key.clone(), GangValue::new(node, bytes))).collect()
    }

    /// What became of a publication.
    pub fn published(&mut self, key: &str, outcome: Published) {
        let Some(bytes) = self.pending.remove(key) else { return };
        match outcome {
            Published::Written => _ = self.known.insert(key.to_owned(), bytes),
            Published::Over => {}
            Published::Taken(value) => {
                let first = value.bytes();
                if first.as_ref() != Some(&bytes) {
                    self.refuse(key.as_ref(), &Refusal::Taken);
                }
                self.known.extend(first.map(|first| (key.to_owned(), first)));
            }
        }
    }

    /// Whether something is still on its way to the store.
    pub fn is_publishing(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What the store holds, or what has changed there.
    pub fn hear(&mut self, item: FollowItem) {
        match item {
            FollowItem::Snapshot { kvs, .. } => {
                self.known.clear();
                kvs.iter().for_each(|kv| self.learn(kv));
                self.listed = true;
            }
            FollowItem::Changes { changes, .. } => changes.iter().for_each(|change| match change {
                Change::Put(kv) => self.learn(kv),
                // With the attempt, which is over: its member here is about to be.
                Change::Delete { .. } => {}
            }),
            FollowItem::Progress(_) | FollowItem::Interrupted(_) => {}
        }
    }

    fn learn(&mut self, kv: &KeyValue) {
        let Ok(Key::GangKey(_, _, key)) = Key::parse(&kv.key) else { return };
        let value =
            record::decode_kv::<GangValue>(kv).inspect_err(|error| tracing::error!(%error, "not shown"));
        let Some(bytes) = value.ok().and_then(|stored| stored.value.bytes()) else { return };
        if self.known.get(&key) == Some(&bytes) || self.known.len() >= SHOWN_MAX {
            return;
        }
        // Read here, and another member was first, or an answer was lost.
        if let Some(own) = self.pending.remove(&key)
            && own != bytes
        {
            self.refuse(key.as_ref(), &Refusal::Taken);
        }
        self.known.insert(key.clone(), bytes);
        self.show(&key);
    }

    /// Shows what there was no room for.
    pub fn show_rest(&mut self) {
        for key in std::mem::take(&mut self.unshown) {
            self.show(&key);
        }
    }

    fn show(&mut self, key: &str) {
        let Some(bytes) = self.known.get(key) else { return };
        if let Err(error) = self.directory.put(key, bytes) {
            self.unshown.insert(key.to_owned());
            self.refuse(key.as_ref(), &Refusal::Unshown(error.kind()));
        }
    }

    fn refuse(&mut self, name: &OsStr, why: &Refusal) {
        if self.refused.len() >= REFUSED_MAX || !self.refused.insert(name.to_owned()) {
            return;
        }
        if let Err(error) = self.directory.say(&refusal::line(name, why)) {
            tracing::debug!(%error, ?name, %why, "a refusal could not be said to its task");
        }
    }
}
