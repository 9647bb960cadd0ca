//! Move: gives a queued task a place of its own. To ask again is always fine: it ends in the same order.

use super::error::ApiError;
use super::{Service, records, resolve};
use crate::seam::Decision;
use shoal_core::entry::StatusEntry;
use shoal_core::id::TaskId;
use shoal_core::place::{Moved, Place};
use shoal_core::task::Task;
use shoal_core::transition::{Adjust, Transition};
use shoal_proto::convert::check::Check;
use shoal_proto::convert::limits;
use shoal_proto::convert::task::{state_to_wire, task_to_wire};
use shoal_proto::v1::{self, move_task_request::To};
use shoal_store::record::Stored;

/// Moves one task.
pub async fn move_task(
    service: &Service,
    request: v1::MoveTaskRequest,
) -> Result<v1::MoveTaskResponse, ApiError> {
    let v1::MoveTaskRequest { task, to, by } = request;
    let mut check = Check::new();
    check.line("by", &by, limits::USER_CHARS_MAX);
    if !matches!(&to, Some(To::Before(_) | To::Behind(_) | To::First(true) | To::Last(true))) {
        check.refuse("to", "must be before or behind a task, first or last");
    }
    check.finish(())?;
    let id = resolve::id(service, &task).await?;
    let insight = &service.api.insight;
    let (place, to) = match to {
        Some(To::Before(other)) => {
            let (other, place) = other_place(service, id, "before", &other).await?;
            (place.before(&insight.steps_beside(place, id).await), format!("before {}", other.short()))
        }
        Some(To::Behind(other)) => {
            let (other, place) = other_place(service, id, "behind", &other).await?;
            (place.behind(&insight.steps_beside(place, id).await), format!("behind {}", other.short()))
        }
        Some(To::First(_)) => match insight.ends_of_queue(id).await {
            Some((first, _)) => (first.before(&[]), "first".to_owned()),
            None => (own_place(service, id).await?, "first".to_owned()),
        },
        Some(To::Last(_)) | None => match insight.ends_of_queue(id).await {
            Some((_, last)) => (last.behind(&[]), "last".to_owned()),
            None => (own_place(service, id).await?, "last".to_owned()),
        },
    };
    let moved = Moved { place, by, to, at: (service.api.wall)() };
    let adjust = Transition::Adjust(Adjust::Move(moved));
    match service.api.propose.propose(id, adjust).await? {
        Decision::Committed { task, revision } => {
            Ok(v1::MoveTaskResponse { task: Some(task_to_wire(&task, revision)) })
        }
        Decision::Refused { current: None, .. } => Err(ApiError::NoTask { task }),
        Decision::Refused { current: Some(current), .. } => Err(not_queued(&current)),
    }
}

/// Where the task that another is moved to stands, as its record says: the view of this node may be behind, and who moves several names the one before.
async fn other_place(
    service: &Service,
    task: TaskId,
    field: &str,
    named: &str,
) -> Result<(TaskId, Place), ApiError> {
    let other = resolve::task(service, named).await?;
    if other.value.id == task {
        return Err(ApiError::field(field, format!("must be another task, was {task} itself")));
    }
    match place_of(&other) {
        Some(place) => Ok((other.value.id, place)),
        None => Err(not_queued(&other.value)),
    }
}

/// Of the only task in the queue.
async fn own_place(service: &Service, task: TaskId) -> Result<Place, ApiError> {
    let found = records::read(&*service.api.store, task).await?;
    let found = found.ok_or_else(|| ApiError::NoTask { task: task.to_string() })?;
    place_of(&found).ok_or_else(|| not_queued(&found.value))
}

fn place_of(stored: &Stored<Task>) -> Option<Place> {
    match StatusEntry::of(&stored.value, Some(stored.create_revision)) {
        StatusEntry::Queued(entry) => Some(Place::of(&entry, stored.create_revision)),
        StatusEntry::Running(_) | StatusEntry::Ended(_) => None,
    }
}

fn not_queued(task: &Task) -> ApiError {
    if task.state.is_terminal() {
        ApiError::Ended { task: task.id, state: state_to_wire(&task.state) }
    } else {
        ApiError::NotQueued { task: task.id }
    }
}
