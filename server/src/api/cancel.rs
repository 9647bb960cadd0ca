//! Cancel: final once it is answered OK. To ask again is always fine.

use super::error::ApiError;
use super::{Service, records, resolve};
use crate::seam::{Decision, ProposeError};
use shoal_core::id::TaskId;
use shoal_core::task::{Cancel, Task, TaskState};
use shoal_core::transition::{Illegal, Transition};
use shoal_proto::convert::check::Check;
use shoal_proto::convert::limits;
use shoal_proto::convert::task::{state_to_wire, task_to_wire};
use shoal_proto::v1;

/// Asks that a task end as canceled.
pub async fn cancel(service: &Service, request: v1::CancelRequest) -> Result<v1::CancelResponse, ApiError> {
    let mut check = Check::new();
    check.line("by", &request.by, limits::USER_CHARS_MAX);
    check.line("reason", &request.reason, limits::REASON_CHARS_MAX);
    check.finish(())?;
    let id = resolve::id(service, &request.task).await?;
    let cancel = Cancel { by: request.by, reason: request.reason, at: (service.api.wall)() };
    match service.api.propose.propose(id, Transition::Cancel(cancel)).await? {
        Decision::Committed { task, revision } => {
            Ok(v1::CancelResponse { task: Some(task_to_wire(&task, revision)) })
        }
        Decision::Refused { current: None, .. } => Err(ApiError::NoTask { task: request.task }),
        Decision::Refused { why, current: Some(task) } => refused(service, id, why, &task).await,
    }
}

/// A task that is being canceled, or was, is what the caller asked for.
async fn refused(
    service: &Service,
    id: TaskId,
    why: Illegal,
    task: &Task,
) -> Result<v1::CancelResponse, ApiError> {
    let wanted = match (&why, &task.state) {
        (Illegal::AlreadyCanceling, _) | (_, TaskState::Canceled { .. }) => true,
        (Illegal::Terminal | Illegal::NotQueued | Illegal::NotItsNodes { .. }, _) => false,
        (Illegal::NotOwner | Illegal::Held, _) => false,
    };
    if !wanted {
        return Err(ApiError::Ended { task: id, state: state_to_wire(&task.state) });
    }
    let stored = records::read(&*service.api.store, id).await?;
    let stored = stored.ok_or_else(|| ApiError::NoTask { task: id.to_string() })?;
    Ok(v1::CancelResponse { task: Some(task_to_wire(&stored.value, stored.mod_revision)) })
}

impl From<ProposeError> for ApiError {
    fn from(error: ProposeError) -> ApiError {
        match error {
            ProposeError::Unavailable(why) => ApiError::StoreUnavailable(why),
            ProposeError::NoSpace => ApiError::StoreFull,
            ProposeError::Stopping => ApiError::Stopping,
        }
    }
}
