//! Get: one task.

use super::error::ApiError;
use super::{Service, resolve};
use shoal_proto::convert::task::task_to_wire;
use shoal_proto::v1;

/// Reads one task.
pub async fn get(service: &Service, request: v1::GetRequest) -> Result<v1::GetResponse, ApiError> {
    let stored = resolve::task(service, &request.task).await?;
    Ok(v1::GetResponse { task: Some(task_to_wire(&stored.value, stored.mod_revision)) })
}
