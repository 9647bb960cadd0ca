//! Why: what keeps a task from running.

use super::error::ApiError;
use super::{Service, resolve};
use crate::images::Progress;
use shoal_core::task::{Task, TaskState};
use shoal_proto::convert::task::state_to_wire;
use shoal_proto::v1;

/// Says why a task waits, or what has become of it.
pub async fn why(service: &Service, request: v1::WhyRequest) -> Result<v1::WhyResponse, ApiError> {
    let task = resolve::task(service, &request.task).await?.value;
    let mut answer =
        v1::WhyResponse { state: state_to_wire(&task.state).into(), ..v1::WhyResponse::default() };
    if task.state != TaskState::Queued {
        answer.summary = fetching(service, &task).unwrap_or_else(|| not_waiting(&task));
        if let Some(node) = task.node() {
            // Its node's own words, if they are of this task: that it was killed and does not die.
            let nodes = service.api.insight.nodes().await;
            let attempt = task.attempt_id().to_string();
            let node = nodes.iter().find(|it| it.id == node && it.entry.reason.contains(&attempt));
            node.into_iter().for_each(|node| answer.summary.push_str(&format!("; {}", node.entry.reason)));
        }
        return Ok(answer);
    }
    match service.api.insight.why(task.id).await {
        Some(waiting) => {
            answer.summary = waiting.summary;
            answer.ahead = waiting.ahead;
            let reasons = waiting.nodes.into_iter();
            answer.nodes = reasons.map(|(node_name, reason)| v1::NodeReason { node_name, reason }).collect();
        }
        None => "queued a moment ago: this node has not planned with it yet".clone_into(&mut answer.summary),
    }
    Ok(answer)
}

/// A task that is launched here while its image is on its way.
fn fetching(service: &Service, task: &Task) -> Option<String> {
    let here = task.node() == Some(service.api.insight.identity().id);
    let digest = task.spec.root.parse().ok().filter(|_| here)?;
    let Progress { bytes, total } = service.api.images.as_ref()?.progress(digest)?;
    let node = service.api.insight.identity().name;
    Some(format!("{node} fetches its image: {bytes} of {total} bytes"))
}

fn not_waiting(task: &Task) -> String {
    let node = task.attempts.last().map_or("its node", |attempt| attempt.node_name.as_str());
    match &task.state {
        TaskState::Queued => "it waits".to_owned(),
        TaskState::Running { cancel: None, .. } => format!("it runs on {node}, attempt {}", task.attempt),
        TaskState::Running { cancel: Some(cancel), .. } => {
            format!("{node} is ending it: canceled by {:?}", cancel.by)
        }
        TaskState::Complete { exit } => format!("it has ended: {exit}"),
        TaskState::Canceled { cancel } => format!("it was canceled by {:?}: {}", cancel.by, cancel.reason),
        TaskState::Failed { failure } => format!("it failed: {}", failure.message),
    }
}
