//! Why: what keeps a task from running.

use super::error::ApiError;
use super::{Service, resolve};
use crate::images::Progress;
use shoal_core::gang::MemberEnd;
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
        // Its nodes' own words, if they are of this task: that it was killed and does not die.
        let on = task.live_nodes();
        if !on.is_empty() {
            let nodes = service.api.insight.nodes().await;
            let attempt = task.attempt_id().to_string();
            let said = nodes.iter().filter(|it| on.contains(&it.id) && it.entry.reason.contains(&attempt));
            said.for_each(|node| answer.summary.push_str(&format!("; {}", node.entry.reason)));
        }
        return Ok(answer);
    }
    match service.api.insight.why(task.id).await {
        Some(waiting) => {
            answer.summary = waiting.summary;
            if let Some(moved) = &task.moved {
                answer.summary.push_str(&format!("; {} has moved it {}", moved.by, moved.to));
            }
            answer.ahead = waiting.ahead;
            answer.start_in_ms = waiting.latest_s.map(|seconds| seconds.saturating_mul(1_000));
            answer.probably_in_ms = waiting.guess.map(|guess| guess.seconds.saturating_mul(1_000));
            let reasons = waiting.nodes.into_iter();
            answer.nodes = reasons.map(|(node_name, reason)| v1::NodeReason { node_name, reason }).collect();
        }
        None => "queued a moment ago: this node has not planned with it yet".clone_into(&mut answer.summary),
    }
    Ok(answer)
}

/// A task that is launched here while its image is on its way.
fn fetching(service: &Service, task: &Task) -> Option<String> {
    let here = task.runs_on(service.api.insight.identity().id);
    let digest = task.spec.root.parse().ok().filter(|_| here)?;
    let Progress { bytes, total } = service.api.images.as_ref()?.progress(digest)?;
    let node = service.api.insight.identity().name;
    Some(format!("{node} fetches its image: {bytes} of {total} bytes"))
}

/// Where it still runs.
fn nodes(task: &Task) -> String {
    let Some(attempt) = task.attempts.last() else { return "its node".to_owned() };
    let live = attempt.members.iter().filter(|member| member.end.is_none());
    let names: Vec<&str> = live.map(|member| member.node_name.as_str()).collect();
    if names.is_empty() { attempt.node_name.clone() } else { names.join(", ") }
}

fn not_waiting(task: &Task) -> String {
    match &task.state {
        TaskState::Queued => "it waits".to_owned(),
        TaskState::Running { cancel: Some(cancel), .. } => {
            format!("it is being ended on {}: canceled by {:?}", nodes(task), cancel.by)
        }
        TaskState::Running { cancel: None, verdict: Some(rank), .. } => {
            let member = task.members().get(*rank as usize);
            let name = member.map_or("its node", |member| member.node_name.as_str());
            let end = member.and_then(|member| member.end.as_ref()).map(MemberEnd::to_string);
            let end = end.unwrap_or_default();
            format!("member {rank} on {name} has ended it ({end}); it is being ended on {}", nodes(task))
        }
        TaskState::Running { cancel: None, verdict: None, .. } => {
            format!("it runs on {}, attempt {}", nodes(task), task.attempt)
        }
        TaskState::Complete { exit } => format!("it has ended: {exit}"),
        TaskState::Canceled { cancel } => format!("it was canceled by {:?}: {}", cancel.by, cancel.reason),
        TaskState::Failed { failure } => format!("it failed: {}", failure.message),
    }
}
