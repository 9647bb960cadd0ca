//! The one builder of transactions that change a task's state. Each move is guarded by the record's revision (and, where it
//! matters, by the life or death of a node), writes record and status key together, and reads the present state where it lost.
//!
//! Never in here: a decision about what should happen (that is `shoal_core::transition`), or a retry.

use crate::key::{self, Key};
use crate::port::{Compare, KeyValue, Op, OpReply, Revision, Txn, TxnReply};
pub use crate::record::Stored;
use crate::record::{self, RecordError};
use shoal_core::entry::StatusEntry;
use shoal_core::gang_key::GangEntry;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::spec::Unknown;
use shoal_core::task::{Task, TaskState};
use std::collections::HashSet;

/// Most moves in one batch. etcd allows 128 operations in a transaction and, together with those of the outer one, in each nested one: 40 moves, and at most
/// [`shoal_core::gang::NODES_MAX`] nodes and 4 more in one of them. Most are 3 operations and 2 compares; throughput
/// is flat from about 40 moves on, while a long batch makes its first move wait.
pub const MOVES_MAX: usize = shoal_core::batch::MOVES_MAX;

/// Most bytes of keys and values in a batch: a third of etcd's request limit of 1.5 MiB, so that one batch does not hold up the log.
pub const BATCH_BYTES_MAX: usize = shoal_core::batch::BYTES_MAX;

/// What must hold of a node for a move to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing: a submit, or a cancel by somebody.
    None,
    /// The node is registered, and still by the key that was created at this revision.
    OwnerAlive {
        /// The node that makes the move.
        node: NodeId,
        /// When its key was created.
        create_revision: Revision,
    },
    /// The node is not registered: it is lost.
    NodeAbsent(NodeId),
    /// Each of these nodes keeps room for the task: they are all registered, and their offers end with the move.
    AllOffer(Vec<NodeId>),
}

/// A change of a task, guarded.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// The record as it was read; `None` for a submit.
    pub old: Option<Stored<Task>>,
    /// The record as it shall be.
    pub new: Task,
    /// What else must hold.
    pub guard: Guard,
}

/// What became of a move.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "at most forty of them live at once; a box would cost every reader a dereference"
)]
pub enum MoveOutcome {
    /// It happened; the record has this mod revision now.
    Committed {
        /// The transaction's revision.
        revision: Revision,
    },
    /// It did not happen: somebody else was first, or the guard did not hold. Ordinary input.
    Lost {
        /// The record as it stands.
        current: Option<Stored<Task>>,
        /// Whether the guard held.
        guard_held: bool,
    },
}

/// What reading back says about a move whose outcome was unknown.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "at most forty of them live at once; a box would cost every reader a dereference"
)]
pub enum Verdict {
    /// It happened: the record is as the move wrote it.
    Applied {
        /// The record's mod revision.
        revision: Revision,
        /// The record's create revision.
        create_revision: Revision,
    },
    /// It has not happened so far. The request may still be under way, so it may be proposed again only with the same compares, and
    /// who gives it up must be ready to see it happen.
    NotApplied,
    /// The record has changed into something else. The move may have happened before that (a steal that applied, then a cancel
    /// request): what counts is what stands now, so look whose attempt it is.
    Superseded(Option<Stored<Task>>),
}

/// Why moves cannot be one batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// More than [`MOVES_MAX`].
    #[error("{0} moves in one batch, at most {MOVES_MAX}")]
    TooMany(usize),
    /// More than [`BATCH_BYTES_MAX`]; a single move may be larger, the store decides on it.
    #[error("{0} bytes in one batch, at most {BATCH_BYTES_MAX}")]
    TooLarge(usize),
    /// Two moves of one task: the store refuses two puts of one key.
    #[error("task {0} is twice in one batch")]
    Duplicate(TaskId),
}

/// Why a reply could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// It does not have the shape that the batch asked for.
    #[error("reply does not fit the batch: {0}")]
    Shape(&'static str),
    /// A record in it cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Guard {
    /// The node whose key tells whether the guard held.
    fn node(&self) -> Option<NodeId> {
        match self {
            Guard::None | Guard::AllOffer(_) => None,
            Guard::OwnerAlive { node, .. } | Guard::NodeAbsent(node) => Some(*node),
        }
    }

    fn compares(&self, task: TaskId) -> Vec<Compare> {
        match self {
            Guard::None => Vec::new(),
            Guard::OwnerAlive { node, create_revision } => {
                vec![Compare::CreateRevision(Key::Node(*node).to_string(), *create_revision)]
            }
            Guard::NodeAbsent(node) => vec![Compare::CreateRevision(Key::Node(*node).to_string(), 0)],
            Guard::AllOffer(nodes) => {
                nodes.iter().map(|node| Compare::Exists(Key::Offered(task, *node).to_string())).collect()
            }
        }
    }

    /// `unchanged`: the record was as the move wanted it.
    fn held(&self, node_key: Option<&KeyValue>, unchanged: bool) -> bool {
        match self {
            Guard::None => true,
            Guard::OwnerAlive { create_revision, .. } => {
                node_key.is_some_and(|kv| kv.create_revision == *create_revision)
            }
            Guard::NodeAbsent(_) => node_key.is_none(),
            // Nothing else can have failed; reading sixty keys to say so would be dear.
            Guard::AllOffer(_) => !unchanged,
        }
    }
}

impl Move {
    /// The transaction of this move alone.
    pub fn to_txn(&self) -> Txn {
        let record_key = Key::Task(self.new.id).to_string();
        let seen = self.old.as_ref().map_or(0, |old| old.mod_revision);
        let mut compares = vec![Compare::ModRevision(record_key.clone(), seen)];
        compares.extend(self.guard.compares(self.new.id));
        let mut or_else = vec![Op::Get(record_key)];
        or_else.extend(self.guard.node().map(|node| Op::Get(Key::Node(node).to_string())));
        Txn { compares, then: self.writes(), or_else }
    }

    /// Status keys that the new state does not have go, those that it has are written: of several that stay as they are (the other nodes' of a task
    /// that ends on one) none.
    fn writes(&self) -> Vec<Op> {
        let put = |key: &Key, value| Op::Put { key: key.to_string(), value, lease: None };
        let created = self.old.as_ref().map(|old| old.create_revision);
        let value = record::encode_status(&StatusEntry::of(&self.new, created));
        let keys = Key::statuses_of(&self.new);
        let old_keys = self.old.as_ref().map(|old| Key::statuses_of(&old.value)).unwrap_or_default();
        let old_value = || Some(record::encode_status(&StatusEntry::of(&self.old.as_ref()?.value, created)));
        let stays = keys.len() > 1 && old_value().as_ref() == Some(&value);
        let stays = |key: &Key| stays && old_keys.contains(key);
        let gone = old_keys.iter().filter(|key| !keys.contains(key)).map(|key| Op::Delete(key.to_string()));
        let mut writes: Vec<Op> = gone.collect();
        if let Guard::AllOffer(_) = self.guard {
            writes.push(Op::DeleteRange(key::offers_to(self.new.id)));
        }
        writes.extend(self.gang());
        writes.extend(keys.iter().filter(|key| !stays(key)).map(|key| put(key, value.clone())));
        writes.push(put(&Key::Task(self.new.id), record::encode(&self.new)));
        writes
    }

    /// An attempt of several nodes has a key of its own while it runs, and with that key all goes that its members have told each other.
    fn gang(&self) -> Option<Op> {
        let id = self.new.id;
        match (self.old.as_ref().is_some_and(|old| runs_on_several(&old.value)), runs_on_several(&self.new)) {
            (false, true) => {
                let nodes = self.new.members().len() as u32;
                let value = record::encode(&GangEntry { nodes, unknown: Unknown::new() });
                let key = Key::Gang(id, self.new.attempt).to_string();
                Some(Op::Put { key, value, lease: None })
            }
            (true, false) => Some(Op::DeleteRange(key::gang_of_task(id))),
            (false, false) | (true, true) => None,
        }
    }

    /// What this move's transaction gave.
    pub fn read(&self, reply: &TxnReply, revision: Revision) -> Result<MoveOutcome, ReplyError> {
        if reply.succeeded {
            return Ok(MoveOutcome::Committed { revision });
        }
        let mut gets = reply.replies.iter().map(|reply| match reply {
            OpReply::Got(kv) => Ok(kv.as_ref()),
            OpReply::Put | OpReply::Deleted(_) | OpReply::Txn(_) => Err(ReplyError::Shape("not a read")),
        });
        let current = gets.next().ok_or(ReplyError::Shape("no record"))??;
        let node_key = match self.guard.node() {
            None => None,
            Some(_) => gets.next().ok_or(ReplyError::Shape("no node key"))??,
        };
        let seen = self.old.as_ref().map_or(0, |old| old.mod_revision);
        let unchanged = current.map_or(0, |kv| kv.mod_revision) == seen;
        let guard_held = self.guard.held(node_key, unchanged);
        Ok(MoveOutcome::Lost { current: current.map(record::decode_kv).transpose()?, guard_held })
    }
}

fn runs_on_several(task: &Task) -> bool {
    matches!(task.state, TaskState::Running { .. }) && !task.members().is_empty()
}

/// One transaction of all these moves, each guarded on its own: a lost race costs only its own move.
pub fn batch(moves: &[Move]) -> Result<Txn, BatchError> {
    if moves.len() > MOVES_MAX {
        return Err(BatchError::TooMany(moves.len()));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = moves.iter().find(|m| !seen.insert(m.new.id)) {
        return Err(BatchError::Duplicate(twice.new.id));
    }
    let txns: Vec<Txn> = moves.iter().map(Move::to_txn).collect();
    let bytes = txns.iter().map(size_of_txn).sum();
    if bytes > BATCH_BYTES_MAX && moves.len() > 1 {
        return Err(BatchError::TooLarge(bytes));
    }
    Ok(together(txns))
}

/// One transaction of the first of these moves, and of how many: as many as one batch may hold; at least one, where there is one.
pub fn first_batch<'a>(moves: impl IntoIterator<Item = &'a Move>) -> (Txn, usize) {
    let (mut seen, mut bytes, mut txns) = (HashSet::new(), 0, Vec::new());
    for next in moves.into_iter().take(MOVES_MAX) {
        let txn = next.to_txn();
        bytes += size_of_txn(&txn);
        if !seen.insert(next.new.id) || (!txns.is_empty() && bytes > BATCH_BYTES_MAX) {
            break;
        }
        txns.push(txn);
    }
    let count = txns.len();
    (together(txns), count)
}

fn together(txns: Vec<Txn>) -> Txn {
    Txn { then: txns.into_iter().map(Op::Txn).collect(), or_else: vec![counts_as_put()], ..Txn::default() }
}

/// An operation that is never carried out, because a batch has no compares of its own. etcd (`costTxn` in its quota.go, 3.4 to 3.6) weighs a
/// transaction by the puts that stand directly in it, in either branch. One of nested transactions alone weighs nothing and is let
/// through by the NOSPACE alarm (seen with 3.4.23): the database would grow until the disk is full.
pub(crate) fn counts_as_put() -> Op {
    Op::Put { key: key::NEVER_WRITTEN.to_owned(), value: Vec::new(), lease: None }
}

/// The outcome of each move of a batch, in its order.
pub fn read_batch<'a>(
    moves: impl IntoIterator<Item = &'a Move, IntoIter: ExactSizeIterator>,
    reply: &TxnReply,
) -> Result<Vec<MoveOutcome>, ReplyError> {
    let moves = moves.into_iter();
    if moves.len() != reply.replies.len() {
        return Err(ReplyError::Shape("another number of moves"));
    }
    let read = |(one, part): (&Move, &OpReply)| match part {
        OpReply::Txn(inner) => one.read(inner, reply.revision),
        OpReply::Put | OpReply::Deleted(_) | OpReply::Got(_) => Err(ReplyError::Shape("not a transaction")),
    };
    moves.zip(&reply.replies).map(read).collect()
}

/// Decides a move whose outcome is unknown by the record as it stands (a linearizable read, made after the call failed).
pub fn verdict_after_unknown(one: &Move, current: Option<Stored<Task>>) -> Verdict {
    let before = one.old.as_ref().map_or(0, |old| old.mod_revision);
    match current {
        None if before == 0 => Verdict::NotApplied,
        Some(stored) if stored.mod_revision == before => Verdict::NotApplied,
        Some(stored) if stored.mod_revision > before && stored.value == one.new => {
            Verdict::Applied { revision: stored.mod_revision, create_revision: stored.create_revision }
        }
        other => Verdict::Superseded(other),
    }
}

/// Bytes of keys and values that a transaction sends.
fn size_of_txn(txn: &Txn) -> usize {
    let compares: usize = txn
        .compares
        .iter()
        .map(|compare| match compare {
            Compare::ModRevision(key, _) | Compare::CreateRevision(key, _) | Compare::Exists(key) => {
                key.len()
            }
        })
        .sum();
    let op = |op: &Op| match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete(key) | Op::Get(key) => key.len(),
        Op::DeleteRange(range) => range.start.len() + range.end.len(),
        Op::Txn(inner) => size_of_txn(inner),
    };
    compares + txn.then.iter().chain(&txn.or_else).map(op).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::resources::Resources;
    use shoal_core::spec::{Net, OnNodeLoss, TaskSpec, Unknown};
    use shoal_core::time::WallMs;
    use uuid::Uuid;

    fn submit(number: u128, command_bytes: usize) -> Move {
        let spec = TaskSpec {
            command: vec!["x".repeat(command_bytes)],
            env: Default::default(),
            root: "default".to_owned(),
            resources: Resources::default(),
            pids_max: 1,
            name: String::new(),
            user: String::new(),
            workdir: "/".to_owned(),
            time_limit_ms: 0,
            kill_grace_ms: 0,
            max_attempts: 1,
            on_node_loss: OnNodeLoss::Requeue,
            net: Net::Loopback,
            mounts: Vec::new(),
            labels: Vec::new(),
            run_as: None,
            open_files_max: 0,
            disk_bytes_max: 0,
            io_bytes_per_s_max: 0,
            log_bytes_max: 0,
            priority: Default::default(),
            parts: Vec::new(),
            gang_end: Default::default(),
            exclusive: false,
            counts: Default::default(),
            unknown: Unknown::new(),
        };
        let new = Task::new(TaskId(Uuid::from_u128(number)), spec, (0, 1), WallMs(0));
        Move { old: None, new, guard: Guard::None }
    }

    #[test]
    fn a_batch_refuses_too_many_too_much_and_the_same_twice() {
        let many: Vec<Move> = (0..=MOVES_MAX as u128).map(|n| submit(n, 1)).collect();
        assert_eq!(batch(&many), Err(BatchError::TooMany(MOVES_MAX + 1)));
        assert!(batch(&many[1..]).is_ok());
        let large = [submit(1, BATCH_BYTES_MAX / 2), submit(2, BATCH_BYTES_MAX / 2)];
        assert!(matches!(batch(&large), Err(BatchError::TooLarge(bytes)) if bytes > BATCH_BYTES_MAX));
        assert!(batch(&[submit(1, BATCH_BYTES_MAX)]).is_ok(), "alone, the store decides");
        assert_eq!(
            batch(&[submit(1, 1), submit(1, 2)]),
            Err(BatchError::Duplicate(TaskId(Uuid::from_u128(1))))
        );
    }

    #[test]
    fn what_is_taken_is_always_a_batch_and_all_is_taken_in_order() {
        let sizes = [10, BATCH_BYTES_MAX * 2, 10, BATCH_BYTES_MAX / 2, BATCH_BYTES_MAX / 2, 10];
        let all: Vec<Move> =
            (0..200_u128).map(|n| submit(n % 7 + n / 3 * 10, sizes[n as usize % sizes.len()])).collect();
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let (txn, count) = first_batch(rest);
            let (part, others) = rest.split_at(count);
            assert!(count > 0);
            assert_eq!(txn, batch(part).unwrap());
            rest = others;
        }
        assert_eq!(first_batch(rest).1, 0);
    }

    #[test]
    fn a_move_whose_status_key_stays_does_not_delete_it() {
        let old = Stored { value: submit(1, 1).new, create_revision: 5, mod_revision: 8 };
        let same =
            Move { new: old.value.clone(), old: Some(old), guard: Guard::NodeAbsent(NodeId(Uuid::nil())) };
        let txn = same.to_txn();
        assert!(txn.then.iter().all(|op| matches!(op, Op::Put { .. })), "{:?}", txn.then);
        assert_eq!(txn.compares[0], Compare::ModRevision(Key::Task(same.new.id).to_string(), 8));
        assert_eq!(txn.compares[1], Compare::CreateRevision(Key::Node(NodeId(Uuid::nil())).to_string(), 0));
    }

    #[test]
    fn a_batch_weighs_something_and_still_writes_only_its_moves() {
        let txn = batch(&[submit(1, 1)]).unwrap();
        assert!(txn.compares.is_empty(), "so the other branch is never taken");
        assert!(matches!(txn.or_else.as_slice(), [Op::Put { .. }]));
        assert!(matches!(txn.then.as_slice(), [Op::Txn(_)]));
    }

    #[test]
    fn a_reply_of_another_shape_is_an_error() {
        let one = [submit(1, 1)];
        let reply = |replies| TxnReply { succeeded: true, revision: 9, replies };
        for replies in [vec![], vec![OpReply::Put], vec![OpReply::Put, OpReply::Put]] {
            assert!(matches!(read_batch(&one, &reply(replies)), Err(ReplyError::Shape(_))));
        }
        let lost = TxnReply { succeeded: false, revision: 0, replies: vec![] };
        assert!(matches!(read_batch(&one, &reply(vec![OpReply::Txn(lost)])), Err(ReplyError::Shape(_))));
    }
}
