//! Whether a node serves: its health service says so.

use crate::address::Address;
use crate::channel;
use std::time::Duration;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// The service that is asked about.
const SERVICE: &str = "shoal.v1.Shoal";
/// Between two tries to connect: nothing tells when a process begins to listen.
const CONNECT_AGAIN: Duration = Duration::from_millis(50);

/// Waits until the node serves. Never ends by itself otherwise: the caller knows the deadline, and whether the process still runs.
pub async fn wait(address: &Address) {
    while watch(address).await != Some(true) {
        tokio::time::sleep(CONNECT_AGAIN).await;
    }
}

/// Follows the health service until it says "serving"; `None` when the connection ends before that.
async fn watch(address: &Address) -> Option<bool> {
    let mut health = HealthClient::new(channel::connect(address).await.ok()?);
    let request = HealthCheckRequest { service: SERVICE.to_owned() };
    let mut states = health.watch(request).await.ok()?.into_inner();
    while let Ok(Some(state)) = states.message().await {
        if state.status() == ServingStatus::Serving {
            return Some(true);
        }
    }
    None
}

/// Whether the node serves now; `limit` bounds the answer.
pub async fn is_serving(address: &Address, limit: Duration) -> bool {
    let check = async {
        let mut health = HealthClient::new(channel::connect(address).await.ok()?);
        let request = HealthCheckRequest { service: SERVICE.to_owned() };
        let answer = health.check(request).await.ok()?.into_inner();
        Some(answer.status() == ServingStatus::Serving)
    };
    tokio::time::timeout(limit, check).await.ok().flatten().unwrap_or(false)
}
