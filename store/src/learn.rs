//! The one builder of transactions that write what was learned of durations ([`shoal_core::duration`]): several names at once, each guarded on its own by
//! its key's revision, and with them the names that have to go for them.
//!
//! Never in here: a retry. Whoever was beaten is told what stands there, and may try once more on top of it.

use crate::key::Key;
use crate::moves::{ReplyError, counts_as_put};
use crate::port::{Compare, Op, OpReply, Revision, Txn, TxnReply};
use crate::record::{self, RecordError, Stored};
use shoal_core::duration::DurationEntry;

/// A name's new record.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Whose.
    pub name: String,
    /// The revision that wrote the record on top of which it was learned; 0 where there was none.
    pub after: Revision,
    /// The record.
    pub entry: DurationEntry,
}

/// A name that has to go, unless somebody has written it after this revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Which.
    pub name: String,
    /// The revision.
    pub after: Revision,
}

/// What became of an update.
#[derive(Debug)]
pub enum Learned {
    /// It is in the store.
    Written,
    /// Somebody else has written or removed the name meanwhile; this stands there now.
    Beaten(Option<Stored<DurationEntry>>),
    /// What stands there cannot be read: it is not touched.
    Unreadable(RecordError),
}

/// All of them in one transaction; a lost race costs only its own name.
pub fn learn(updates: &[Update], removals: &[Removal]) -> Txn {
    let updates = updates.iter().map(|update| {
        let key = Key::Duration(update.name.clone()).to_string();
        let value = record::encode(&update.entry);
        Op::Txn(Txn {
            compares: vec![Compare::ModRevision(key.clone(), update.after)],
            then: vec![Op::Put { key: key.clone(), value, lease: None }],
            or_else: vec![Op::Get(key)],
        })
    });
    let removals = removals.iter().map(|removal| {
        let key = Key::Duration(removal.name.clone()).to_string();
        let compares = vec![Compare::ModRevision(key.clone(), removal.after)];
        Op::Txn(Txn { compares, then: vec![Op::Delete(key)], or_else: Vec::new() })
    });
    Txn { compares: Vec::new(), then: updates.chain(removals).collect(), or_else: vec![counts_as_put()] }
}

/// What became of each update, in their order.
pub fn read(updates: &[Update], reply: &TxnReply) -> Result<Vec<Learned>, ReplyError> {
    let parts = reply.replies.get(..updates.len()).ok_or(ReplyError::Shape("another number of names"))?;
    let outcome = |part: &OpReply| match part {
        OpReply::Txn(inner) if inner.succeeded => Ok(Learned::Written),
        OpReply::Txn(inner) => match inner.replies.as_slice() {
            [OpReply::Got(None)] => Ok(Learned::Beaten(None)),
            [OpReply::Got(Some(kv))] => Ok(match record::decode_kv(kv) {
                Ok(stored) => Learned::Beaten(Some(stored)),
                Err(error) => Learned::Unreadable(error),
            }),
            _ => Err(ReplyError::Shape("not a read")),
        },
        OpReply::Put | OpReply::Deleted(_) | OpReply::Got(_) => Err(ReplyError::Shape("not a transaction")),
    };
    parts.iter().map(outcome).collect()
}
