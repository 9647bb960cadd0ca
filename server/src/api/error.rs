//! All errors of the API, and the one place that turns them into `google.rpc` details. Each names the field, the limit and the value,
//! and says whether to try again.

mod details;

use shoal_core::id::TaskId;
use shoal_core::lock::LockEntry;
use shoal_proto::v1;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};
use uuid::Uuid;

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "shoal";
/// When to try again where nothing better is known.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Why a call is refused or fails.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Fields of the request are wrong.
    #[error("{}", invalid_message(.0))]
    Invalid(Vec<FieldViolation>),
    /// No task has that id.
    #[error("no task {task:?}")]
    NoTask {
        /// As it was asked for.
        task: String,
    },
    /// Several tasks have that short id.
    #[error("task {prefix:?} is ambiguous: {}", list(.candidates))]
    Ambiguous {
        /// As it was asked for.
        prefix: String,
        /// Some of those that it names.
        candidates: Vec<TaskId>,
    },
    /// The request id was used for other tasks.
    #[error("request_id {request_id} was used before with another task at tasks[{index}]; take a new one")]
    RequestIdReused {
        /// The request id.
        request_id: Uuid,
        /// The first task that differs.
        index: usize,
    },
    /// No live node can ever run a task.
    #[error("{}", cannot_run_message(.0))]
    CannotRun(Vec<PreconditionViolation>),
    /// Too many tasks wait.
    #[error("queue is full: {queued} tasks wait, at most {max} may")]
    QueueFull {
        /// Tasks that wait.
        queued: u64,
        /// The limit.
        max: u64,
    },
    /// Too many calls of one kind are under way.
    #[error("too many {what} at once: at most {max}")]
    Busy {
        /// Which calls.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The store takes no writes.
    #[error("store is out of space: reads and running tasks go on, new tasks are refused")]
    StoreFull,
    /// A submit was not decided in time.
    #[error("submit not finished ({why}): safe to retry with request_id {request_id}")]
    SubmitUnfinished {
        /// Under which to retry.
        request_id: Uuid,
        /// What was in the way.
        why: String,
    },
    /// The store cannot be reached.
    #[error("store unavailable: {0}")]
    StoreUnavailable(String),
    /// The task has ended otherwise than as asked.
    #[error("task {task} has ended already: {}", state_word(*.state))]
    Ended {
        /// The task.
        task: TaskId,
        /// Its state.
        state: v1::State,
    },
    /// Only what waits can be held, or moved, or have another moved to it.
    #[error("task {task} runs: only tasks that wait can be held or moved")]
    NotQueued {
        /// The task.
        task: TaskId,
    },
    /// No live node has this name.
    #[error("no live node is called {node:?}, there are: {}", known.join(", "))]
    NoNode {
        /// The name.
        node: String,
        /// Those that live.
        known: Vec<String>,
    },
    /// Somebody else has locked it.
    #[error("node {node} is locked {lock}")]
    LockedByOther {
        /// Its name.
        node: String,
        /// Who and why.
        lock: Box<LockEntry>,
    },
    /// Nothing keeps it from taking tasks.
    #[error("node {node} is not locked: it takes tasks")]
    NotLocked {
        /// Its name.
        node: String,
    },
    /// Fewer nodes could be locked than were asked for; none is.
    #[error("{}", not_enough_message(*.wanted, *.free, label.as_deref()))]
    NotEnoughNodes {
        /// How many were asked for.
        wanted: usize,
        /// How many there are.
        free: usize,
        /// Which they must have.
        label: Option<String>,
    },
    /// The revision of a page token has been compacted away.
    #[error("page_token is too old, its revision is gone: list again from the first page")]
    PageTokenStale,
    /// The watcher was too slow.
    #[error("watch fell behind and lost changes: list again, then watch anew")]
    WatchLagged,
    /// The attempt has not begun.
    #[error("attempt {attempt} of task {task} has not started: it has no log yet")]
    NotStarted {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: u32,
    },
    /// The task will never have that attempt.
    #[error("task {task} has no attempt {attempt}: it ended after {last}")]
    NoAttempt {
        /// The task.
        task: TaskId,
        /// As asked for.
        attempt: u32,
        /// How many it had.
        last: usize,
    },
    /// The node has no log of the attempt.
    #[error("node {node} has no log of attempt {attempt}: it never started there, or its log was removed")]
    LogGone {
        /// `TASK.NUMBER`.
        attempt: String,
        /// The node's name.
        node: String,
    },
    /// The node that has the log does not answer.
    #[error("log of attempt {attempt} is on node {node}, which does not answer: {why}")]
    LogUnreachable {
        /// `TASK.NUMBER`.
        attempt: String,
        /// The node's name.
        node: String,
        /// What was seen.
        why: String,
    },
    /// What another node answered, passed on as it is.
    #[error("{}", .0.message())]
    FromPeer(Box<Status>),
    /// The node is shutting down.
    #[error("node is stopping: ask another one")]
    Stopping,
    /// A fault of ours.
    #[error("internal error: {0}")]
    Internal(String),
}

impl ApiError {
    /// One wrong field.
    pub fn field(field: &str, description: impl Into<String>) -> ApiError {
        ApiError::Invalid(vec![FieldViolation::new(field, description)])
    }

    fn code(&self) -> Code {
        match self {
            ApiError::Invalid(_) | ApiError::Ambiguous { .. } => Code::InvalidArgument,
            ApiError::NoNode { .. } => Code::NotFound,
            ApiError::NoTask { .. } | ApiError::NoAttempt { .. } | ApiError::LogGone { .. } => Code::NotFound,
            ApiError::RequestIdReused { .. } => Code::AlreadyExists,
            ApiError::CannotRun(_)
            | ApiError::Ended { .. }
            | ApiError::NotQueued { .. }
            | ApiError::LockedByOther { .. }
            | ApiError::NotLocked { .. }
            | ApiError::NotEnoughNodes { .. }
            | ApiError::NotStarted { .. } => Code::FailedPrecondition,
            ApiError::QueueFull { .. } | ApiError::Busy { .. } | ApiError::StoreFull => {
                Code::ResourceExhausted
            }
            ApiError::SubmitUnfinished { .. }
            | ApiError::StoreUnavailable(_)
            | ApiError::LogUnreachable { .. }
            | ApiError::Stopping => Code::Unavailable,
            ApiError::PageTokenStale | ApiError::WatchLagged => Code::OutOfRange,
            ApiError::FromPeer(status) => status.code(),
            ApiError::Internal(_) => Code::Internal,
        }
    }

    /// The machine's word for it, stable within v1.
    pub fn reason(&self) -> &'static str {
        match self {
            ApiError::Invalid(_) => "INVALID_FIELD",
            ApiError::NoTask { .. } => "NO_SUCH_TASK",
            ApiError::Ambiguous { .. } => "AMBIGUOUS_TASK",
            ApiError::RequestIdReused { .. } => "REQUEST_ID_REUSED",
            ApiError::CannotRun(_) => "CANNOT_RUN_ANYWHERE",
            ApiError::QueueFull { .. } => "QUEUE_FULL",
            ApiError::Busy { .. } => "TOO_MANY_CALLS",
            ApiError::StoreFull => "STORE_FULL",
            ApiError::SubmitUnfinished { .. } => "SUBMIT_UNFINISHED",
            ApiError::StoreUnavailable(_) => "STORE_UNAVAILABLE",
            ApiError::Ended { .. } => "TASK_ENDED",
            ApiError::NotQueued { .. } => "TASK_NOT_QUEUED",
            ApiError::NoNode { .. } => "NO_SUCH_NODE",
            ApiError::LockedByOther { .. } => "NODE_LOCKED",
            ApiError::NotLocked { .. } => "NODE_NOT_LOCKED",
            ApiError::NotEnoughNodes { .. } => "NOT_ENOUGH_NODES",
            ApiError::PageTokenStale => "PAGE_TOKEN_STALE",
            ApiError::WatchLagged => "WATCH_LAGGED",
            ApiError::NotStarted { .. } => "NOT_STARTED",
            ApiError::NoAttempt { .. } => "NO_SUCH_ATTEMPT",
            ApiError::LogGone { .. } => "LOG_GONE",
            ApiError::LogUnreachable { .. } => "LOG_UNREACHABLE",
            ApiError::FromPeer(_) => "FROM_PEER",
            ApiError::Stopping => "NODE_STOPPING",
            ApiError::Internal(_) => "INTERNAL",
        }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Status {
        let error = match error {
            ApiError::FromPeer(status) => return *status,
            error => error,
        };
        let mut details = ErrorDetails::with_error_info(error.reason(), DOMAIN, error.metadata());
        error.add_details(&mut details);
        Status::with_error_details(error.code(), error.to_string(), details)
    }
}

impl From<Vec<FieldViolation>> for ApiError {
    fn from(violations: Vec<FieldViolation>) -> ApiError {
        ApiError::Invalid(violations)
    }
}

fn invalid_message(violations: &[FieldViolation]) -> String {
    let first = violations.first().map(|violation| format!("{} {}", violation.field, violation.description));
    with_rest(first, violations.len())
}

fn cannot_run_message(violations: &[PreconditionViolation]) -> String {
    let first =
        violations.first().map(|violation| format!("{}: {}", violation.subject, violation.description));
    with_rest(first, violations.len())
}

fn not_enough_message(wanted: usize, free: usize, label: Option<&str>) -> String {
    let nodes = if free == 1 { "node" } else { "nodes" };
    let with = label.map(|label| format!(" with label {label}")).unwrap_or_default();
    format!("{free} {nodes}{with} could be locked, not {wanted}: the others are locked, drained or not ready")
}

fn with_rest(first: Option<String>, count: usize) -> String {
    let first = first.unwrap_or_default();
    if count > 1 { format!("{first} (and {} more)", count - 1) } else { first }
}

fn list(ids: &[TaskId]) -> String {
    ids.iter().map(TaskId::to_string).collect::<Vec<_>>().join(", ")
}

fn state_word(state: v1::State) -> String {
    state.as_str_name().trim_start_matches("STATE_").to_ascii_lowercase()
}
