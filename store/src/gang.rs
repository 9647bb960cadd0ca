//! The one builder of transactions by which a member of a task of several nodes tells the others something ([`shoal_core::gang_key`]).
//!
//! Guard: the attempt's own key, which [`crate::moves`] writes with the attempt's start and deletes, together with all that was told, with its end. So nothing
//! is told to an attempt that is over, and nothing of it is left. Each key is written once: who comes second reads what stands there.

use crate::key::Key;
use crate::moves::counts_as_put;
use crate::port::{Compare, KeyValue, Op, OpReply, Txn, TxnReply};
use crate::record::{self, RecordError};
use shoal_core::gang_key::GangValue;
use shoal_core::id::AttemptId;

/// Most keys in one transaction: with twice its bytes, two names and the rest of its JSON each is below 9 KiB, all together below half of
/// [`crate::moves::BATCH_BYTES_MAX`].
pub const PUBLICATIONS_MAX: usize = 24;

/// What became of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Published {
    /// It stands there now.
    Written,
    /// Another value stood there before, or the same by an earlier try whose answer was lost.
    Taken(GangValue),
    /// The attempt is not the one that runs, any more or yet.
    Over,
}

/// Why a reply could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It does not have the shape that was asked for.
    #[error("reply does not fit the publications")]
    Shape,
    /// What stands there cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// One transaction of all these keys (at most [`PUBLICATIONS_MAX`]), each guarded on its own.
pub fn publish<'a>(attempt: AttemptId, values: impl IntoIterator<Item = (&'a str, &'a GangValue)>) -> Txn {
    let nested = values.into_iter().map(|(key, value)| Op::Txn(publish_one(attempt, key, value))).collect();
    Txn { then: nested, or_else: vec![counts_as_put()], ..Txn::default() }
}

fn publish_one(attempt: AttemptId, key: &str, value: &GangValue) -> Txn {
    let runs = Key::Gang(attempt.task, attempt.number).to_string();
    let key = Key::GangKey(attempt.task, attempt.number, key.to_owned()).to_string();
    Txn {
        compares: vec![Compare::Exists(runs.clone()), Compare::CreateRevision(key.clone(), 0)],
        then: vec![Op::Put { key: key.clone(), value: record::encode(value), lease: None }],
        or_else: vec![Op::Get(runs), Op::Get(key)],
    }
}

/// What became of each key of [`publish`], in its order.
pub fn read_published(reply: &TxnReply) -> Result<Vec<Published>, PublishError> {
    reply.replies.iter().map(read_one).collect()
}

fn read_one(part: &OpReply) -> Result<Published, PublishError> {
    let OpReply::Txn(inner) = part else { return Err(PublishError::Shape) };
    match inner.replies.as_slice() {
        [OpReply::Put] if inner.succeeded => Ok(Published::Written),
        [OpReply::Got(Some(_)), OpReply::Got(Some(taken))] => Ok(Published::Taken(value(taken)?)),
        [OpReply::Got(None), OpReply::Got(_)] => Ok(Published::Over),
        // Both compares hold by now: the nested reads are of the same moment as the compares, so this is no answer to what was asked.
        _ => Err(PublishError::Shape),
    }
}

fn value(kv: &KeyValue) -> Result<GangValue, RecordError> {
    record::decode_kv(kv).map(|stored| stored.value)
}
