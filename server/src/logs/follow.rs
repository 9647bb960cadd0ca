//! One client's reading of a log on this node's disk: from an offset or the last lines on, to the present end or on until the attempt has ended.
//!
//! Invariant: the end of the attempt is learnt before the read that finds no more bytes, so no byte is missed. A chunk is read only when the client has
//! taken the one before, so a client that does not read holds no memory.

use super::attempt::{Record, has_ended};
use super::file::LogFile;
use super::name::LogName;
use super::notify::{Hub, Subscription};
use crate::api::error::ApiError;
use crate::seam::{Api, TaskChanged};
use shoal_container::log_index::Mark;
use shoal_proto::v1;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::broadcast;

/// What is asked for.
pub struct Ask {
    /// Which log, of an attempt that has begun.
    pub log: LogName,
    /// It is this node's own, where it has it: what lies in the attempt's directory here is not another member's.
    pub own: bool,
    /// Its end is recorded.
    pub ended: bool,
    /// Where to begin.
    pub offset: u64,
    /// Go on until the attempt has ended.
    pub follow: bool,
    /// Begin this many lines before the end instead; 0 to begin at the offset.
    pub tail_lines: u64,
    /// Begin with what came then (milliseconds since 1970) or later instead; 0 to begin at the offset. With `tail_lines` too, the later begins.
    pub since_ms: i64,
    /// Say when the bytes came.
    pub timestamps: bool,
}

/// A log being read.
pub struct Follower {
    api: Arc<Api>,
    ask: Ask,
    file: Option<LogFile>,
    record: Record,
    directory: PathBuf,
    disk: Subscription,
    done: bool,
}

impl Follower {
    /// Opens the log, if it is there. `changes` must have been subscribed before the record was read that `ask` is made from.
    pub async fn open(
        api: Arc<Api>,
        hub: &Arc<Hub>,
        changes: broadcast::Receiver<TaskChanged>,
        ask: Ask,
    ) -> Result<Follower, ApiError> {
        let record = Record::new(api.clone(), changes, ask.log.attempt.task);
        let directory = api.attempts_dir.join(ask.log.attempt.to_string());
        let disk = hub.subscribe();
        let mut follower = Follower { api, ask, file: None, record, directory, disk, done: false };
        follower.open_file().await?;
        Ok(follower)
    }

    /// The next chunk; `None` at the end of what is asked for.
    pub async fn next(&mut self) -> Result<Option<v1::LogChunk>, ApiError> {
        while !self.done {
            // Taken before the read: what is written before the end is recorded is in the file by then.
            let ended = self.ask.ended;
            self.open_file().await?;
            let data = self.read().await?;
            if !data.is_empty() {
                let offset = self.ask.offset;
                self.ask.offset += data.len() as u64;
                let times = self.times(offset, data.len() as u64).await?;
                return Ok(Some(v1::LogChunk { times, ..self.chunk(offset, data) }));
            }
            if ended {
                self.done = true;
                return self.last_chunk().await.map(Some);
            }
            if !self.ask.follow {
                break;
            }
            tokio::select! {
                () = self.disk.told() => {}
                task = self.record.changed() => self.ask.ended = has_ended(&task?, self.ask.log),
            }
        }
        self.done = true;
        Ok(None)
    }

    async fn open_file(&mut self) -> Result<(), ApiError> {
        if self.file.is_some() {
            return Ok(());
        }
        // Watched before it is looked for, so that it cannot come unseen.
        if self.ask.own && self.ask.follow && !self.ask.ended {
            self.disk.add(&self.api.attempts_dir).map_err(|error| self.failed(&error))?;
            self.disk.add(&self.directory).map_err(|error| self.failed(&error))?;
        }
        if self.ask.own {
            self.file = LogFile::open(&self.directory).await.map_err(|error| self.failed(&error))?;
        }
        if self.file.is_none() && self.ask.ended {
            let copy = self.api.copies.path(self.ask.log);
            self.file = LogFile::open_copy(&copy).await.map_err(|error| self.failed(&error))?;
        }
        if self.file.is_none() && self.ask.ended {
            let (attempt, node) = (self.ask.log.to_string(), self.api.insight.identity().name);
            return Err(ApiError::LogGone { attempt, node });
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<Vec<u8>, ApiError> {
        let Some(file) = self.file.clone() else { return Ok(Vec::new()) };
        let lines = std::mem::take(&mut self.ask.tail_lines);
        if lines > 0 {
            self.ask.offset = file.tail_offset(lines).await.map_err(|error| self.failed(&error))?;
        }
        if let Ok(since_ms @ 1..) = u64::try_from(std::mem::take(&mut self.ask.since_ms)) {
            let since = file.since_offset(since_ms).await.map_err(|error| self.failed(&error))?;
            self.ask.offset = self.ask.offset.max(since);
        }
        file.read(self.ask.offset).await.map_err(|error| self.failed(&error))
    }

    /// When these bytes came, as far as it is known and asked for.
    async fn times(&self, offset: u64, bytes: u64) -> Result<Vec<v1::LogTime>, ApiError> {
        let Some(file) = self.file.as_ref().filter(|_| self.ask.timestamps) else { return Ok(Vec::new()) };
        let index = file.index().await.map_err(|error| self.failed(&error))?;
        let time = |mark: &Mark| v1::LogTime {
            offset: mark.offset,
            at_ms: i64::try_from(mark.at_ms).unwrap_or(i64::MAX),
        };
        Ok(index.between(offset, offset + bytes).iter().map(time).collect())
    }

    async fn last_chunk(&self) -> Result<v1::LogChunk, ApiError> {
        let truncated = match &self.file {
            Some(file) => file.is_truncated().await.map_err(|error| self.failed(&error))?,
            None => false,
        };
        Ok(v1::LogChunk { end: true, truncated, ..self.chunk(self.ask.offset, Vec::new()) })
    }

    fn chunk(&self, offset: u64, data: Vec<u8>) -> v1::LogChunk {
        v1::LogChunk { attempt: self.ask.log.attempt.number, offset, data, ..v1::LogChunk::default() }
    }

    fn failed(&self, error: &io::Error) -> ApiError {
        ApiError::Internal(format!("cannot read log {}: {error}", self.directory.display()))
    }
}
