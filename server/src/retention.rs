//! Forgets tasks that ended long ago: their records in the store ([`tasks`]), and on this node's disk their logs ([`attempts`]) and the copies of their
//! logs ([`copies`]).
//!
//! The one place where a wall clock decides anything, which is why it comes in as an argument. Nothing that still waits or runs is ever
//! touched: only keys of an end are listed, and only directories whose end the runner has let go of are removed.

pub mod attempts;
pub mod copies;
pub mod tasks;

use crate::logs::copies::Copies as Kept;
use crate::seam::{Api, Insight};
use attempts::Attempts;
use copies::Copies;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::rendezvous;
use shoal_core::time::WallMs;
use shoal_store::key::Key;
use shoal_store::port::{Store, StoreError};
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tasks::Tasks;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Between rounds.
const ROUND: Duration = Duration::from_secs(60);
/// Records read at once; the same bound as for lists, for the sake of the reply's size.
const READ_LEN: usize = 100;
/// What the nodes agree about by rendezvous hash; of no other meaning, but the same in all versions.
const SUBJECT: Uuid = Uuid::from_u128(0x7265_7465_6e74_696f_6e00_0000_0000_0001);

/// What it needs.
pub struct Retention {
    /// The cluster's state.
    pub store: Arc<dyn Store>,
    /// Who lives.
    pub insight: Arc<dyn Insight>,
    /// How long after its end a task is kept.
    pub keep: Duration,
    /// `DATA/attempts`.
    pub attempts_dir: PathBuf,
    /// Copies of other nodes' logs.
    pub copies: Arc<Kept>,
    /// The wall clock.
    pub wall: fn() -> WallMs,
    /// Ends it.
    pub stop: CancellationToken,
}

impl Retention {
    /// With what the API works with.
    pub fn of(api: &Api, keep: Duration) -> Retention {
        Retention {
            store: api.store.clone(),
            insight: api.insight.clone(),
            keep,
            attempts_dir: api.attempts_dir.clone(),
            copies: api.copies.clone(),
            wall: api.wall,
            stop: api.shutdown.clone(),
        }
    }

    /// Runs until stopped. A store that is away costs a round, not the server.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut tasks = Tasks::new(self.store.clone(), self.keep);
        let mut attempts = Attempts::new(self.store.clone(), self.attempts_dir.clone(), self.keep);
        let mut copies = Copies::new(self.store.clone(), self.copies.clone());
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                _ = rounds.tick() => {}
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = self.round(&mut tasks, &mut attempts, &mut copies) => {}
            }
        }
    }

    async fn round(&self, tasks: &mut Tasks, attempts: &mut Attempts, copies: &mut Copies) {
        let now = (self.wall)();
        if self.is_mine().await {
            said("tasks past their retention", sweep(tasks, now).await);
        }
        said("logs of tasks past their retention", attempts.round(now).await);
        said("copies of logs of tasks past their retention", copies.round().await);
    }

    /// Whether this node removes records: the first in rank of those that live. Two that both think so only waste a little work.
    async fn is_mine(&self) -> bool {
        let me = self.insight.identity().id;
        let nodes: Vec<NodeId> = self.insight.nodes().await.iter().map(|node| node.id).collect();
        is_first(me, &nodes)
    }
}

/// Which of these tasks have no record. The replica that is asked first may lag, so the store itself has the last word.
async fn gone(store: &dyn Store, tasks: BTreeSet<TaskId>) -> Result<HashSet<TaskId>, StoreError> {
    let tasks: Vec<TaskId> = tasks.into_iter().collect();
    let mut gone = HashSet::new();
    for part in tasks.chunks(READ_LEN) {
        let keys: Vec<String> = part.iter().map(|task| Key::Task(*task).to_string()).collect();
        let read = store.get_many_stale(&keys).await?;
        for ((task, key), kv) in part.iter().zip(&keys).zip(read) {
            if kv.is_none() && store.get(key).await?.0.is_none() {
                gone.insert(*task);
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(gone)
}

/// A node that does not see itself is not registered, or has no view yet.
fn is_first(me: NodeId, nodes: &[NodeId]) -> bool {
    nodes.contains(&me) && rendezvous::rank(SUBJECT, me, nodes.iter().copied()) == 0
}

/// Slice after slice while there is more, with everybody else's work in between.
async fn sweep(tasks: &mut Tasks, now: WallMs) -> Result<usize, StoreError> {
    let mut removed = 0;
    loop {
        let slice = tasks.slice(now).await?;
        removed += slice.removed;
        if !slice.more {
            return Ok(removed);
        }
        tokio::task::yield_now().await;
    }
}

fn said(what: &str, removed: Result<usize, StoreError>) {
    match removed {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "removed {what}"),
        Err(error) => tracing::warn!(%error, "{what} not removed in this round"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_removes_and_it_is_registered() {
        let nodes: Vec<NodeId> = (1..=5).map(|n| NodeId(Uuid::from_u128(n << 64))).collect();
        assert_eq!(nodes.iter().filter(|me| is_first(**me, &nodes)).count(), 1);
        assert!(!is_first(NodeId(Uuid::nil()), &nodes));
        assert!(!is_first(nodes[0], &[]));
        assert!(is_first(nodes[0], &nodes[..1]));
    }
}
