//! The API of the node in memory: all of `shoal.v1`.

use super::world::{AttemptLog, Shared, World};
use futures::Stream;
use shoal_client::exit::is_terminal;
use shoal_client::selector::short;
use shoal_proto::v1;
use shoal_proto::v1::State;
use shoal_proto::v1::shoal_server::Shoal;
use std::collections::HashMap;
use std::pin::Pin;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

type Stream_<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One node.
pub struct Api {
    pub shared: Shared,
    pub name: String,
}

fn error(code: Code, reason: &str, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "shoal", HashMap::new());
    Status::with_error_details(code, message, details)
}

/// Changes a task that has not ended.
fn adjust(world: &mut World, text: &str, change: impl Fn(&mut v1::Task)) -> Result<v1::Task, Status> {
    let task = find(world, text)?;
    let id = task.id.clone();
    if is_terminal(task.state()) {
        return Err(error(Code::FailedPrecondition, "TASK_ENDED", "task has ended already: complete"));
    }
    world.update(&id, change);
    world.task(&id).cloned().ok_or_else(|| Status::internal("it was there"))
}

fn find<'a>(world: &'a World, text: &str) -> Result<&'a v1::Task, Status> {
    let hits = |task: &&v1::Task| task.id == text || (text.len() <= 8 && short(&task.id).starts_with(text));
    let mut found = world.tasks.iter().filter(hits);
    match (found.next(), found.next()) {
        (Some(task), None) => Ok(task),
        (None, _) => Err(error(Code::NotFound, "NO_SUCH_TASK", &format!("no task {text:?}"))),
        (Some(_), Some(_)) => {
            Err(error(Code::InvalidArgument, "AMBIGUOUS_TASK", &format!("task {text:?} is ambiguous")))
        }
    }
}

fn check(tasks: &[v1::TaskSpec]) -> Result<(), Status> {
    let mut details = ErrorDetails::with_error_info("INVALID_FIELD", "shoal", HashMap::new());
    for (index, _) in tasks.iter().enumerate().filter(|(_, task)| task.pids_max > 65_536) {
        details.add_bad_request_violation(format!("tasks[{index}].pids_max"), "must be between 1 and 65536");
    }
    if details.has_bad_request_violations() {
        return Err(Status::with_error_details(Code::InvalidArgument, "invalid", details));
    }
    Ok(())
}

fn submit(world: &mut World, request: v1::SubmitRequest) -> Result<Vec<String>, Status> {
    world.submits.push(request.clone());
    check(&request.tasks)?;
    if request.validate_only {
        return Ok(Vec::new());
    }
    if let Some(ids) = world.requests.get(&request.request_id).cloned() {
        return answer(world, ids);
    }
    let time = Uuid::parse_str(&request.request_id).map_err(|_| Status::invalid_argument("request_id"))?;
    let ids = request.tasks.into_iter().enumerate().map(|(index, spec)| {
        // As the real node does: the request's time, then bits of its own.
        let mut bytes = *Uuid::new_v5(&time, &index.to_be_bytes()).as_bytes();
        bytes[..6].copy_from_slice(&time.as_bytes()[..6]);
        let id = Uuid::from_bytes(bytes).to_string();
        world.queue(&id, spec);
        id
    });
    let ids: Vec<String> = ids.collect();
    world.requests.insert(request.request_id, ids.clone());
    answer(world, ids)
}

/// The answer, unless it is to be lost.
fn answer(world: &mut World, ids: Vec<String>) -> Result<Vec<String>, Status> {
    if world.lose_answers == 0 {
        return Ok(ids);
    }
    world.lose_answers -= 1;
    Err(error(Code::Unavailable, "SUBMIT_UNFINISHED", "submit not finished"))
}

#[tonic::async_trait]
impl Shoal for Api {
    type LogStream = Stream_<v1::LogChunk>;
    type WatchStream = Stream_<v1::WatchEvent>;

    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let request = request.into_inner();
        let told = request.allow_impossible.then(|| self.shared.lock().impossible.clone());
        let ids = self.shared.change(|world| submit(world, request))?;
        Ok(Response::new(v1::SubmitResponse { ids, impossible: told.unwrap_or_default() }))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let task = find(&self.shared.lock(), &request.into_inner().task)?.clone();
        Ok(Response::new(v1::GetResponse { task: Some(task) }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let request = request.into_inner();
        let world = self.shared.lock();
        let states: Vec<State> = request.states().collect();
        let wanted = |task: &&v1::Task| {
            let user = &task.spec.as_ref().unwrap().user;
            (states.is_empty() || states.contains(&task.state()))
                && (request.user.is_empty() || *user == request.user)
        };
        let mut tasks: Vec<v1::Task> = world.tasks.iter().filter(wanted).cloned().collect();
        if request.newest_first {
            tasks.reverse();
        }
        let from: usize = request.page_token.parse().unwrap_or(0);
        // Small pages, so that paging is used.
        let to = tasks.len().min(from + (request.page_size as usize).min(7));
        let next_page_token = if to < tasks.len() { to.to_string() } else { String::new() };
        let tasks = tasks[from..to].to_vec();
        Ok(Response::new(v1::ListResponse { tasks, next_page_token, revision: world.revision }))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelResponse>, Status> {
        let mut request = request.into_inner();
        let task = self.shared.change(|world| {
            request.task = find(world, &request.task)?.id.clone();
            match world.cancel(&request) {
                true => Ok(world.task(&request.task).cloned()),
                false => {
                    Err(error(Code::FailedPrecondition, "TASK_ENDED", "task has ended already: complete"))
                }
            }
        })?;
        Ok(Response::new(v1::CancelResponse { task }))
    }

    async fn reprioritize(
        &self,
        request: Request<v1::ReprioritizeRequest>,
    ) -> Result<Response<v1::ReprioritizeResponse>, Status> {
        let v1::ReprioritizeRequest { task, priority } = request.into_inner();
        let task = self.shared.change(|world| adjust(world, &task, |task| task.priority = priority))?;
        Ok(Response::new(v1::ReprioritizeResponse { task: Some(task) }))
    }

    async fn hold(&self, request: Request<v1::HoldRequest>) -> Result<Response<v1::HoldResponse>, Status> {
        let v1::HoldRequest { task, reason, by } = request.into_inner();
        let hold = v1::HoldInfo { by, reason, at_ms: 1_700_000_000_170 };
        let task = self.shared.change(|world| {
            if find(world, &task)?.state() == State::Running {
                return Err(error(
                    Code::FailedPrecondition,
                    "TASK_NOT_QUEUED",
                    "only a task that waits can be held",
                ));
            }
            adjust(world, &task, |task| task.hold = Some(hold.clone()))
        })?;
        Ok(Response::new(v1::HoldResponse { task: Some(task) }))
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        let task = request.into_inner().task;
        let task = self.shared.change(|world| adjust(world, &task, |task| task.hold = None))?;
        Ok(Response::new(v1::ReleaseResponse { task: Some(task) }))
    }

    async fn move_task(
        &self,
        request: Request<v1::MoveTaskRequest>,
    ) -> Result<Response<v1::MoveTaskResponse>, Status> {
        let request = request.into_inner();
        self.shared.lock().moves.push(request.clone());
        let task = self.shared.change(|world| {
            if find(world, &request.task)?.state() == State::Running {
                return Err(error(Code::FailedPrecondition, "TASK_NOT_QUEUED", "it runs"));
            }
            let moved = v1::MoveInfo { by: request.by, to: "first".to_owned(), at_ms: 1_700_000_000_180 };
            adjust(world, &request.task, |task| task.moved = Some(moved.clone()))
        })?;
        Ok(Response::new(v1::MoveTaskResponse { task: Some(task) }))
    }

    async fn log(&self, request: Request<v1::LogRequest>) -> Result<Response<Self::LogStream>, Status> {
        let mut request = request.into_inner();
        {
            self.shared.lock().ranks.push(request.rank);
            let world = self.shared.lock();
            let task = find(&world, &request.task)?;
            request.task.clone_from(&task.id);
            let latest = task.attempts.last().map_or(0, |attempt| attempt.number);
            request.attempt = if request.attempt == 0 { latest.max(1) } else { request.attempt };
            if request.attempt > latest && !request.follow {
                return Err(error(Code::FailedPrecondition, "NOT_STARTED", "attempt 1 has not started"));
            }
        }
        let state = (self.shared.clone(), self.shared.subscribe(), Some(request));
        let chunks = futures::stream::unfold(state, |(shared, mut changed, request)| async move {
            let mut request = request?;
            loop {
                let log = shared.lock().logs.get(&(request.task.clone(), request.attempt)).cloned();
                let log = log.unwrap_or_default();
                if let Some((chunk, last)) = chunk(&mut request, &log) {
                    return Some((Ok(chunk), (shared, changed, (!last).then_some(request))));
                }
                changed.changed().await.ok()?;
            }
        });
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let open: HashMap<String, i64> = request.into_inner().tasks.into_iter().map(|id| (id, -1)).collect();
        for id in open.keys() {
            find(&self.shared.lock(), id)?;
        }
        let state = (self.shared.clone(), self.shared.subscribe(), open);
        let events = futures::stream::unfold(state, |(shared, mut changed, mut open)| async move {
            loop {
                if open.is_empty() {
                    return None;
                }
                let task = newer(&shared.lock(), &mut open);
                if let Some(task) = task {
                    let revision = task.revision;
                    return Some((
                        Ok(v1::WatchEvent { task: Some(task), revision }),
                        (shared, changed, open),
                    ));
                }
                changed.changed().await.ok()?;
            }
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn lock_node(
        &self,
        request: Request<v1::LockNodeRequest>,
    ) -> Result<Response<v1::LockNodeResponse>, Status> {
        let v1::LockNodeRequest { node, by, reason, for_ms, force } = request.into_inner();
        let taken = |lock: &v1::LockInfo| lock.by != by && !force;
        if let Some(lock) = self.shared.lock().locks.get(&node).filter(|lock| taken(lock)) {
            let message = format!("node {node} is locked by {}", lock.by);
            return Err(error(Code::FailedPrecondition, "NODE_LOCKED", &message));
        }
        let lock = v1::LockInfo { by, reason, at_ms: 1_700_000_000_160, left_ms: for_ms };
        self.shared.change(|world| world.locks.insert(node, lock.clone()));
        Ok(Response::new(v1::LockNodeResponse { lock: Some(lock) }))
    }

    async fn unlock_node(
        &self,
        request: Request<v1::UnlockNodeRequest>,
    ) -> Result<Response<v1::UnlockNodeResponse>, Status> {
        self.shared.change(|world| world.locks.remove(&request.get_ref().node));
        Ok(Response::new(v1::UnlockNodeResponse {}))
    }

    async fn lock_any(
        &self,
        request: Request<v1::LockAnyRequest>,
    ) -> Result<Response<v1::LockAnyResponse>, Status> {
        let v1::LockAnyRequest { nodes, by, reason, for_ms, .. } = request.into_inner();
        if nodes > 2 {
            return Err(error(
                Code::FailedPrecondition,
                "NOT_ENOUGH_NODES",
                "2 nodes could be locked, not 3",
            ));
        }
        let lock = v1::LockInfo { by, reason, at_ms: 1_700_000_000_160, left_ms: for_ms };
        let locked = (1..=nodes).map(|n| v1::LockedNode {
            node: format!("node-{n}"),
            lock: Some(lock.clone()),
            running: n - 1,
        });
        Ok(Response::new(v1::LockAnyResponse { nodes: locked.collect() }))
    }

    async fn wait_drained(
        &self,
        _: Request<v1::WaitDrainedRequest>,
    ) -> Result<Response<v1::WaitDrainedResponse>, Status> {
        // Not at once, so that it is asked for again.
        let drained = self.shared.change(|world| {
            world.waits += 1;
            world.waits > 1
        });
        Ok(Response::new(v1::WaitDrainedResponse { drained, running: 0 }))
    }

    async fn reserve(
        &self,
        request: Request<v1::ReserveRequest>,
    ) -> Result<Response<v1::ReserveResponse>, Status> {
        let v1::ReserveRequest { nodes, label, by } = request.into_inner();
        let reserve = (nodes > 0).then_some(v1::ReserveInfo { nodes, label, by, at_ms: 1_700_000_000_190 });
        self.shared.change(|world| world.reserve.clone_from(&reserve));
        Ok(Response::new(v1::ReserveResponse { reserve }))
    }

    async fn pause_queue(
        &self,
        request: Request<v1::PauseQueueRequest>,
    ) -> Result<Response<v1::PauseQueueResponse>, Status> {
        let v1::PauseQueueRequest { by, reason, for_ms } = request.into_inner();
        let pause = v1::LockInfo { by, reason, at_ms: 1_700_000_000_160, left_ms: for_ms };
        self.shared.change(|world| world.locks.insert(String::new(), pause.clone()));
        Ok(Response::new(v1::PauseQueueResponse { pause: Some(pause) }))
    }

    async fn resume_queue(
        &self,
        _: Request<v1::ResumeQueueRequest>,
    ) -> Result<Response<v1::ResumeQueueResponse>, Status> {
        self.shared.change(|world| world.locks.remove(""));
        Ok(Response::new(v1::ResumeQueueResponse {}))
    }

    async fn nodes(&self, _: Request<v1::NodesRequest>) -> Result<Response<v1::NodesResponse>, Status> {
        let (locks, counts, kept) = {
            let world = self.shared.lock();
            (world.locks.clone(), world.counts.clone(), world.reserve.is_some())
        };
        let counted = |name: &str, of: fn(&(u32, u32)) -> u32| {
            let counts = counts.iter().filter(|_| name == "node-1");
            counts.map(|(what, count)| (what.clone(), of(count))).collect()
        };
        let node = |name: &str| v1::Node {
            lock: locks.get(name).cloned(),
            kept: name == "node-2" && kept,
            unenforced: self.shared.lock().unenforced.get(name).cloned().unwrap_or_default(),
            counts: counted(name, |count| count.0),
            counts_free: counted(name, |count| count.1),
            id: format!("{name}-id"),
            name: name.to_owned(),
            address: "127.0.0.1:7400".to_owned(),
            total: Some(v1::Resources { cpu_milli: 2000, memory_bytes: 4 << 30 }),
            free: Some(v1::Resources { cpu_milli: 500, memory_bytes: 1 << 30 }),
            roots: vec!["default".to_owned(), "host".to_owned()],
            version: "0.1.0".to_owned(),
            voter: true,
            ..v1::Node::default()
        };
        Ok(Response::new(v1::NodesResponse { nodes: vec![node("node-1"), node("node-2")] }))
    }

    async fn why(&self, request: Request<v1::WhyRequest>) -> Result<Response<v1::WhyResponse>, Status> {
        let state = find(&self.shared.lock(), &request.into_inner().task)?.state;
        let start_in_ms = self.shared.lock().start_in_ms;
        let nodes = vec![v1::NodeReason { node_name: "node-1".into(), reason: "0.5 of 2 cpus free".into() }];
        Ok(Response::new(v1::WhyResponse {
            state,
            summary: "no node has 64 free cpus".into(),
            ahead: 3,
            nodes,
            start_in_ms,
            probably_in_ms: None,
        }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let world = self.shared.lock();
        let count = |state: State| world.tasks.iter().filter(|task| task.state() == state).count() as u64;
        Ok(Response::new(v1::StatusResponse {
            pause: world.locks.get("").cloned(),
            reserve: world.reserve.clone(),
            queued: count(State::Queued),
            running: count(State::Running),
            complete: count(State::Complete),
            canceled: count(State::Canceled),
            failed: count(State::Failed),
            nodes: 2,
            voters: 2,
            voters_healthy: 2,
            node_name: self.name.clone(),
            warning: "two voters tolerate no loss".to_owned(),
        }))
    }
}

/// The next chunk of at most 5 bytes, so that offsets are used, and whether it is the last.
fn chunk(request: &mut v1::LogRequest, log: &AttemptLog) -> Option<(v1::LogChunk, bool)> {
    if request.tail_lines > 0 && request.offset == 0 {
        let text = String::from_utf8_lossy(&log.bytes);
        let skipped = text.lines().count().saturating_sub(request.tail_lines as usize);
        request.offset = text.lines().take(skipped).map(|line| line.len() as u64 + 1).sum();
    }
    request.tail_lines = 0;
    let from = usize::try_from(request.offset).unwrap();
    let rest = log.bytes.get(from..).unwrap_or_default();
    let data = rest[..rest.len().min(5)].to_vec();
    let end = log.ended && data.len() == rest.len();
    if data.is_empty() && !end && request.follow {
        return None;
    }
    let last = end || (!request.follow && data.len() == rest.len());
    let chunk = v1::LogChunk {
        times: Vec::new(),
        attempt: request.attempt,
        offset: request.offset,
        data,
        end,
        truncated: end && log.truncated,
    };
    request.offset += chunk.data.len() as u64;
    Some((chunk, last))
}

fn newer(world: &World, open: &mut HashMap<String, i64>) -> Option<v1::Task> {
    let task =
        world.tasks.iter().find(|task| open.get(&task.id).is_some_and(|seen| task.revision > *seen))?;
    if is_terminal(task.state()) {
        open.remove(&task.id);
    } else {
        open.insert(task.id.clone(), task.revision);
    }
    Some(task.clone())
}
