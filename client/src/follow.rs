//! Follow: one task's states and the logs of its attempts, in one stream, until it has ended.
//!
//! The watch decides which attempt counts, never the log: a log that breaks off is a lost connection until the watch says that the
//! attempt was lost, and then the next attempt's log begins from its start.

use crate::client::Client;
use crate::error::Error;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use shoal_proto::v1;
use shoal_proto::v1::State;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// Before the log of a running attempt is asked for again after all nodes have refused it.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Something that happened to the task.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The task changed.
    State(Box<v1::Task>),
    /// Bytes of an attempt's log.
    Bytes {
        /// Which attempt.
        attempt: u32,
        /// Whose of its members; 0 is the first, and the only one of a task of one node.
        rank: u32,
        /// Where in its log.
        offset: u64,
        /// What it wrote.
        data: Vec<u8>,
        /// When, as far as it is known and was asked for.
        times: Vec<v1::LogTime>,
    },
    /// A log reached its cap.
    Truncated {
        /// Which attempt.
        attempt: u32,
        /// Whose of its members.
        rank: u32,
    },
    /// An attempt is over and the task is not: it is queued again.
    Lost(v1::Attempt),
    /// The rest of a log cannot be had.
    LogIncomplete {
        /// Which attempt.
        attempt: u32,
        /// Whose of its members.
        rank: u32,
        /// Why.
        why: String,
    },
    /// The task has ended and all that can be had of its log was passed on. The last event.
    Ended(Box<v1::Task>),
}

struct OpenLog {
    attempt: u32,
    rank: u32,
    offset: u64,
    stream: BoxStream<'static, Result<v1::LogChunk, Error>>,
}

/// Follows one task.
pub struct Follow {
    client: Client,
    id: String,
    /// How the first log begins, and whether times are wanted.
    begin: v1::LogRequest,
    /// Whether the logs of all members are followed.
    all_ranks: bool,
    changes: BoxStream<'static, Result<v1::Task, Error>>,
    task: Option<v1::Task>,
    logs: Vec<OpenLog>,
    /// Highest attempt whose log was begun.
    begun: u32,
    /// Highest attempt whose loss was told.
    lost: u32,
    ready: VecDeque<Event>,
    done: bool,
}

enum Input {
    Change(Option<Result<Box<v1::Task>, Error>>),
    Chunk(OpenLog, Option<Result<v1::LogChunk, Error>>),
}

impl Client {
    /// Follows the task with this full id, from the start of its log; of a task of several nodes the logs of all of them.
    pub fn follow(&self, id: &str) -> Follow {
        self.follow_all_from(id, v1::LogRequest::default())
    }

    /// As [`Client::follow_from`], but the logs of all members of a task of several nodes.
    pub fn follow_all_from(&self, id: &str, begin: v1::LogRequest) -> Follow {
        Follow { all_ranks: true, ..self.follow_from(id, begin) }
    }

    /// Follows the task with this full id. The log of its latest attempt begins as `begin` says (`tail_lines`, `since_ms`), those of later attempts at
    /// their start; `timestamps` and `rank` are of them all. The rest of `begin` is of no meaning.
    pub fn follow_from(&self, id: &str, begin: v1::LogRequest) -> Follow {
        Follow {
            client: self.clone(),
            begin,
            all_ranks: false,
            id: id.to_owned(),
            changes: self.watch(&[id.to_owned()]),
            task: None,
            logs: Vec::new(),
            begun: 0,
            lost: 0,
            ready: VecDeque::new(),
            done: false,
        }
    }
}

impl Follow {
    /// The next event; `None` after [`Event::Ended`]. Loses nothing when it is dropped before it is ready.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.done {
                return Ok(None);
            }
            let input = tokio::select! {
                change = self.changes.next() => Input::Change(change.map(|change| change.map(Box::new))),
                (log, chunk) = next_chunk(&mut self.logs) => Input::Chunk(log, chunk),
            };
            match input {
                Input::Change(Some(change)) => self.changed(*change?),
                Input::Change(None) => self.drain().await,
                Input::Chunk(log, chunk) => self.chunk(log, chunk),
            }
        }
    }

    /// The watch has ended with the task: only the logs are left.
    async fn drain(&mut self) {
        if self.logs.is_empty() {
            self.done = true;
            self.ready.extend(self.task.take().map(|task| Event::Ended(Box::new(task))));
        } else {
            let (log, chunk) = next_chunk(&mut self.logs).await;
            self.chunk(log, chunk);
        }
    }

    fn changed(&mut self, task: v1::Task) {
        self.ready.push_back(Event::State(Box::new(task.clone())));
        let latest = task.attempts.last().map_or(0, |attempt| attempt.number);
        let over = if task.state() == State::Queued { latest } else { latest.saturating_sub(1) };
        for attempt in
            task.attempts.iter().filter(|attempt| attempt.number > self.lost && attempt.number <= over)
        {
            self.ready.push_back(Event::Lost(attempt.clone()));
        }
        self.lost = self.lost.max(over);
        if latest > self.begun && task.state() != State::Queued {
            self.begun = latest;
            let begin = self.begin.clone();
            (self.begin.tail_lines, self.begin.since_ms) = (0, 0);
            let members = task.attempts.last().map_or(0, |attempt| attempt.members.len() as u32);
            let ranks = if self.all_ranks { 0..=members.max(1) - 1 } else { begin.rank..=begin.rank };
            let open = |rank| self.open(latest, v1::LogRequest { rank, ..begin.clone() }, Duration::ZERO);
            self.logs = ranks.map(open).collect();
        }
        self.task = Some(task);
    }

    fn open(&self, attempt: u32, begin: v1::LogRequest, after: Duration) -> OpenLog {
        let (rank, offset) = (begin.rank, begin.offset);
        let task = self.id.clone();
        let request = v1::LogRequest { task, attempt, follow: true, no_proxy: false, ..begin };
        let client = self.client.clone();
        let log = async move {
            tokio::time::sleep(after).await;
            client.log(request)
        };
        OpenLog { attempt, rank, offset, stream: stream::once(log).flatten().boxed() }
    }

    /// Takes in what came of a log, which is kept unless it has ended.
    fn chunk(&mut self, mut log: OpenLog, chunk: Option<Result<v1::LogChunk, Error>>) {
        let (attempt, rank) = (log.attempt, log.rank);
        match chunk {
            Some(Ok(chunk)) => {
                log.offset = chunk.offset + chunk.data.len() as u64;
                if !chunk.data.is_empty() {
                    let v1::LogChunk { offset, data, times, .. } = chunk;
                    self.ready.push_back(Event::Bytes { attempt, rank, offset, data, times });
                }
                if chunk.truncated {
                    self.ready.push_back(Event::Truncated { attempt, rank });
                }
                // Behind the others, so that one that never ceases does not keep them from being heard.
                self.logs.push(log);
            }
            Some(Err(error)) => self.broken(&log, &error),
            None => {}
        }
    }

    fn broken(&mut self, log: &OpenLog, error: &Error) {
        let OpenLog { attempt, rank, offset, .. } = *log;
        let runs = self.task.as_ref().is_some_and(|task| task.state() == State::Running);
        if attempt <= self.lost {
            return;
        }
        if runs && (error.is_transient() || matches!(error, Error::TimedOut { .. })) {
            let timestamps = self.begin.timestamps;
            let begin = v1::LogRequest { offset, timestamps, rank, ..Default::default() };
            self.logs.push(self.open(attempt, begin, LOG_AGAIN_AFTER));
        } else {
            self.ready.push_back(Event::LogIncomplete { attempt, rank, why: error.to_string() });
        }
    }
}

/// The next chunk of any of the open logs, and that log, which is taken out; for ever pending when none is open. Takes nothing when it is dropped before.
async fn next_chunk(logs: &mut Vec<OpenLog>) -> (OpenLog, Option<Result<v1::LogChunk, Error>>) {
    let (index, chunk) = poll_fn(|context| {
        let mut logs = logs.iter_mut().enumerate();
        let ready = logs.find_map(|(index, log)| match log.stream.poll_next_unpin(context) {
            Poll::Ready(chunk) => Some((index, chunk)),
            Poll::Pending => None,
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await;
    (logs.remove(index), chunk)
}
