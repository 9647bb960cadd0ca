//! Nodes: who lives and what is free.

use super::Service;
use shoal_proto::convert::task::{lock_to_wire, node_to_wire};
use shoal_proto::v1;

/// Lists live nodes by name.
pub async fn nodes(service: &Service) -> v1::NodesResponse {
    let mut nodes = service.api.insight.nodes().await;
    nodes.sort_by(|a, b| (&a.entry.name, a.id).cmp(&(&b.entry.name, b.id)));
    let now = service.api.insight.tick().await.unwrap_or_default();
    let wire = nodes.iter().map(|node| {
        let lock = node.lock.as_ref().map(|lock| lock_to_wire(lock, now));
        node_to_wire(node.id, &node.entry, &node.free, node.running, (lock, node.is_kept))
    });
    v1::NodesResponse { nodes: wire.collect() }
}
