//! What the node has done, in `DATA/counters.json`: for benchmarks and for people, until there is `/metrics`.

use crate::node_loop::Ask;
use crate::propose::Counters;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Between writes.
const PERIOD: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct Written {
    steals_won: u64,
    steals_lost: u64,
    requeued: u64,
    store_txns: u64,
    moves: u64,
    moves_lost: u64,
    unknown_outcomes: u64,
}

/// Writes the counters until stopped, and once more then.
pub async fn run(
    path: PathBuf,
    asks: mpsc::Sender<Ask>,
    store: Arc<Counters>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        let last = tokio::select! {
            () = stop.cancelled() => true,
            _ = ticks.tick() => false,
        };
        let (reply, answer) = oneshot::channel();
        let ask: Ask = Box::new(move |node, _| {
            let _ = reply.send(node.counters());
        });
        let asked = asks.send(ask).await.is_ok();
        let node = if asked { answer.await.unwrap_or_default() } else { Default::default() };
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let written = Written {
            steals_won: node.steals_won,
            steals_lost: node.steals_lost,
            requeued: node.requeued,
            store_txns: read(&store.txns),
            moves: read(&store.moves),
            moves_lost: read(&store.lost),
            unknown_outcomes: read(&store.unknown),
        };
        if asked {
            let temporary = path.with_extension("tmp");
            tokio::fs::write(&temporary, serde_json::to_vec(&written)?).await?;
            tokio::fs::rename(&temporary, &path).await?;
        }
        if last {
            return Ok(());
        }
    }
}
