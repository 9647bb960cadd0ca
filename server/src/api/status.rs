//! Status: how much of everything, and how the cluster is.

use super::Service;
use super::error::ApiError;
use futures::future::try_join3;
use shoal_proto::convert::people::reserve_to_wire;
use shoal_proto::convert::task::lock_to_wire;
use shoal_proto::v1;
use shoal_store::key::{self, EndKind};
use shoal_store::port::{ListOptions, Projection};

/// Counts tasks by state; what waits and runs comes from the view, what has ended from the store.
pub async fn status(service: &Service) -> Result<v1::StatusResponse, ApiError> {
    let (complete, canceled, failed) = try_join3(
        count(service, EndKind::Complete),
        count(service, EndKind::Canceled),
        count(service, EndKind::Failed),
    )
    .await?;
    let insight = &service.api.insight;
    let (voters, voters_healthy) = insight.voters();
    let nodes = insight.nodes().await;
    let unfit = nodes.iter().filter(|node| !node.entry.reason.is_empty());
    let warnings: Vec<String> = insight
        .warning()
        .into_iter()
        .chain(unfit.map(|node| format!("{} takes no tasks: {}", node.entry.name, node.entry.reason)))
        .collect();
    let now = insight.tick().await.unwrap_or_default();
    Ok(v1::StatusResponse {
        pause: insight.pause().await.map(|lock| lock_to_wire(&lock, now)),
        reserve: insight.reserve().await.as_ref().map(reserve_to_wire),
        queued: insight.queue_len().await,
        running: insight.running_len().await,
        complete,
        canceled,
        failed,
        nodes: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
        voters,
        voters_healthy,
        node_name: insight.identity().name,
        warning: warnings.join("; "),
    })
}

async fn count(service: &Service, kind: EndKind) -> Result<u64, ApiError> {
    let options = ListOptions { projection: Projection::Count, ..ListOptions::default() };
    Ok(service.api.store.list(key::ended(kind), options).await?.count)
}
