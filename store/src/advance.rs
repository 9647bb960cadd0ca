//! The one builder of the transaction that advances the cluster's clock ([`shoal_core::clock`]).

use crate::key::Key;
use crate::port::{Compare, Op, Revision, Txn};
use crate::record;
use shoal_core::clock::Tick;
use shoal_core::entry::ClockEntry;
use shoal_core::lock::Lockable;
use shoal_core::spec::Unknown;

/// Makes the clock show `to`, unless somebody has written it after revision `after` (0: ever), and removes the locks that are `over` with that. One that
/// was written anew since its revision makes all of it void: whoever proposed it sees the new one and proposes again.
pub fn advance(to: Tick, after: Revision, over: &[(Lockable, Revision)]) -> Txn {
    let key = Key::Clock.to_string();
    // One number; what a newer version may add beside it is not this version's to keep for it.
    let value = record::encode(&ClockEntry { tick: to, unknown: Unknown::new() });
    let locks: Vec<(String, Revision)> =
        over.iter().map(|(what, revision)| (Key::Lock(what.clone()).to_string(), *revision)).collect();
    let unchanged = locks.iter().map(|(lock, revision)| Compare::ModRevision(lock.clone(), *revision));
    let compares = std::iter::once(Compare::ModRevision(key.clone(), after)).chain(unchanged).collect();
    let removed = locks.iter().map(|(lock, _)| Op::Delete(lock.clone()));
    let then = std::iter::once(Op::Put { key, value, lease: None }).chain(removed).collect();
    Txn { compares, then, or_else: Vec::new() }
}
