//! Which attempt's log is meant, whether it has begun, and when it has ended: all from the task's record, read again on every change.

use super::name::LogName;
use crate::api::error::ApiError;
use crate::api::records;
use crate::seam::{Api, TaskChanged};
use shoal_core::id::TaskId;
use shoal_core::task::{Attempt, Task};
use shoal_store::port::Revision;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, Interval, interval_at};

/// The slow reconcile: the record is read again, in case a change was never told.
const RECONCILE: Duration = Duration::from_secs(10);

/// What the record says of the attempt that is asked for.
pub enum Look {
    /// A node has taken it.
    Begun(Box<Task>, u32),
    /// This attempt is still to come.
    NotYet(u32),
    /// The task ended before any node took it.
    NeverRan(TaskId),
}

/// The record of one task, followed through its changes.
pub struct Record {
    api: Arc<Api>,
    task: TaskId,
    changes: broadcast::Receiver<TaskChanged>,
    reconcile: Interval,
    /// A change that was told and whose record has not been read yet.
    unread: Option<Revision>,
}

impl Record {
    /// `changes` must have been subscribed before the record was read.
    pub fn new(api: Arc<Api>, changes: broadcast::Receiver<TaskChanged>, task: TaskId) -> Record {
        let reconcile = interval_at(Instant::now() + RECONCILE, RECONCILE);
        Record { api, task, changes, reconcile, unread: None }
    }

    /// The record as it is now.
    pub async fn read(&self) -> Result<Task, ApiError> {
        self.read_since(Revision::MAX).await
    }

    /// The record after its next change, or a little later. Safe to drop and call again.
    pub async fn changed(&mut self) -> Result<Task, ApiError> {
        // Kept until the read is done: a caller that drops this call meanwhile (a `select!` arm) must not lose the change.
        let least = match self.unread {
            Some(least) => least,
            None => self.told().await?,
        };
        self.unread = Some(least);
        let task = self.read_since(least).await;
        self.unread = None;
        task
    }

    /// The revision of the next change of the task; the newest there is where one may have been missed.
    async fn told(&mut self) -> Result<Revision, ApiError> {
        loop {
            tokio::select! {
                () = self.api.shutdown.cancelled() => return Err(ApiError::Stopping),
                _ = self.reconcile.tick() => return Ok(Revision::MAX),
                change = self.changes.recv() => match change {
                    Ok(change) if change.task == self.task => return Ok(change.revision),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return Ok(Revision::MAX),
                    Err(RecvError::Closed) => return Err(ApiError::Stopping),
                },
            }
        }
    }

    async fn read_since(&self, least: Revision) -> Result<Task, ApiError> {
        read_since(&self.api, self.task, least).await
    }
}

/// The record of a task as it is now.
pub async fn read(api: &Api, task: TaskId) -> Result<Task, ApiError> {
    read_since(api, task, Revision::MAX).await
}

async fn read_since(api: &Api, task: TaskId, least: Revision) -> Result<Task, ApiError> {
    let found = records::read_since(&*api.store, &HashMap::from([(task, least)])).await?;
    let stored = found.into_iter().next().ok_or_else(|| ApiError::NoTask { task: task.to_string() })?;
    Ok(stored.value)
}

/// Waits for an attempt to begin.
pub struct Begin {
    record: Record,
    wanted: Wanted,
}

/// Which of a task's logs is asked for.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// The attempt's number, 0 for the latest.
    pub attempt: u32,
    /// The member's rank.
    pub rank: u32,
}

impl Begin {
    /// Waits for it.
    pub fn new(
        api: Arc<Api>,
        changes: broadcast::Receiver<TaskChanged>,
        task: TaskId,
        wanted: Wanted,
    ) -> Begin {
        Begin { record: Record::new(api, changes, task), wanted }
    }

    /// How it is now.
    pub async fn look(&self) -> Result<Look, ApiError> {
        look(self.record.read().await?, self.wanted)
    }

    /// How it is when it is no longer still to come.
    pub async fn wait(&mut self) -> Result<Look, ApiError> {
        loop {
            match look(self.record.changed().await?, self.wanted)? {
                Look::NotYet(_) => {}
                settled @ (Look::Begun(..) | Look::NeverRan(_)) => return Ok(settled),
            }
        }
    }
}

fn look(task: Task, Wanted { attempt: wanted, rank }: Wanted) -> Result<Look, ApiError> {
    let nodes = task.spec.nodes();
    if rank >= nodes {
        let last = nodes - 1;
        return Err(ApiError::field(
            "rank",
            format!("must be between 0 and {last} for this task, was {rank}"),
        ));
    }
    let latest = task.attempts.last().map_or(0, |attempt| attempt.number);
    let number = if wanted == 0 { latest.max(1) } else { wanted };
    if task.attempts.iter().any(|attempt| attempt.number == number) {
        return Ok(Look::Begun(Box::new(task), number));
    }
    if !task.state.is_terminal() {
        return Ok(Look::NotYet(number));
    }
    if wanted == 0 {
        return Ok(Look::NeverRan(task.id));
    }
    Err(ApiError::NoAttempt { task: task.id, attempt: wanted, last: task.attempts.len() })
}

/// Whether the end of what wrote this log is recorded: the attempt's, or this member's before it. The log was durable before.
pub fn has_ended(task: &Task, log: LogName) -> bool {
    let member_has =
        |attempt: &Attempt| attempt.members.get(log.rank as usize).is_some_and(|member| member.end.is_some());
    let attempt = task.attempts.iter().find(|attempt| attempt.number == log.attempt.number);
    attempt.is_some_and(|attempt| attempt.ended.is_some() || member_has(attempt))
}
