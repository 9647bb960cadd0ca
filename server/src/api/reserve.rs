//! How many nodes are kept free for people. The last one said holds: there is one reserve, and whoever may lock nodes may say how many it has.

use super::Service;
use super::error::ApiError;
use shoal_core::reserve::ReserveEntry;
use shoal_core::spec::Unknown;
use shoal_proto::convert::check::Check;
use shoal_proto::convert::limits;
use shoal_proto::convert::people;
use shoal_proto::v1;
use shoal_store::key::Key;
use shoal_store::port::{Op, Txn};
use shoal_store::record;

/// Keeps so many nodes from taking tasks, or none any more.
pub async fn reserve(
    service: &Service,
    request: v1::ReserveRequest,
) -> Result<v1::ReserveResponse, ApiError> {
    let v1::ReserveRequest { nodes, label, by } = request;
    let mut check = Check::new();
    check.line("by", &by, limits::USER_CHARS_MAX);
    let label = people::label(label, "label", &mut check);
    check.finish(())?;
    let entry = ReserveEntry { nodes, label, by, at: (service.api.wall)(), unknown: Unknown::new() };
    let key = Key::Reserve.to_string();
    let write = match nodes {
        0 => Op::Delete(key),
        _ => Op::Put { key, value: record::encode(&entry), lease: None },
    };
    // Nothing is compared: what it replaces does not matter to it. An outcome that is unknown is found out by asking again.
    service.api.store.txn(Txn { compares: Vec::new(), then: vec![write], or_else: Vec::new() }).await?;
    let reserve = (nodes > 0).then(|| people::reserve_to_wire(&entry));
    Ok(v1::ReserveResponse { reserve })
}
