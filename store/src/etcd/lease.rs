//! Leases, and one kept-open keepalive stream for each.
//!
//! Invariant: an answer counts for the request that asked for it. A stream on which a request went unanswered (error, timeout, dropped
//! future) is thrown away, because a late answer on it would pass for the answer to the next request, and the node would
//! think its lease younger than it is.

use super::CALL_TIMEOUT;
use super::endpoint::{Endpoint, Endpoints};
use super::error::Failure;
use crate::port::{LeaseId, StoreError};
use etcd_client::{Error, LeaseKeepAliveStream, LeaseKeeper};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One try to renew on one endpoint. Shorter than a call: the lease runs out meanwhile, and the next endpoint may answer.
const RENEW_TIMEOUT: Duration = Duration::from_millis(1500);

struct KeepAlive {
    endpoint: usize,
    keeper: LeaseKeeper,
    replies: LeaseKeepAliveStream,
}

type Slot = Arc<tokio::sync::Mutex<Option<KeepAlive>>>;

pub(super) struct Leases {
    endpoints: Arc<Endpoints>,
    open: Mutex<HashMap<LeaseId, Slot>>,
}

impl Leases {
    pub(super) fn new(endpoints: Arc<Endpoints>) -> Leases {
        Leases { endpoints, open: Mutex::new(HashMap::new()) }
    }

    /// Repeated on the next endpoint even where it may have been carried out: a lease that nobody knows ends by itself.
    pub(super) async fn grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(whole.max(1)).unwrap_or(i64::MAX);
        let reply = self
            .endpoints
            .read(|endpoint| async move { endpoint.lease().grant(seconds, None).await })
            .await?;
        Ok((LeaseId(reply.id()), seconds_of(reply.ttl())))
    }

    pub(super) async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.forget(lease);
        let revoked =
            self.endpoints.read(|endpoint| async move { endpoint.lease().revoke(lease.0).await }).await;
        match revoked {
            Ok(_) | Err(StoreError::LeaseNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn renew(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        let slot = self.slot(lease);
        let mut slot = slot.lock().await;
        let mut last = String::new();
        // Once more than there are endpoints: the kept-open stream may be a dead one.
        for _ in 0..=self.endpoints.len() {
            // Taken out, and put back after an answer only: see the invariant above.
            let open = slot.take();
            let was_open = open.is_some();
            let index = open.as_ref().map_or_else(|| self.endpoints.preferred().0, |open| open.endpoint);
            match tokio::time::timeout(RENEW_TIMEOUT, self.ask(lease, open)).await {
                Ok(Ok((open, ttl))) if ttl > 0 => {
                    *slot = Some(open);
                    return Ok(seconds_of(ttl));
                }
                Ok(Ok(_)) => {
                    self.forget(lease);
                    return Err(StoreError::LeaseNotFound);
                }
                Ok(Err(Failure::Refused(error))) => {
                    self.forget(lease);
                    return Err(error);
                }
                // A stream that was kept open may have ended long ago (a restart, a hang-up): only a fresh one speaks of now.
                Ok(Err(Failure::NotSent(why) | Failure::NoAnswer(why))) if was_open => last = why,
                Ok(Err(Failure::NotSent(why) | Failure::NoAnswer(why))) => {
                    last = self.endpoints.failed(index, &why);
                }
                Err(_) => last = self.endpoints.failed(index, "no answer to a lease renewal"),
            }
        }
        Err(StoreError::Unknown(last))
    }

    async fn ask(&self, lease: LeaseId, open: Option<KeepAlive>) -> Result<(KeepAlive, i64), Failure> {
        let mut open = match open {
            Some(open) => open,
            None => {
                let (index, endpoint) = self.endpoints.preferred();
                open_stream(lease, index, &endpoint).await?
            }
        };
        open.keeper.keep_alive().await.map_err(Failure::of)?;
        match open.replies.message().await.map_err(Failure::of)? {
            Some(reply) if reply.id() == lease.0 => Ok((open, reply.ttl())),
            Some(_) => Err(Failure::NoAnswer("renewal of another lease answered".to_owned())),
            None => Err(Failure::NoAnswer("keepalive stream ended".to_owned())),
        }
    }

    fn slot(&self, lease: LeaseId) -> Slot {
        self.open.lock().expect("no panic while held").entry(lease).or_default().clone()
    }

    fn forget(&self, lease: LeaseId) {
        self.open.lock().expect("no panic while held").remove(&lease);
    }
}

async fn open_stream(lease: LeaseId, index: usize, endpoint: &Endpoint) -> Result<KeepAlive, Failure> {
    // Opening asks once by itself and hides the answer's time to live; it says so when the lease is gone.
    match endpoint.lease().keep_alive(lease.0).await {
        Ok((keeper, replies)) => Ok(KeepAlive { endpoint: index, keeper, replies }),
        Err(Error::LeaseKeepAliveError(why)) if why.contains("not found") => {
            Err(Failure::Refused(StoreError::LeaseNotFound))
        }
        Err(error) => Err(Failure::of(error)),
    }
}

fn seconds_of(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

const _: () = assert!(RENEW_TIMEOUT.as_millis() < CALL_TIMEOUT.as_millis());
