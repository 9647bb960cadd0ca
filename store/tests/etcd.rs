//! The conformance suite against the real etcd, each program with one of its own.

#![allow(clippy::unwrap_used)] // a test may

#[macro_use]
mod suite;
mod child;

use async_trait::async_trait;
use child::Etcd;
use shoal_store::etcd::EtcdStore;
use shoal_store::port::Revision;
use std::sync::Arc;
use std::time::Duration;
use suite::{Bench, Control};

#[async_trait]
impl Control for Etcd {
    async fn compact(&self, revision: Revision) {
        let mut client = etcd_client::Client::connect([&self.url], None).await.expect("connect");
        client.compact(revision, None).await.expect("compact");
    }
    async fn let_pass(&self, _: Duration) {
        // It passes by itself.
    }
}

async fn start() -> Bench {
    let etcd = Etcd::start();
    let store = EtcdStore::connect(std::slice::from_ref(&etcd.url)).await.expect("a good URL");
    Bench { store: Arc::new(store), control: Box::new(etcd) }
}

conformance!(start);
