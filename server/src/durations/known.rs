//! The durations that are in the store, as this node's watch has brought them.

use super::Expected;
use shoal_core::duration::{DurationEntry, NAMES_MAX};
use shoal_store::key::Key;
use shoal_store::learn::Removal;
use shoal_store::port::{Change, KeyValue};
use shoal_store::record::{self, Stored};
use std::collections::HashMap;

/// Names that go with one write: more than one can bring, so that what several nodes brought too much at once is gone soon.
const REMOVALS_MAX: usize = 16;

/// By name.
#[derive(Debug, Default)]
pub(super) struct Known {
    names: HashMap<String, Stored<DurationEntry>>,
}

impl Known {
    pub(super) fn expected(&self, name: &str) -> Expected {
        let entry = self.names.get(name).map(|stored| &stored.value);
        entry.map_or(Expected::default(), |entry| Expected { seconds: entry.expected_s, runs: entry.runs })
    }

    /// The record of a name, to learn on top of it.
    pub(super) fn stored(&self, name: &str) -> Option<&Stored<DurationEntry>> {
        self.names.get(name)
    }

    pub(super) fn reset(&mut self, kvs: &[KeyValue]) {
        self.names.clear();
        kvs.iter().for_each(|kv| self.put(kv));
    }

    pub(super) fn fold(&mut self, change: &Change) {
        match change {
            Change::Put(kv) => self.put(kv),
            Change::Delete { key, .. } => {
                if let Ok(Key::Duration(name)) = Key::parse(key) {
                    self.names.remove(&name);
                }
            }
        }
    }

    fn put(&mut self, kv: &KeyValue) {
        let Ok(Key::Duration(name)) = Key::parse(&kv.key) else { return };
        match record::decode_kv(kv) {
            Ok(stored) => drop(self.names.insert(name, stored)),
            Err(error) => {
                tracing::warn!(%error, "a duration cannot be read");
                self.names.remove(&name);
            }
        }
    }

    /// Which names have to go so that these can be written: those that are worth least ([`DurationEntry::kept_until`]), and none of these.
    pub(super) fn removals(&self, written: &[String]) -> Vec<Removal> {
        let new = written.iter().filter(|name| !self.names.contains_key(*name)).count();
        let count = (self.names.len() + new).saturating_sub(NAMES_MAX).min(REMOVALS_MAX);
        // Who writes nothing new leaves it to those who do.
        if new == 0 || count == 0 {
            return Vec::new();
        }
        let mut others: Vec<_> = self.names.iter().filter(|(name, _)| !written.contains(name)).collect();
        let worth = |(name, stored): &(&String, &Stored<DurationEntry>)| {
            (stored.value.kept_until(), stored.mod_revision, (*name).clone())
        };
        let count = count.min(others.len());
        if count < others.len() {
            others.select_nth_unstable_by_key(count, worth);
        }
        let removal = |(name, stored): (&String, &Stored<_>)| Removal {
            name: name.clone(),
            after: stored.mod_revision,
        };
        others.into_iter().take(count).map(removal).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::clock::Tick;

    fn put(name: &str, runs: u64, tick: u64) -> Change {
        let entry = DurationEntry { expected_s: 7, runs, tick: Tick(tick), ..DurationEntry::default() };
        let (key, value) = (Key::Duration(name.to_owned()).to_string(), record::encode(&entry));
        Change::Put(KeyValue { key, value, create_revision: 1, mod_revision: tick as i64, lease: None })
    }

    fn names(removals: &[Removal]) -> Vec<&str> {
        removals.iter().map(|removal| removal.name.as_str()).collect()
    }

    fn full() -> Known {
        let mut known = Known::default();
        (0..NAMES_MAX as u64).for_each(|n| known.fold(&put(&format!("t{n}"), 1, n + 1)));
        known
    }

    #[test]
    fn it_follows_the_store() {
        let mut known = Known::default();
        known.fold(&put("a b", 3, 1));
        assert_eq!(known.expected("a b"), Expected { seconds: 7, runs: 3 });
        let gone = |key: &str| Change::Delete { key: key.to_owned(), revision: 9 };
        known.fold(&gone("/duration/other"));
        known.fold(&gone("/clock"));
        assert_eq!(known.expected("a b").runs, 3);
        known.fold(&gone("/duration/a%20b"));
        assert_eq!(known.expected("a b"), Expected::default());
    }

    #[test]
    fn a_new_name_removes_the_one_that_has_not_learned_for_the_longest() {
        let known = full();
        assert!(known.removals(&["t5".to_owned()]).is_empty(), "it is there already");
        let removals = known.removals(&["t0".to_owned(), "new".to_owned()]);
        assert_eq!(removals, [Removal { name: "t1".to_owned(), after: 2 }]);
    }

    #[test]
    fn a_name_of_many_runs_stays_longer_and_what_is_too_much_goes_bit_by_bit() {
        let mut known = full();
        known.fold(&put("t0", 24, 1));
        (0..100).for_each(|n| known.fold(&put(&format!("more{n}"), 1, 1_000_000 + n)));
        let removals = known.removals(&["new".to_owned()]);
        assert_eq!(removals.len(), REMOVALS_MAX);
        let mut gone = names(&removals);
        gone.sort_unstable();
        let mut oldest: Vec<String> = (1..=REMOVALS_MAX).map(|n| format!("t{n}")).collect();
        oldest.sort_unstable();
        assert_eq!(gone, oldest);
    }

    #[test]
    fn below_the_limit_nothing_goes() {
        let mut known = Known::default();
        known.fold(&put("a", 1, 1));
        assert!(known.removals(&["new".to_owned()]).is_empty());
    }
}
