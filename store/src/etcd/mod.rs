//! The store port on a real etcd, by etcd-client.
//!
//! One client for each endpoint, never a balanced set: the first endpoint is the node's own member, and which member got a call must
//! be known to decide what its failure means. Invariant: a transaction is sent to a second endpoint only when it certainly was not sent to the
//! first; any other failure is [`StoreError::Unknown`].

mod convert;
mod endpoint;
mod error;
mod lease;
mod list;
mod watch;

use crate::port::{
    KeyRange, KeyValue, LeaseId, ListOptions, Listing, Revision, Store, StoreError, Txn, TxnReply, Watch,
};
use async_trait::async_trait;
use endpoint::Endpoints;
use etcd_client::{GetOptions, TxnOp, TxnOpResponse};
use lease::Leases;
use std::sync::Arc;
use std::time::Duration;

/// The longest that one call to one endpoint takes. etcd itself gives up on a proposal after about 7 s; a node cannot wait that long.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Serializable reads in one transaction; etcd allows 128 operations.
const READS_MAX: usize = 100;

/// etcd as a [`Store`].
pub struct EtcdStore {
    endpoints: Arc<Endpoints>,
    leases: Leases,
}

impl EtcdStore {
    /// A store on these client URLs, the node's own member first. Connects on first use, so it succeeds before etcd is up.
    pub async fn connect(urls: &[String]) -> Result<EtcdStore, StoreError> {
        let endpoints = Arc::new(Endpoints::new(urls).await?);
        Ok(EtcdStore { leases: Leases::new(endpoints.clone()), endpoints })
    }

    /// Adds members that were not known at the start: calls go on to them when the others fail.
    pub async fn learn(&self, urls: &[String]) -> Result<(), StoreError> {
        self.endpoints.learn(urls).await
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let mut reply =
            self.endpoints.read(|endpoint| async move { endpoint.kv().get(key, None).await }).await?;
        let revision = convert::revision(reply.header());
        Ok((reply.take_kvs().pop().map(convert::key_value), revision))
    }

    async fn get_many_stale(&self, keys: &[String]) -> Result<Vec<Option<KeyValue>>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(READS_MAX) {
            let stale = || Some(GetOptions::new().with_serializable());
            let gets: Vec<TxnOp> = chunk.iter().map(|key| TxnOp::get(key.as_str(), stale())).collect();
            let txn = etcd_client::Txn::new().and_then(gets);
            let reply = self
                .endpoints
                .read(|endpoint| {
                    let txn = txn.clone();
                    async move { endpoint.kv().txn(txn).await }
                })
                .await?;
            found.extend(reply.op_responses().into_iter().map(|part| match part {
                TxnOpResponse::Get(mut got) => got.take_kvs().pop().map(convert::key_value),
                TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
            }));
        }
        Ok(found)
    }

    async fn list(&self, range: KeyRange, options: ListOptions) -> Result<Listing, StoreError> {
        list::list(&self.endpoints, range, options).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply, StoreError> {
        let request = convert::txn(txn);
        let reply = self
            .endpoints
            .write(|endpoint| {
                let request = request.clone();
                async move { endpoint.kv().txn(request).await }
            })
            .await?;
        Ok(convert::txn_reply(&reply))
    }

    async fn watch(&self, ranges: Vec<KeyRange>, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        watch::open(self.endpoints.clone(), ranges, from).await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
        self.leases.grant(ttl).await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.leases.renew(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.leases.revoke(lease).await
    }
}
