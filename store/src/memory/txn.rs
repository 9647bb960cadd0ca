//! Transactions as etcd carries them out: refuse what is ill-formed, decide every compare of the whole tree before the first
//! write, then carry out the operations in order.

use super::state::State;
use crate::port::{Compare, KeyRange, Op, OpReply, StoreError, Txn, TxnReply};
use std::collections::HashSet;

/// etcd's default `--max-txn-ops`; a nested transaction has what the outer one leaves.
const OPS_MAX: usize = 128;
/// etcd's default `--max-request-bytes`.
const REQUEST_BYTES_MAX: usize = 1_572_864;

pub(super) fn carry_out(state: &mut State, txn: Txn) -> Result<TxnReply, StoreError> {
    check_ops(&txn, OPS_MAX)?;
    if bytes_of(&txn) > REQUEST_BYTES_MAX {
        return Err(StoreError::TooLarge("request is too large".to_owned()));
    }
    keys_written(&txn.then)?;
    keys_written(&txn.or_else)?;
    if state.is_full() && has_put(&txn) {
        return Err(StoreError::NoSpace);
    }
    let decided = decide(state, txn);
    check_leases(state, &decided)?;
    let mut reply = execute(state, decided);
    state.commit();
    reply.revision = state.revision();
    Ok(reply)
}

fn inner_txns(ops: &[Op]) -> impl Iterator<Item = &Txn> {
    ops.iter().filter_map(|op| match op {
        Op::Txn(inner) => Some(inner),
        Op::Put { .. } | Op::Delete(_) | Op::DeleteRange(_) | Op::Get(_) => None,
    })
}

fn check_ops(txn: &Txn, budget: usize) -> Result<(), StoreError> {
    let most = txn.compares.len().max(txn.then.len()).max(txn.or_else.len());
    let left = budget
        .checked_sub(most)
        .ok_or_else(|| StoreError::TooLarge("too many operations in txn request".to_owned()))?;
    inner_txns(&txn.then).chain(inner_txns(&txn.or_else)).try_for_each(|inner| check_ops(inner, left))
}

fn bytes_of(txn: &Txn) -> usize {
    let op = |op: &Op| match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete(key) | Op::Get(key) => key.len(),
        Op::DeleteRange(range) => range.start.len() + range.end.len(),
        Op::Txn(inner) => bytes_of(inner),
    };
    txn.then.iter().chain(&txn.or_else).map(op).sum()
}

fn has_put(txn: &Txn) -> bool {
    txn.then.iter().chain(&txn.or_else).any(|op| match op {
        Op::Put { .. } => true,
        Op::Txn(inner) => has_put(inner),
        Op::Delete(_) | Op::DeleteRange(_) | Op::Get(_) => false,
    })
}

/// What a branch writes.
#[derive(Default)]
struct Written {
    puts: HashSet<String>,
    deletes: Vec<KeyRange>,
}

impl Written {
    fn clashes(&self, more: &Written) -> bool {
        let deleted = |ranges: &[KeyRange], key: &str| ranges.iter().any(|range| range.contains(key));
        !self.puts.is_disjoint(&more.puts)
            || more.puts.iter().any(|key| deleted(&self.deletes, key))
            || self.puts.iter().any(|key| deleted(&more.deletes, key))
    }

    fn extend(&mut self, more: Written) {
        self.puts.extend(more.puts);
        self.deletes.extend(more.deletes);
    }
}

/// The keys that a branch puts and those that it deletes; refused where two of its operations would write one key. The two branches
/// of one transaction exclude each other, so they may write the same.
fn keys_written(ops: &[Op]) -> Result<Written, StoreError> {
    let mut all = Written::default();
    for op in ops {
        let more = match op {
            Op::Get(_) => continue,
            Op::Put { key, .. } => Written { puts: HashSet::from([key.clone()]), ..Written::default() },
            Op::Delete(key) => {
                let only = KeyRange { start: key.clone(), end: format!("{key}\0") };
                Written { deletes: vec![only], ..Written::default() }
            }
            Op::DeleteRange(range) => Written { deletes: vec![range.clone()], ..Written::default() },
            Op::Txn(inner) => {
                let mut written = keys_written(&inner.then)?;
                written.extend(keys_written(&inner.or_else)?);
                written
            }
        };
        if all.clashes(&more) {
            return Err(StoreError::Refused("duplicate key given in txn request".to_owned()));
        }
        all.extend(more);
    }
    Ok(all)
}

/// A transaction whose branch is chosen.
struct Decided {
    succeeded: bool,
    ops: Vec<Step>,
}

enum Step {
    Plain(Op),
    Txn(Decided),
}

fn decide(state: &State, txn: Txn) -> Decided {
    let succeeded = txn.compares.iter().all(|compare| match compare {
        Compare::ModRevision(key, revision) => state.get(key).map_or(0, |kv| kv.mod_revision) == *revision,
        Compare::CreateRevision(key, revision) => {
            state.get(key).map_or(0, |kv| kv.create_revision) == *revision
        }
        Compare::Exists(key) => state.get(key).is_some(),
    });
    let branch = if succeeded { txn.then } else { txn.or_else };
    let step = |op| match op {
        Op::Txn(inner) => Step::Txn(decide(state, inner)),
        plain @ (Op::Put { .. } | Op::Delete(_) | Op::DeleteRange(_) | Op::Get(_)) => Step::Plain(plain),
    };
    Decided { succeeded, ops: branch.into_iter().map(step).collect() }
}

fn check_leases(state: &State, decided: &Decided) -> Result<(), StoreError> {
    decided.ops.iter().try_for_each(|step| match step {
        Step::Txn(inner) => check_leases(state, inner),
        Step::Plain(Op::Put { lease: Some(lease), .. }) if !state.lease_lives(*lease) => {
            Err(StoreError::LeaseNotFound)
        }
        Step::Plain(_) => Ok(()),
    })
}

fn execute(state: &mut State, decided: Decided) -> TxnReply {
    let succeeded = decided.succeeded;
    let replies = decided.ops.into_iter().map(|step| match step {
        Step::Txn(inner) => OpReply::Txn(execute(state, inner)),
        Step::Plain(Op::Put { key, value, lease }) => {
            state.put(key, value, lease);
            OpReply::Put
        }
        Step::Plain(Op::Delete(key)) => OpReply::Deleted(state.delete(&key)),
        Step::Plain(Op::DeleteRange(range)) => OpReply::Deleted(state.delete_range(&range)),
        Step::Plain(Op::Get(key)) => OpReply::Got(state.get(&key).cloned()),
        Step::Plain(Op::Txn(_)) => unreachable!("decide made it a Step::Txn"),
    });
    TxnReply { succeeded, replies: replies.collect(), revision: 0 }
}
