//! Between the port's types and etcd-client's.

use crate::port::{Compare, KeyValue, LeaseId, Op, OpReply, Revision, Txn, TxnReply};
use etcd_client::{CompareOp, DeleteOptions, PutOptions, ResponseHeader, TxnOp, TxnOpResponse};

pub(super) fn revision(header: Option<&ResponseHeader>) -> Revision {
    header.map_or(0, ResponseHeader::revision)
}

pub(super) fn key_value(kv: etcd_client::KeyValue) -> KeyValue {
    let (create_revision, mod_revision, lease) = (kv.create_revision(), kv.mod_revision(), kv.lease());
    let (key, value) = kv.into_key_value();
    KeyValue {
        key: text(key),
        value,
        create_revision,
        mod_revision,
        lease: (lease != 0).then_some(LeaseId(lease)),
    }
}

/// Our keys are ASCII. One that somebody else wrote in other bytes must not stop us; it parses as no key of ours.
pub(super) fn text(key: Vec<u8>) -> String {
    String::from_utf8(key).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned())
}

pub(super) fn txn(txn: Txn) -> etcd_client::Txn {
    let compares: Vec<etcd_client::Compare> = txn.compares.into_iter().map(compare).collect();
    let then: Vec<TxnOp> = txn.then.into_iter().map(op).collect();
    let or_else: Vec<TxnOp> = txn.or_else.into_iter().map(op).collect();
    etcd_client::Txn::new().when(compares).and_then(then).or_else(or_else)
}

fn compare(compare: Compare) -> etcd_client::Compare {
    match compare {
        Compare::ModRevision(key, revision) => {
            etcd_client::Compare::mod_revision(key, CompareOp::Equal, revision)
        }
        Compare::CreateRevision(key, revision) => {
            etcd_client::Compare::create_revision(key, CompareOp::Equal, revision)
        }
        Compare::Exists(key) => etcd_client::Compare::create_revision(key, CompareOp::Greater, 0),
    }
}

fn op(op: Op) -> TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            TxnOp::put(key, value, lease.map(|lease| PutOptions::new().with_lease(lease.0)))
        }
        Op::Delete(key) => TxnOp::delete(key, None),
        Op::DeleteRange(range) => {
            TxnOp::delete(range.start, Some(DeleteOptions::new().with_range(range.end)))
        }
        Op::Get(key) => TxnOp::get(key, None),
        Op::Txn(inner) => TxnOp::txn(txn(inner)),
    }
}

pub(super) fn txn_reply(reply: &etcd_client::TxnResponse) -> TxnReply {
    TxnReply {
        succeeded: reply.succeeded(),
        revision: revision(reply.header()),
        replies: reply.op_responses().into_iter().map(op_reply).collect(),
    }
}

fn op_reply(reply: TxnOpResponse) -> OpReply {
    match reply {
        TxnOpResponse::Put(_) => OpReply::Put,
        TxnOpResponse::Delete(deleted) => OpReply::Deleted(u64::try_from(deleted.deleted()).unwrap_or(0)),
        TxnOpResponse::Get(mut got) => OpReply::Got(got.take_kvs().pop().map(key_value)),
        TxnOpResponse::Txn(inner) => OpReply::Txn(txn_reply(&inner)),
    }
}
