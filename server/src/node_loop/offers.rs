//! Keeping room for tasks of several nodes, in the store. Each call answers only when it knows what holds.
//!
//! An offer whose outcome is unknown may still be on its way. So it compares the revision of the node's own key, and before anything is said of it that key
//! is written anew: what comes later fails.

use shoal_core::entry::OfferEntry;
use shoal_core::event::Event;
use shoal_core::id::{NodeId, TaskId};
use shoal_store::key::Key;
use shoal_store::offer::{self, Withdrawn};
use shoal_store::port::{Compare, KeyValue, Op, Store, StoreError, Txn};
use std::time::Duration;

/// Between two tries while the store does not answer.
const RETRY: Duration = Duration::from_millis(200);

/// Offers room; the event that says what came of it.
pub(super) async fn offer(
    store: &dyn Store,
    node: NodeId,
    task: TaskId,
    entry: OfferEntry,
    queue_created: i64,
) -> Event {
    let own = match store.get(&Key::Node(node).to_string()).await {
        Ok((Some(own), _)) => own,
        // Without the key the identity is lost; without an answer nothing was written.
        Ok((None, _)) | Err(_) => return Event::OfferGone { task, node },
    };
    let Some(lease) = own.lease else { return Event::OfferGone { task, node } };
    let txn = offer::offer(task, (node, own.mod_revision), queue_created, &entry, lease);
    match store.txn(txn).await {
        Ok(reply) if reply.succeeded => Event::Offered { task, node, revision: reply.revision },
        Ok(_) => Event::OfferGone { task, node },
        Err(StoreError::Unknown(why)) => {
            tracing::warn!(%task, why, "outcome of an offer unknown, it is taken back");
            void(store, node, own).await;
            withdraw(store, node, task).await
        }
        Err(error) => {
            tracing::debug!(%task, %error, "not offered");
            Event::OfferGone { task, node }
        }
    }
}

/// Makes every earlier offer of this node fail that is still on its way.
async fn void(store: &dyn Store, node: NodeId, mut own: KeyValue) {
    loop {
        let key = Key::Node(node).to_string();
        let compares = vec![Compare::ModRevision(key.clone(), own.mod_revision)];
        let put = Op::Put { key: key.clone(), value: own.value.clone(), lease: own.lease };
        if store.txn(Txn { compares, then: vec![put], or_else: Vec::new() }).await.is_ok() {
            // Whether this or somebody else has written it: it has another revision.
            return;
        }
        tokio::time::sleep(RETRY).await;
        match store.get(&key).await {
            Ok((Some(now), _)) if now.mod_revision != own.mod_revision => return,
            Ok((Some(now), _)) => own = now,
            Ok((None, _)) => return,
            Err(error) => tracing::warn!(%error, "own key not read yet"),
        }
    }
}

/// Takes an offer back; the event that says what came of it, where the watch does not.
pub(super) async fn withdraw(store: &dyn Store, node: NodeId, task: TaskId) -> Event {
    loop {
        let done = store.txn(offer::withdraw(task, node)).await;
        match done.map(|reply| offer::read_withdrawn(node, &reply)) {
            Ok(Ok(Withdrawn::Deleted | Withdrawn::Started)) => return Event::Tick,
            Ok(Ok(Withdrawn::Absent)) => return Event::OfferGone { task, node },
            Ok(Err(error)) => tracing::error!(%task, %error, "record cannot be read"),
            Err(error) => tracing::warn!(%task, %error, "offer not taken back yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
