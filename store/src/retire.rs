//! The one builder of transactions that remove a task for good, when its retention is over: record and status key together.
//!
//! Guard: [`crate::moves`] writes both in one transaction and a terminal state has no exits, so the mod revision of a terminal status key
//! is its record's too. Both must still be at that revision. Where they are not, nothing is removed: such a pair is a case for people.
//!
//! There is no put in here, so it works while the store is full. Two nodes that retire the same task cost each other nothing: the second
//! finds it gone.

use crate::key::{self, EndKind, Epoch, Key};
use crate::port::{
    Compare, KeyRange, KeyValue, ListOptions, Op, OpReply, Projection, Revision, Txn, TxnReply,
};

/// Most retirements in one transaction: with the three operations of each nested one still below the 128 that etcd allows.
pub const RETIREMENTS_MAX: usize = 100;

/// A task to remove, as its status key was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retirement {
    record: String,
    status: String,
    /// Empty, unless a program that knows nothing of gangs' keys has ended the task.
    gang: KeyRange,
    revision: Revision,
}

impl Retirement {
    /// The task that this status key (its value does not matter) says has ended; `None` for every other key.
    pub fn of(kv: &KeyValue) -> Option<Retirement> {
        let Ok(Key::Ended(_, _, task)) = Key::parse(&kv.key) else { return None };
        Some(Retirement {
            record: Key::Task(task).to_string(),
            status: kv.key.clone(),
            gang: key::gang_of_task(task),
            revision: kv.mod_revision,
        })
    }

    fn to_txn(&self) -> Txn {
        Txn {
            compares: vec![
                Compare::ModRevision(self.record.clone(), self.revision),
                Compare::ModRevision(self.status.clone(), self.revision),
            ],
            then: vec![
                Op::Delete(self.record.clone()),
                Op::Delete(self.status.clone()),
                Op::DeleteRange(self.gang.clone()),
            ],
            or_else: Vec::new(),
        }
    }
}

/// Where to list what ended before `before`, from behind the status key `after` on, and how: never more than `limit` at once.
pub fn slice(kind: EndKind, before: Epoch, after: Option<&str>, limit: usize) -> (KeyRange, ListOptions) {
    let mut range = key::ended_before(kind, before);
    if let Some(after) = after {
        // The smallest key behind it.
        range.start = format!("{after}\0");
    }
    let options = ListOptions { limit, projection: Projection::KeysOnly, ..ListOptions::default() };
    (range, options)
}

/// Transactions of at most [`RETIREMENTS_MAX`] nested ones, each guarded on its own.
pub fn batches(retirements: &[Retirement]) -> impl Iterator<Item = Txn> {
    let nested = |part: &[Retirement]| part.iter().map(|one| Op::Txn(one.to_txn())).collect();
    retirements.chunks(RETIREMENTS_MAX).map(move |part| Txn { then: nested(part), ..Txn::default() })
}

/// How many tasks a transaction removed.
pub fn removed(reply: &TxnReply) -> usize {
    reply.replies.iter().filter(|part| matches!(part, OpReply::Txn(inner) if inner.succeeded)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::port::Store;
    use shoal_core::id::TaskId;
    use uuid::Uuid;

    fn task(n: u128) -> TaskId {
        TaskId(Uuid::from_u128(n))
    }

    fn ended(epoch: u64, n: u128) -> String {
        Key::Ended(EndKind::Complete, Epoch::new(epoch), task(n)).to_string()
    }

    async fn put(store: &MemoryStore, keys: &[String]) {
        let put = |key: &String| Op::Put { key: key.clone(), value: b"{}".to_vec(), lease: None };
        store.txn(Txn { then: keys.iter().map(put).collect(), ..Txn::default() }).await.unwrap();
    }

    async fn listed(store: &MemoryStore, before: u64) -> Vec<Retirement> {
        let (range, options) = slice(EndKind::Complete, Epoch::new(before), None, 1000);
        store.list(range, options).await.unwrap().kvs.iter().filter_map(Retirement::of).collect()
    }

    async fn retire(store: &MemoryStore, retirements: &[Retirement]) -> usize {
        let mut count = 0;
        for txn in batches(retirements) {
            count += removed(&store.txn(txn).await.unwrap());
        }
        count
    }

    async fn keys_left(store: &MemoryStore) -> usize {
        store.list(KeyRange::prefix("/"), ListOptions::default()).await.unwrap().kvs.len()
    }

    #[tokio::test]
    async fn record_and_status_go_together_even_when_the_store_is_full() {
        let store = MemoryStore::new();
        for n in 0..250 {
            put(&store, &[ended(5, n), Key::Task(task(n)).to_string()]).await;
        }
        put(&store, &[Key::Gang(task(7), 1).to_string()]).await;
        store.set_full(true);
        let retirements = listed(&store, 6).await;
        assert_eq!(batches(&retirements).count(), 3);
        assert_eq!(retire(&store, &retirements).await, 250);
        assert_eq!(keys_left(&store).await, 0);
        assert_eq!(retire(&store, &retirements).await, 0, "a second node finds them gone");
    }

    #[tokio::test]
    async fn a_pair_that_does_not_belong_together_is_left_alone() {
        let store = MemoryStore::new();
        put(&store, &[ended(5, 1), Key::Task(task(1)).to_string()]).await;
        put(&store, &[Key::Task(task(1)).to_string()]).await;
        put(&store, &[ended(5, 2)]).await;
        let retirements = listed(&store, 6).await;
        assert_eq!(retirements.len(), 2);
        assert_eq!(retire(&store, &retirements).await, 0);
        assert_eq!(keys_left(&store).await, 3);
    }

    #[test]
    fn only_ended_tasks_can_be_retired() {
        let kv = |key: Key| KeyValue {
            key: key.to_string(),
            value: Vec::new(),
            create_revision: 1,
            mod_revision: 1,
            lease: None,
        };
        let node = shoal_core::id::NodeId(Uuid::nil());
        for key in [Key::Queued(task(1)), Key::Running(node, task(1)), Key::Task(task(1)), Key::Node(node)] {
            assert_eq!(Retirement::of(&kv(key.clone())), None, "{key}");
        }
    }
}
