//! Submit: queues tasks. OK means durable on a majority of the voters.
//!
//! Invariant: a request id and an index always name the same task id, and a record is only ever created where none is. So the same request
//! may be sent again at any time, through any node, after any failure.

use super::create::Created;
use super::error::ApiError;
use super::{Service, fit, records};
use shoal_core::entry::NodeEntry;
use shoal_core::id::TaskId;
use shoal_core::task::Task;
use shoal_proto::convert::request_id;
use shoal_proto::convert::spec::specs_from_wire;
use shoal_proto::v1;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::sync::Mutex;
use uuid::Uuid;

/// From the request's arrival to the answer that it is not finished.
const DEADLINE: Duration = Duration::from_secs(10);
/// Before the first repeat of what is undecided; doubles up to the longest.
const BACK_OFF: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Queues the tasks of a request.
pub async fn submit(service: &Service, request: v1::SubmitRequest) -> Result<v1::SubmitResponse, ApiError> {
    let max = service.api.limits.submits_max;
    let _permit = service.submits.try_acquire().map_err(|_| ApiError::Busy { what: "submits", max })?;
    let given = request_id(&request.request_id)?;
    let request_id = given.unwrap_or_else(Uuid::now_v7);
    let mut wire = request.tasks;
    resolve_images(service, request_id, given.is_some(), &mut wire).await?;
    let specs = specs_from_wire(wire)?;
    let tick = service.tick().await?;
    let now = (service.api.wall)();
    let request_len = specs.len() as u32;
    let tasks: Vec<Task> = (0..request_len)
        .zip(specs)
        .map(|(seq, spec)| {
            let id = TaskId::of_request(request_id, seq as usize);
            // Fixed here for good: the order of the queue must not change while it waits.
            let expected = service.api.durations.expected(&spec.name);
            let (expected_s, expected_from) = (expected.seconds, expected.runs);
            Task { tick, expected_s, expected_from, ..Task::new(id, spec, (seq, request_len), now) }
        })
        .collect();
    let ids = tasks.iter().map(|task| task.id.to_string()).collect();
    let (admitted, impossible) = match admit(service, &tasks).await {
        Err(ApiError::CannotRun(refused)) if request.allow_impossible => {
            (Ok(()), refused.iter().map(|why| format!("{}: {}", why.subject, why.description)).collect())
        }
        admitted => (admitted, Vec::new()),
    };
    if let Err(refusal) = admitted {
        // The retry of a request that was accepted is answered as it was then, whatever has become of the cluster since.
        let accepted = given.is_some() && records::read(&*service.api.store, tasks[0].id).await?.is_some();
        if !accepted {
            return Err(refusal);
        }
    }
    if !request.validate_only {
        queue(service, request_id, tasks).await?;
    }
    Ok(v1::SubmitResponse { ids, impossible })
}

/// Names of images become digests, before any default is filled in.
async fn resolve_images(
    service: &Service,
    request_id: Uuid,
    may_be_retry: bool,
    tasks: &mut [v1::TaskSpec],
) -> Result<(), ApiError> {
    let Some(images) = &service.api.images else { return Ok(()) };
    let named = images.named(tasks).await;
    let mut earlier = BTreeMap::new();
    for index in named.iter().filter(|_| may_be_retry) {
        let known = records::read(&*service.api.store, TaskId::of_request(request_id, *index)).await?;
        earlier.extend(known.map(|stored| (*index, stored.value.spec.root)));
    }
    let resolved = images.resolve(tasks, &named, &earlier).await;
    resolved.map_err(|error| ApiError::FromPeer(Box::new(error.into())))
}

/// Whether there is room in the queue, and a node for each task.
async fn admit(service: &Service, tasks: &[Task]) -> Result<(), ApiError> {
    let (queued, max) = (service.api.insight.queue_len().await, service.api.limits.queue_len_max);
    if queued.saturating_add(tasks.len() as u64) > max {
        return Err(ApiError::QueueFull { queued, max });
    }
    let specs: Vec<_> = tasks.iter().map(|task| task.spec.clone()).collect();
    let live = service.api.insight.nodes().await;
    if live.is_empty() {
        // That is the view's state, not the tasks' fault.
        return Ok(());
    }
    let absent = service.api.insight.absent().await;
    let nodes: Vec<&NodeEntry> = live.iter().map(|node| &node.entry).chain(&absent).collect();
    let refused = fit::check(&specs, &nodes);
    if refused.is_empty() { Ok(()) } else { Err(ApiError::CannotRun(refused)) }
}

async fn queue(service: &Service, request_id: Uuid, tasks: Vec<Task>) -> Result<(), ApiError> {
    let last_trouble = Mutex::new("no answer from the store".to_owned());
    let work = create_all(service, request_id, tasks, &last_trouble);
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(Err(ApiError::StoreUnavailable(why))) => Err(ApiError::SubmitUnfinished { request_id, why }),
        Ok(result) => result,
        Err(_elapsed) => Err(ApiError::SubmitUnfinished { request_id, why: last_trouble.into_inner() }),
    }
}

/// The first task alone tells a new request from a retry, so that a reused request id is refused before anything is created under it.
async fn create_all(
    service: &Service,
    request_id: Uuid,
    mut tasks: Vec<Task>,
    trouble: &Mutex<String>,
) -> Result<(), ApiError> {
    let rest = tasks.split_off(1);
    let known = create(service, request_id, tasks, trouble).await?;
    let missing = if known { missing_of_retry(service, request_id, rest).await? } else { rest };
    create(service, request_id, missing, trouble).await?;
    Ok(())
}

/// Creates tasks until each is decided. Returns whether one of them was there before.
async fn create(
    service: &Service,
    request_id: Uuid,
    mut tasks: Vec<Task>,
    trouble: &Mutex<String>,
) -> Result<bool, ApiError> {
    let (mut back_off, mut known) = (BACK_OFF, false);
    loop {
        let mut undecided = Vec::new();
        let outcomes = service.creator.create(tasks.clone()).await;
        for (task, outcome) in tasks.into_iter().zip(outcomes) {
            match outcome {
                Created::New => {}
                Created::Exists(stored) => {
                    same_task(request_id, &task, &stored.value)?;
                    known = true;
                }
                Created::NoSpace => return Err(ApiError::StoreFull),
                Created::Refused(why) => return Err(ApiError::Internal(why)),
                Created::Undecided(why) => {
                    *trouble.lock().await = why;
                    undecided.push(task);
                }
            }
        }
        if undecided.is_empty() {
            return Ok(known);
        }
        tokio::time::sleep(back_off).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
        tasks = undecided;
    }
}

/// What a retry still has to create, after all that is there has been compared.
async fn missing_of_retry(
    service: &Service,
    request_id: Uuid,
    rest: Vec<Task>,
) -> Result<Vec<Task>, ApiError> {
    let wanted: HashMap<TaskId, i64> = rest.iter().map(|task| (task.id, 0)).collect();
    let found = records::read_since(&*service.api.store, &wanted).await?;
    let mut found: HashMap<TaskId, Task> =
        found.into_iter().map(|stored| (stored.value.id, stored.value)).collect();
    let mut missing = Vec::new();
    for task in rest {
        match found.remove(&task.id) {
            Some(existing) => same_task(request_id, &task, &existing)?,
            None => missing.push(task),
        }
    }
    Ok(missing)
}

fn same_task(request_id: Uuid, asked: &Task, existing: &Task) -> Result<(), ApiError> {
    let place = |task: &Task| (task.seq, task.request_len);
    if existing.spec == asked.spec && place(existing) == place(asked) {
        return Ok(());
    }
    Err(ApiError::RequestIdReused { request_id, index: asked.seq as usize })
}
