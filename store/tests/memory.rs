//! The conformance suite against the model.

#![allow(clippy::unwrap_used)] // a test may

#[macro_use]
mod suite;

use async_trait::async_trait;
use shoal_store::memory::MemoryStore;
use shoal_store::port::Revision;
use std::sync::Arc;
use std::time::Duration;
use suite::{Bench, Control};

struct Model(MemoryStore);

#[async_trait]
impl Control for Model {
    async fn compact(&self, revision: Revision) {
        self.0.compact(revision).expect("compact");
    }
    async fn let_pass(&self, time: Duration) {
        self.0.advance(time);
    }
}

async fn start() -> Bench {
    let store = MemoryStore::new();
    Bench { store: Arc::new(store.clone()), control: Box::new(Model(store)) }
}

conformance!(start);
