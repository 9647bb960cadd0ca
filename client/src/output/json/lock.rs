//! A lock of a node, or the pause of the queue, as JSON.

use serde::Serialize;
use shoal_proto::v1;

/// Who keeps it from taking tasks.
#[derive(Clone, Debug, Serialize)]
pub struct Lock {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at_ms: i64,
    /// How long it still holds, give or take ten seconds; null until somebody ends it.
    pub left_ms: Option<u64>,
}

impl From<&v1::LockInfo> for Lock {
    fn from(lock: &v1::LockInfo) -> Lock {
        Lock {
            by: lock.by.clone(),
            reason: lock.reason.clone(),
            at_ms: lock.at_ms,
            left_ms: (lock.left_ms != 0).then_some(lock.left_ms),
        }
    }
}
