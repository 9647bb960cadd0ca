//! Reading the log of an ended attempt whose node may be gone: its node is asked, and when it does not answer, those that may have a copy.
//!
//! All of it is over within [`peer::ANSWER_TIMEOUT`], found or not.

use super::ranked;
use crate::api::error::ApiError;
use crate::logs::name::LogName;
use crate::logs::peer::{self, Remote};
use crate::seam::Api;
use futures::future::{FusedFuture, FutureExt};
use futures::stream::{self, StreamExt};
use shoal_proto::v1;
use std::time::Duration;

/// How long the attempt's node has before the others are asked too. A living node answers in a few milliseconds.
const OWNER_ALONE: Duration = Duration::from_millis(400);
/// Nodes asked at once.
const ASKED_AT_ONCE: usize = 8;

/// The attempt's node, if it is alive.
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Where its API answers.
    pub address: Option<String>,
}

/// Opens the log of an ended attempt from its node or from a copy. `request` must name task, attempt and rank in full, and forbid to pass it on.
pub async fn open(
    api: &Api,
    log: LogName,
    owner: &Owner,
    request: v1::LogRequest,
) -> Result<Remote, ApiError> {
    let deadline = tokio::time::Instant::now() + peer::ANSWER_TIMEOUT;
    let Some(address) = &owner.address else {
        let why = "it is not alive, and no living node has a copy";
        return copy(api, log, owner, request, deadline).await.ok_or_else(|| unreachable(log, owner, why));
    };
    let own = Remote::open(&owner.name, address, request.clone(), api.shutdown.clone());
    tokio::pin!(own);
    let first = tokio::time::timeout(OWNER_ALONE, &mut own).await;
    let copy = copy(api, log, owner, request, deadline);
    match first {
        Ok(Ok(remote)) => Ok(remote),
        Ok(Err(refused)) => copy.await.ok_or(refused),
        Err(_) => {
            // Fused: it may be over, with nothing found, before the other.
            let copy = copy.fuse();
            tokio::pin!(copy);
            tokio::select! {
                opened = &mut own => match opened {
                    Ok(remote) => Ok(remote),
                    Err(refused) if copy.is_terminated() => Err(refused),
                    Err(refused) => copy.await.ok_or(refused),
                },
                Some(remote) = &mut copy => Ok(remote),
                // Nobody has a copy, and the time is over.
                () = tokio::time::sleep_until(deadline) => {
                    Err(unreachable(log, owner, "no answer in time, and no copy was found"))
                }
            }
        }
    }
}

/// The copy, from whichever living node has it; `None` when none has said so in time.
async fn copy(
    api: &Api,
    log: LogName,
    owner: &Owner,
    request: v1::LogRequest,
    deadline: tokio::time::Instant,
) -> Option<Remote> {
    let me = api.insight.identity().name;
    let mut nodes = api.insight.nodes().await;
    nodes.retain(|node| node.entry.name != me && node.entry.name != owner.name);
    let nodes = ranked(log.attempt.task, nodes, |node| &node.entry.name);
    let asked = stream::iter(nodes).map(|node| {
        let (request, shutdown) = (request.clone(), api.shutdown.clone());
        async move { Remote::open(&node.entry.name, &node.entry.address, request, shutdown).await.ok() }
    });
    let mut found = asked.buffer_unordered(ASKED_AT_ONCE).filter_map(std::future::ready).boxed();
    tokio::time::timeout_at(deadline, found.next()).await.ok().flatten()
}

fn unreachable(log: LogName, owner: &Owner, why: &str) -> ApiError {
    let (attempt, node) = (log.to_string(), owner.name.clone());
    ApiError::LogUnreachable { attempt, node, why: why.to_owned() }
}
