//! Log: the bytes of one attempt, through any node, over broken connections. Offsets make sure that nothing is lost or doubled.

use crate::client::{Client, Link, Tries};
use crate::error::{Error, is_connection_loss, is_transient};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use shoal_proto::v1;
use tonic::{Status, Streaming};

struct LogStream {
    client: Client,
    request: v1::LogRequest,
    stream: Option<(Streaming<v1::LogChunk>, Link)>,
    tries: Tries,
    /// Answers "unavailable" of nodes since the last byte: the node that has the log does not answer, and no other node knows more.
    refusals: usize,
    ended: bool,
}

impl Client {
    /// The chunks of a log, up to the one whose `end` is set. A connection that breaks is made anew, at another node if need be, from the
    /// offset reached. When the nodes answer that the log's own node is silent, that is an error after each has been asked twice.
    pub fn log(&self, request: v1::LogRequest) -> BoxStream<'static, Result<v1::LogChunk, Error>> {
        let tries = Tries::new(self.patience());
        let log = LogStream { client: self.clone(), request, stream: None, tries, refusals: 0, ended: false };
        stream::try_unfold(log, |mut log| async move { Ok(log.next().await?.map(|chunk| (chunk, log))) })
            .boxed()
    }
}

impl LogStream {
    async fn next(&mut self) -> Result<Option<v1::LogChunk>, Error> {
        while !self.ended {
            if let Some(chunk) = self.chunk().await? {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// The next chunk; `None` when the connection was made, or lost and a pause has passed.
    async fn chunk(&mut self) -> Result<Option<v1::LogChunk>, Error> {
        let failed = match &mut self.stream {
            None => match self.open_stream().await {
                Ok(()) => return Ok(None),
                Err(error) => error,
            },
            Some((stream, _)) => match stream.message().await {
                Ok(Some(chunk)) => return Ok(Some(self.accept(chunk))),
                Ok(None) if !self.request.follow => {
                    self.ended = true;
                    return Ok(None);
                }
                Ok(None) => Error::from(Status::unavailable("log ended before the attempt did")),
                Err(status) => status.into(),
            },
        };
        if let Some((_, link)) = self.stream.take() {
            self.client.leave(&link);
        }
        let refused = matches!(&failed, Error::Status(status) if !is_connection_loss(status));
        self.refusals += usize::from(refused);
        if !failed.is_transient() || self.refusals > 2 * self.client.addresses().len() {
            return Err(failed);
        }
        self.tries.failed(failed).await?;
        Ok(None)
    }

    async fn open_stream(&mut self) -> Result<(), Error> {
        let mut link = self.client.link().await?;
        match link.stub.log(self.request.clone()).await {
            Ok(response) => {
                self.stream = Some((response.into_inner(), link));
                Ok(())
            }
            Err(status) => {
                if is_transient(&status) {
                    self.client.leave(&link);
                }
                Err(status.into())
            }
        }
    }

    /// Moves on: the attempt is now a definite one, and the next stream would start behind this chunk.
    fn accept(&mut self, chunk: v1::LogChunk) -> v1::LogChunk {
        if chunk.attempt != 0 {
            self.request.attempt = chunk.attempt;
        }
        if !chunk.data.is_empty() {
            self.request.offset = chunk.offset + chunk.data.len() as u64;
            (self.request.tail_lines, self.request.since_ms) = (0, 0);
        }
        self.ended = chunk.end;
        self.refusals = 0;
        self.tries.succeeded();
        chunk
    }
}
