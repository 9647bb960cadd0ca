//! Lock any: so many nodes, whichever are best, for a person and for a time. All of them or none.
//!
//! Invariant: asked again with the same request id, it has the nodes that it had got before the answer was lost, and no more than were asked for.

use super::error::ApiError;
use super::{Service, lock};
use shoal_core::entry::NodeState;
use shoal_core::features;
use shoal_core::lock::{LockEntry, Lockable};
use shoal_core::spec::Unknown;
use shoal_proto::convert::check::Check;
use shoal_proto::convert::task::lock_to_wire;
use shoal_proto::convert::{people, request_id};
use shoal_proto::v1;
use shoal_store::key::{self, Key};
use shoal_store::port::{Compare, ListOptions, Op, Revision, Store, Txn};
use shoal_store::record;
use std::collections::BTreeMap;

/// By name: the lock that holds on it, and the revision that wrote it.
type Taken = BTreeMap<String, (LockEntry, Revision)>;

/// Locks so many.
pub async fn lock_any(
    service: &Service,
    request: v1::LockAnyRequest,
) -> Result<v1::LockAnyResponse, ApiError> {
    let v1::LockAnyRequest { request_id: id, nodes: wanted, label, by, reason, for_ms } = request;
    let id = request_id(&id)?;
    let mut check = Check::new();
    let label = people::label(label, "label", &mut check);
    if for_ms == 0 {
        check.refuse("for_ms", "must be given: a node that nobody has named is not locked for ever");
    }
    check.finish(())?;
    let for_ms = lock::check(&by, &reason, for_ms)?;
    let wanted = wanted.max(1) as usize;
    let now = service.tick().await?;
    let until = for_ms.map(|ms| LockEntry::end_after(now, ms));
    let at = (service.api.wall)();
    let entry = LockEntry { by, reason, at, until, request: id, unknown: Unknown::new() };

    let listing = service.api.store.list(key::locks(), ListOptions::default()).await?;
    let (mut taken, mut before) = (Taken::new(), BTreeMap::new());
    for kv in &listing.kvs {
        let Ok(Key::Lock(Lockable::Node(name))) = Key::parse(&kv.key) else { continue };
        // One that cannot be read is of a newer version: nobody's to take.
        let stored = record::decode_kv::<LockEntry>(kv).map(|stored| stored.value);
        let is_over = stored.as_ref().is_ok_and(|lock| !lock.holds(now));
        if let Ok(lock) = stored
            && lock.holds(now)
            && id.is_some()
            && lock.request == id
        {
            taken.insert(name.clone(), (lock, kv.mod_revision));
        }
        before.insert(name, (is_over, kv.mod_revision));
    }
    let candidates = candidates(service, label.as_deref()).await;
    for node in &candidates {
        if taken.len() >= wanted {
            break;
        }
        let (is_free, revision) = before.get(node).copied().unwrap_or((true, 0));
        if is_free && let Some(revision) = take(&*service.api.store, node, &entry, revision).await? {
            taken.insert(node.clone(), (entry.clone(), revision));
        }
    }
    if taken.len() < wanted {
        let free = taken.len();
        give_back(&*service.api.store, taken).await?;
        return Err(ApiError::NotEnoughNodes { wanted, free, label });
    }
    let live = service.api.insight.nodes().await;
    let running = |name: &str| live.iter().filter(|it| it.entry.name == name).map(|it| it.running).sum();
    let nodes = taken.iter().map(|(name, (lock, _))| v1::LockedNode {
        node: name.clone(),
        lock: Some(lock_to_wire(lock, now)),
        running: running(name),
    });
    Ok(v1::LockAnyResponse { nodes: nodes.collect() })
}

/// Names of nodes that take tasks or are kept for people: who does nothing first, of those who is kept, and then by name.
async fn candidates(service: &Service, label: Option<&str>) -> Vec<String> {
    let nodes = service.api.insight.nodes().await;
    let label = label.map(features::label);
    let fits =
        |has: &std::collections::BTreeSet<String>| label.as_ref().is_none_or(|label| has.contains(label));
    let mut open: Vec<_> = nodes
        .into_iter()
        .filter(|node| node.entry.state == NodeState::Ready && fits(&node.entry.offers.has))
        .map(|node| (node.running > 0, !node.is_kept, node.entry.name))
        .collect();
    open.sort();
    open.into_iter().map(|(_, _, name)| name).collect()
}

/// Locks this one, unless somebody has been there since that revision; the revision that did.
async fn take(
    store: &dyn Store,
    node: &str,
    entry: &LockEntry,
    before: Revision,
) -> Result<Option<Revision>, ApiError> {
    let key = Key::Lock(Lockable::Node(node.to_owned())).to_string();
    let compares = vec![Compare::ModRevision(key.clone(), before)];
    let put = Op::Put { key, value: record::encode(entry), lease: None };
    let reply = store.txn(Txn { compares, then: vec![put], or_else: Vec::new() }).await?;
    Ok(reply.succeeded.then_some(reply.revision))
}

/// Unlocks what was not enough, unless somebody has locked it otherwise meanwhile.
async fn give_back(store: &dyn Store, taken: Taken) -> Result<(), ApiError> {
    for (node, (_, revision)) in taken {
        let key = Key::Lock(Lockable::Node(node)).to_string();
        let compares = vec![Compare::ModRevision(key.clone(), revision)];
        store.txn(Txn { compares, then: vec![Op::Delete(key)], or_else: Vec::new() }).await?;
    }
    Ok(())
}
