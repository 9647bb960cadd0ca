//! The one builder of the transactions by which a node keeps room for a task of several nodes ([`shoal_core::entry::OfferEntry`]), and takes that back. The
//! start that ends all of a task's offers is a move ([`crate::moves::Guard::AllOffer`]).

use crate::key::Key;
use crate::port::{Compare, LeaseId, Op, OpReply, Revision, Txn, TxnReply};
use crate::record::{self, RecordError};
use shoal_core::entry::OfferEntry;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::task::Task;

/// Keeps room, if the node's own key is as it was at `node_modified` and the task waits under the queue key that was created at `queue_created`.
pub fn offer(
    task: TaskId,
    (node, node_modified): (NodeId, Revision),
    queue_created: Revision,
    entry: &OfferEntry,
    lease: LeaseId,
) -> Txn {
    let (key, value) = (Key::Offered(task, node).to_string(), record::encode(entry));
    Txn {
        compares: vec![
            Compare::ModRevision(Key::Node(node).to_string(), node_modified),
            Compare::CreateRevision(Key::Queued(task).to_string(), queue_created),
        ],
        then: vec![Op::Put { key, value, lease: Some(lease) }],
        or_else: Vec::new(),
    }
}

/// Takes it back, whether or not it is there.
pub fn withdraw(task: TaskId, node: NodeId) -> Txn {
    let delete = Op::Delete(Key::Offered(task, node).to_string());
    Txn { then: vec![delete, Op::Get(Key::Task(task).to_string())], ..Txn::default() }
}

/// What [`withdraw`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// The offer was there and is not any more: the watch shows it.
    Deleted,
    /// It had become a start: the watch shows it.
    Started,
    /// There was none.
    Absent,
}

/// Reads the reply to [`withdraw`].
pub fn read_withdrawn(node: NodeId, reply: &TxnReply) -> Result<Withdrawn, RecordError> {
    let (mut deleted, mut starts) = (false, false);
    for part in &reply.replies {
        match part {
            OpReply::Deleted(count) => deleted = *count > 0,
            OpReply::Got(Some(kv)) => starts = record::decode_kv::<Task>(kv)?.value.runs_on(node),
            OpReply::Got(None) | OpReply::Put | OpReply::Txn(_) => {}
        }
    }
    Ok(match (deleted, starts) {
        (true, _) => Withdrawn::Deleted,
        (false, true) => Withdrawn::Started,
        (false, false) => Withdrawn::Absent,
    })
}
