//! What people keep from taking tasks: a node, or the whole queue. To ask again is always fine.
//!
//! Invariant: a lock is only written over, or removed, as it was when it was looked at; who locks at the same time is seen.

use super::Service;
use super::error::ApiError;
use shoal_core::lock::{LockEntry, Lockable};
use shoal_core::spec::Unknown;
use shoal_proto::convert::check::Check;
use shoal_proto::convert::limits;
use shoal_proto::convert::task::lock_to_wire;
use shoal_proto::v1;
use shoal_store::key::Key;
use shoal_store::port::{Compare, Op, StoreError, Txn};
use shoal_store::record;

/// Tries against others who lock the same thing at the same time.
const TRIES_MAX: usize = 8;

/// Keeps a node from taking tasks.
pub async fn lock_node(
    service: &Service,
    request: v1::LockNodeRequest,
) -> Result<v1::LockNodeResponse, ApiError> {
    let v1::LockNodeRequest { node, by, reason, for_ms, force } = request;
    let wanted = check(&by, &reason, for_ms)?;
    if !force {
        let nodes = service.api.insight.nodes().await;
        if !nodes.iter().any(|live| live.entry.name == node) {
            let mut known: Vec<String> = nodes.into_iter().map(|live| live.entry.name).collect();
            known.sort();
            return Err(ApiError::NoNode { node, known });
        }
    }
    let lock = write(service, Lockable::Node(node), &by, Some((reason, wanted)), force).await?;
    Ok(v1::LockNodeResponse { lock })
}

/// Lets a node take tasks again.
pub async fn unlock_node(
    service: &Service,
    request: v1::UnlockNodeRequest,
) -> Result<v1::UnlockNodeResponse, ApiError> {
    let v1::UnlockNodeRequest { node, by, force } = request;
    check(&by, "", 0)?;
    write(service, Lockable::Node(node), &by, None, force).await?;
    Ok(v1::UnlockNodeResponse {})
}

/// Keeps queued tasks from starting.
pub async fn pause_queue(
    service: &Service,
    request: v1::PauseQueueRequest,
) -> Result<v1::PauseQueueResponse, ApiError> {
    let v1::PauseQueueRequest { by, reason, for_ms } = request;
    let wanted = check(&by, &reason, for_ms)?;
    let pause = write(service, Lockable::Queue, &by, Some((reason, wanted)), true).await?;
    Ok(v1::PauseQueueResponse { pause })
}

/// Lets queued tasks start again.
pub async fn resume_queue(service: &Service) -> Result<v1::ResumeQueueResponse, ApiError> {
    write(service, Lockable::Queue, "", None, true).await?;
    Ok(v1::ResumeQueueResponse {})
}

/// How long it is to last; `None` until somebody ends it.
pub(super) fn check(by: &str, reason: &str, for_ms: u64) -> Result<Option<u64>, ApiError> {
    let mut check = Check::new();
    check.line("by", by, limits::USER_CHARS_MAX);
    check.line("reason", reason, limits::REASON_CHARS_MAX);
    if for_ms != 0 && !limits::LOCK_MS.contains(for_ms) {
        let (min, max) = (limits::LOCK_MS.min, limits::LOCK_MS.max);
        check.refuse("for_ms", format!("must be 0 (no end) or between {min} and {max}, was {for_ms}"));
    }
    check.finish(())?;
    Ok((for_ms != 0).then_some(for_ms))
}

/// Writes the lock, or removes it where there is nothing `wanted`; the lock as it is then.
async fn write(
    service: &Service,
    what: Lockable,
    by: &str,
    wanted: Option<(String, Option<u64>)>,
    force: bool,
) -> Result<Option<v1::LockInfo>, ApiError> {
    let store = &service.api.store;
    let now = service.tick().await?;
    let entry = wanted.map(|(reason, for_ms)| LockEntry {
        by: by.to_owned(),
        reason,
        at: (service.api.wall)(),
        until: for_ms.map(|ms| LockEntry::end_after(now, ms)),
        request: None,
        unknown: Unknown::new(),
    });
    let key = Key::Lock(what.clone());
    if let (Lockable::Node(node), Err(_)) = (&what, Key::parse(&key.to_string())) {
        return Err(ApiError::NoNode { node: node.clone(), known: Vec::new() });
    }
    let key = key.to_string();
    for _ in 0..TRIES_MAX {
        let (kv, _) = store.get(&key).await?;
        let stored = kv.as_ref().map(record::decode_kv::<LockEntry>).transpose();
        // One that cannot be read is of a newer version: only who says so may write over it.
        let before = match stored {
            Ok(stored) => stored.map(|stored| stored.value),
            Err(_) if force => None,
            Err(error) => return Err(ApiError::Internal(error.to_string())),
        };
        if let (Lockable::Node(node), Some(lock)) = (&what, before.filter(|lock| lock.holds(now)))
            && lock.by != by
            && !force
        {
            return Err(ApiError::LockedByOther { node: node.clone(), lock: Box::new(lock) });
        }
        let write = match &entry {
            Some(entry) => Op::Put { key: key.clone(), value: record::encode(entry), lease: None },
            None if kv.is_none() => return Ok(None),
            None => Op::Delete(key.clone()),
        };
        let compares = vec![Compare::ModRevision(key.clone(), kv.map_or(0, |kv| kv.mod_revision))];
        // Its outcome may stay unknown; whoever asks again finds out.
        if store.txn(Txn { compares, then: vec![write], or_else: Vec::new() }).await?.succeeded {
            return Ok(entry.map(|entry| lock_to_wire(&entry, now)));
        }
    }
    Err(StoreError::Refused("the lock changed again and again".to_owned()).into())
}
