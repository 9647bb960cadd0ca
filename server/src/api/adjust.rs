//! What people may change of a task that has not ended: its priority, and whether it is held. To ask again is always fine.

use super::error::ApiError;
use super::{Service, resolve};
use crate::seam::Decision;
use shoal_core::priority::Priority;
use shoal_core::task::Hold;
use shoal_core::transition::{Adjust, Transition};
use shoal_proto::convert::check::Check;
use shoal_proto::convert::limits;
use shoal_proto::convert::task::{state_to_wire, task_to_wire};
use shoal_proto::v1;

/// Gives a task another place in the queue.
pub async fn reprioritize(
    service: &Service,
    request: v1::ReprioritizeRequest,
) -> Result<v1::ReprioritizeResponse, ApiError> {
    let mut check = Check::new();
    let priority = Priority::new(request.priority.into());
    if priority.is_none() {
        let (min, max) = (Priority::MIN, Priority::MAX);
        check.refuse("priority", format!("must be between {min} and {max}, was {}", request.priority));
    }
    check.finish(())?;
    let adjust = Adjust::Priority(priority.unwrap_or_default());
    Ok(v1::ReprioritizeResponse { task: Some(change(service, &request.task, adjust).await?) })
}

/// Keeps a queued task from starting.
pub async fn hold(service: &Service, request: v1::HoldRequest) -> Result<v1::HoldResponse, ApiError> {
    let mut check = Check::new();
    check.line("by", &request.by, limits::USER_CHARS_MAX);
    check.line("reason", &request.reason, limits::REASON_CHARS_MAX);
    check.finish(())?;
    let hold = Hold { by: request.by, reason: request.reason, at: (service.api.wall)() };
    Ok(v1::HoldResponse { task: Some(change(service, &request.task, Adjust::Hold(hold)).await?) })
}

/// Lets a held task start.
pub async fn release(
    service: &Service,
    request: v1::ReleaseRequest,
) -> Result<v1::ReleaseResponse, ApiError> {
    Ok(v1::ReleaseResponse { task: Some(change(service, &request.task, Adjust::Release).await?) })
}

async fn change(service: &Service, named: &str, adjust: Adjust) -> Result<v1::Task, ApiError> {
    let id = resolve::id(service, named).await?;
    match service.api.propose.propose(id, Transition::Adjust(adjust)).await? {
        Decision::Committed { task, revision } => Ok(task_to_wire(&task, revision)),
        Decision::Refused { current: None, .. } => Err(ApiError::NoTask { task: named.to_owned() }),
        Decision::Refused { current: Some(task), .. } if task.state.is_terminal() => {
            Err(ApiError::Ended { task: id, state: state_to_wire(&task.state) })
        }
        Decision::Refused { current: Some(_), .. } => Err(ApiError::NotQueued { task: id }),
    }
}
