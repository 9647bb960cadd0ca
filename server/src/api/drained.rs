//! Waits until a locked node is empty, and will stay so while it is locked: by the view's changes, not by the clock.
//!
//! Correct because of the order: first the node's own word, in its entry, that it has seen this lock and has no start under way any more, then a read of the store
//! itself that finds nothing running there. (The view alone would not do: its keys of nodes and of tasks may come in any order relative to each other.)
//! A node that is down says nothing; then its key is gone, under which alone it could start anything, and what ran there is dead once no lost node has
//! anything any more.

use super::Service;
use super::error::ApiError;
use shoal_core::drain::Drain;
use shoal_core::lock::Lockable;
use shoal_proto::v1;
use shoal_store::key::{self, Key};
use shoal_store::port::{ListOptions, Projection};
use std::time::Duration;

/// Then it answers with what still runs: shorter than the patience of a usual client, so that a call that goes unanswered means something.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Waits.
pub async fn wait_drained(
    service: &Service,
    request: v1::WaitDrainedRequest,
) -> Result<v1::WaitDrainedResponse, ApiError> {
    let node = request.node;
    let key = Key::Lock(Lockable::Node(node.clone())).to_string();
    let (lock, _) = service.api.store.get(&key).await?;
    // An older view does not know of this lock, or knows one that it has replaced.
    let Some(since) = lock.map(|lock| lock.mod_revision) else { return Err(ApiError::NotLocked { node }) };
    let mut folded = service.api.insight.folded();
    let end = tokio::time::sleep(WAIT_MAX);
    tokio::pin!(end);
    loop {
        let is_current = *folded.borrow_and_update() >= since;
        let running = match service.api.insight.drain(&node).await {
            _ if !is_current => 0,
            Drain::Open => return Err(ApiError::NotLocked { node }),
            Drain::Busy { running, has_seen: _ } => running,
            Drain::Empty => match running_there(service, &node).await? {
                0 => return Ok(v1::WaitDrainedResponse { drained: true, running: 0 }),
                running => running,
            },
        };
        tokio::select! {
            () = service.api.shutdown.cancelled() => return Err(ApiError::Stopping),
            () = &mut end => return Ok(v1::WaitDrainedResponse { drained: false, running }),
            changed = folded.changed() => changed.map_err(|_| ApiError::Stopping)?,
        }
    }
}

/// How many tasks the store says to run there; on any node that is not live, where this one is not.
async fn running_there(service: &Service, name: &str) -> Result<u64, ApiError> {
    let live = service.api.insight.nodes().await;
    let own: Vec<_> = live.iter().filter(|node| node.entry.name == name).collect();
    let store = &service.api.store;
    let mut running = 0;
    for node in &own {
        let count = ListOptions { projection: Projection::Count, ..ListOptions::default() };
        running += store.list(key::running_of(node.id), count).await?.count;
    }
    if own.is_empty() {
        let keys = ListOptions { projection: Projection::KeysOnly, ..ListOptions::default() };
        let all = store.list(key::running(), keys).await?;
        let is_lost = |key: &str| match Key::parse(key) {
            Ok(Key::Running(node, _)) => !live.iter().any(|it| it.id == node),
            _ => false,
        };
        running += all.kvs.iter().filter(|kv| is_lost(&kv.key)).count() as u64;
    }
    Ok(running)
}
