//! Log: the bytes a task wrote, from whichever node has them. The node that is asked waits for the attempt to begin, then reads its own
//! disk or passes on what the attempt's node sends.

use super::error::ApiError;
use super::{ResponseStream, Service, resolve};
use crate::logs::attempt::Wanted;
use crate::logs::copies::find::{self, Owner};
use crate::logs::follow::{Ask, Follower};
use crate::logs::name::LogName;
use crate::logs::owner::{self, Place};
use crate::logs::{attempt, peer};
use shoal_core::id::{AttemptId, TaskId};
use shoal_core::task::Task;
use shoal_proto::convert::check::Check;
use shoal_proto::convert::limits;
use shoal_proto::v1;
use std::sync::Arc;

/// The largest size of a file.
const OFFSET_MAX: u64 = i64::MAX as u64 >> 1;

/// Where a log stream is.
enum Stage {
    /// The attempt has not begun; the client follows.
    Waiting(attempt::Begin),
    /// On this node's disk.
    Here(Box<Follower>),
    /// On another node.
    There(Box<peer::Remote>),
    /// Nothing is left to send.
    Done,
}

struct LogStream {
    service: Arc<Service>,
    request: v1::LogRequest,
    stage: Stage,
}

/// Begins to stream a log. What can be refused at once is refused before the stream begins.
pub async fn log(
    service: Arc<Service>,
    request: v1::LogRequest,
) -> Result<ResponseStream<v1::LogChunk>, ApiError> {
    let mut check = Check::new();
    if u64::from(request.attempt) > limits::MAX_ATTEMPTS.max {
        let max = limits::MAX_ATTEMPTS.max;
        check.refuse("attempt", format!("must be between 0 and {max}, was {}", request.attempt));
    }
    if request.offset > 0 && request.tail_lines > 0 {
        check.refuse("tail_lines", format!("must be 0 with an offset, was {}", request.tail_lines));
    }
    if request.offset > 0 && request.since_ms != 0 {
        check.refuse("since_ms", format!("must be 0 with an offset, was {}", request.since_ms));
    }
    if request.since_ms < 0 {
        check.refuse("since_ms", format!("must not be negative, was {}", request.since_ms));
    }
    if request.offset > OFFSET_MAX {
        check.refuse("offset", format!("must be at most {OFFSET_MAX}, was {}", request.offset));
    }
    check.finish(())?;
    // Subscribed before the record is read, so that no change falls between.
    let changes = service.api.changes.subscribe();
    let id = resolve::id(&service, &request.task).await?;
    let wanted = Wanted { attempt: request.attempt, rank: request.rank };
    let begin = attempt::Begin::new(service.api.clone(), changes, id, wanted);
    let stage = match begin.look().await? {
        attempt::Look::Begun(task, number) => open(&service, &request, &task, number).await?,
        attempt::Look::NeverRan(_) => return Ok(Box::pin(futures::stream::iter([Ok(empty_end())]))),
        attempt::Look::NotYet(_) if request.follow => Stage::Waiting(begin),
        attempt::Look::NotYet(number) => {
            return Err(ApiError::NotStarted { task: id, attempt: number });
        }
    };
    let stream = LogStream { service, request, stage };
    let chunks = futures::stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        match stream.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(stream))),
            Ok(None) => None,
            Err(error) => Some((Err(error.into()), None)),
        }
    });
    Ok(Box::pin(chunks))
}

impl LogStream {
    async fn next(&mut self) -> Result<Option<v1::LogChunk>, ApiError> {
        loop {
            match &mut self.stage {
                Stage::Here(follower) => return follower.next().await,
                Stage::There(remote) => return remote.next().await,
                Stage::Done => return Ok(None),
                Stage::Waiting(begin) => match begin.wait().await? {
                    attempt::Look::Begun(task, number) => {
                        self.stage = open(&self.service, &self.request, &task, number).await?;
                    }
                    attempt::Look::NeverRan(_) | attempt::Look::NotYet(_) => {
                        self.stage = Stage::Done;
                        return Ok(Some(empty_end()));
                    }
                },
            }
        }
    }
}

/// Opens the log of an attempt that has begun, wherever it is: on its node or, once it has ended, where a copy is.
async fn open(
    service: &Arc<Service>,
    request: &v1::LogRequest,
    task: &Task,
    number: u32,
) -> Result<Stage, ApiError> {
    let api = &service.api;
    let log = LogName { attempt: AttemptId { task: task.id, number }, rank: request.rank };
    let ended = attempt::has_ended(task, log);
    let owner = match owner::place(api, task, log, request.no_proxy).await? {
        Place::Here { own } => match here(service, request, log, own).await {
            // Its disk was lost, but not its name.
            Err(ApiError::LogGone { node, .. }) if !request.no_proxy => Owner { name: node, address: None },
            opened => return opened,
        },
        Place::There { node_name, address } => Owner { name: node_name, address },
    };
    let forwarded = forward(request, task.id, number);
    let shutdown = api.shutdown.clone();
    if ended {
        if api.copies.has(log) {
            // A node that has lost its disk, but not its name, is not asked for its own again.
            return here(service, request, log, task.members().is_empty()).await;
        }
        return Ok(Stage::There(Box::new(find::open(api, log, &owner, forwarded).await?)));
    }
    let Some(address) = &owner.address else {
        let (attempt, why) = (log.to_string(), "it is not alive".to_owned());
        return Err(ApiError::LogUnreachable { attempt, node: owner.name, why });
    };
    Ok(Stage::There(Box::new(peer::Remote::open(&owner.name, address, forwarded, shutdown).await?)))
}

/// Opens what this node has of it.
async fn here(
    service: &Arc<Service>,
    request: &v1::LogRequest,
    log: LogName,
    own: bool,
) -> Result<Stage, ApiError> {
    // Subscribed before the record is read again: an end that came since the caller read it must not be missed.
    let changes = service.api.changes.subscribe();
    let task = attempt::read(&service.api, log.attempt.task).await?;
    let ask = Ask {
        log,
        own,
        ended: attempt::has_ended(&task, log),
        offset: request.offset,
        follow: request.follow,
        tail_lines: request.tail_lines,
        since_ms: request.since_ms,
        timestamps: request.timestamps,
    };
    Ok(Stage::Here(Box::new(Follower::open(service.api.clone(), &service.hub, changes, ask).await?)))
}

/// The request as a peer gets it: nothing left to resolve, and never passed on again.
fn forward(request: &v1::LogRequest, task: TaskId, attempt: u32) -> v1::LogRequest {
    v1::LogRequest { task: task.to_string(), attempt, no_proxy: true, ..request.clone() }
}

/// The whole log of a task that ended before any node took it.
fn empty_end() -> v1::LogChunk {
    v1::LogChunk { end: true, ..v1::LogChunk::default() }
}
