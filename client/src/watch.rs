//! Watch: the states of named tasks, through any node, over broken connections.

use crate::client::{Client, Link, Tries};
use crate::error::{Error, is_connection_loss, is_transient};
use crate::exit::is_terminal;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use shoal_proto::v1;
use std::collections::HashMap;
use tonic::{Code, Status, Streaming};

/// Tasks of one stream; more are split over several.
const TASKS_OF_STREAM_MAX: usize = 5000;

struct Watch {
    client: Client,
    /// The tasks that have not ended, with the last revision passed on.
    open: HashMap<String, i64>,
    stream: Option<(Streaming<v1::WatchEvent>, Link)>,
    tries: Tries,
}

impl Client {
    /// The present state of each task and then every change, until all have ended. Reconnects, to another node if need be; after a
    /// reconnect a change may have been skipped over, but a task's last state never is. Ids are full ones.
    pub fn watch(&self, ids: &[String]) -> BoxStream<'static, Result<v1::Task, Error>> {
        let streams = ids.chunks(TASKS_OF_STREAM_MAX).map(|ids| {
            let open = ids.iter().map(|id| (id.clone(), -1)).collect();
            let watch =
                Watch { client: self.clone(), open, stream: None, tries: Tries::new(self.patience()) };
            stream::try_unfold(
                watch,
                |mut watch| async move { Ok(watch.next().await?.map(|task| (task, watch))) },
            )
            .boxed()
        });
        stream::select_all(streams).boxed()
    }
}

impl Watch {
    async fn next(&mut self) -> Result<Option<v1::Task>, Error> {
        while !self.open.is_empty() {
            if let Some(task) = self.event().await?.and_then(|task| self.accept(task)) {
                return Ok(Some(task));
            }
        }
        Ok(None)
    }

    /// The next event; `None` after a lost connection, a pause later.
    async fn event(&mut self) -> Result<Option<v1::Task>, Error> {
        let failed = match &mut self.stream {
            None => match self.open_stream().await {
                Ok(()) => return Ok(None),
                Err(error) => error,
            },
            Some((stream, _)) => match stream.message().await {
                Ok(Some(event)) => {
                    self.tries.succeeded();
                    return Ok(event.task);
                }
                // The node ended the stream although tasks are open: it restarts, or lost its view.
                Ok(None) => Error::from(Status::unavailable("watch ended")),
                Err(status) => status.into(),
            },
        };
        if let Some((_, link)) = self.stream.take() {
            self.client.leave(&link);
        }
        let lagged = failed.code() == Some(Code::OutOfRange);
        if lagged || failed.is_transient() {
            self.tries.failed(failed).await?;
            return Ok(None);
        }
        Err(failed)
    }

    async fn open_stream(&mut self) -> Result<(), Error> {
        let mut link = self.client.link().await?;
        let request = v1::WatchRequest { tasks: self.open.keys().cloned().collect() };
        match link.stub.watch(request).await {
            Ok(response) => {
                self.stream = Some((response.into_inner(), link));
                Ok(())
            }
            Err(status) => {
                if is_transient(&status) || is_connection_loss(&status) {
                    self.client.leave(&link);
                }
                Err(status.into())
            }
        }
    }

    /// Passes on what is newer than what was passed on before.
    fn accept(&mut self, task: v1::Task) -> Option<v1::Task> {
        let seen = self.open.get_mut(&task.id)?;
        if task.revision <= *seen {
            return None;
        }
        *seen = task.revision;
        if is_terminal(task.state()) {
            self.open.remove(&task.id);
        }
        Some(task)
    }
}
