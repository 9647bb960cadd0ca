//! The one builder of the transaction that advances the cluster's clock ([`shoal_core::clock`]).

use crate::key::Key;
use crate::port::{Compare, Op, Revision, Txn};
use crate::record;
use shoal_core::clock::Tick;
use shoal_core::entry::ClockEntry;
use shoal_core::spec::Unknown;

/// Makes the clock show `to`, unless somebody has written it after revision `after` (0: ever).
pub fn advance(to: Tick, after: Revision) -> Txn {
    let key = Key::Clock.to_string();
    // One number; what a newer version may add beside it is not this version's to keep for it.
    let value = record::encode(&ClockEntry { tick: to, unknown: Unknown::new() });
    Txn {
        compares: vec![Compare::ModRevision(key.clone(), after)],
        then: vec![Op::Put { key, value, lease: None }],
        or_else: Vec::new(),
    }
}
