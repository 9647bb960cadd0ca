//! A log that another node has: asked for over its API and passed on chunk by chunk, no faster than our client reads.
//!
//! A node that is gone is noticed within two seconds: at the connection, at the first answer, or by the keep-alive of HTTP/2.

use crate::api::error::ApiError;
use shoal_proto::v1::{self, shoal_client::ShoalClient};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

/// For the connection and the first answer together.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(1800);
/// A silent connection is asked for a sign of life this often, and given this long for it.
const KEEP_ALIVE: Duration = Duration::from_millis(900);

/// A log stream from another node.
pub struct Remote {
    node: String,
    attempt: String,
    chunks: Streaming<v1::LogChunk>,
    shutdown: CancellationToken,
}

/// What comes of the next chunk: it, or the end.
type Next = Result<Option<v1::LogChunk>, Status>;

impl Remote {
    /// Asks the node. `request` must name task and attempt in full.
    pub async fn open(
        node: &str,
        address: &str,
        request: v1::LogRequest,
        shutdown: CancellationToken,
    ) -> Result<Remote, ApiError> {
        let attempt = format!("{}.{}", request.task, request.attempt);
        let unreachable =
            |why: String| ApiError::LogUnreachable { attempt: attempt.clone(), node: node.to_owned(), why };
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, ask(address, request)).await;
        let answer = asked.map_err(|_| unreachable(format!("no answer from {address} in time")))?;
        let chunks = answer.map_err(|status| passed_on(status, &unreachable))?;
        Ok(Remote { node: node.to_owned(), attempt, chunks, shutdown })
    }

    /// The next chunk. A node that is lost in the middle is an error, never an early end.
    pub async fn next(&mut self) -> Result<Option<v1::LogChunk>, ApiError> {
        let next: Next = tokio::select! {
            () = self.shutdown.cancelled() => return Err(ApiError::Stopping),
            next = self.chunks.message() => next,
        };
        next.map_err(|status| {
            passed_on(status, &|why| ApiError::LogUnreachable {
                attempt: self.attempt.clone(),
                node: self.node.clone(),
                why,
            })
        })
    }
}

/// How another node's API is reached: a connection that is lost, or silent, is noticed in time.
pub fn endpoint(address: &str) -> Result<Endpoint, Status> {
    let uri = if address.starts_with("unix:") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(uri).map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(endpoint
        .connect_timeout(ANSWER_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

async fn ask(address: &str, request: v1::LogRequest) -> Result<Streaming<v1::LogChunk>, Status> {
    let connected = endpoint(address)?.connect().await;
    let channel = connected.map_err(|error| Status::unavailable(with_causes(&error)))?;
    Ok(ShoalClient::new(channel).log(request).await?.into_inner())
}

/// The peer's own answer where it gave one; a broken connection is ours to name.
fn passed_on(status: Status, unreachable: &dyn Fn(String) -> ApiError) -> ApiError {
    match status.code() {
        Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition | Code::ResourceExhausted => {
            ApiError::FromPeer(Box::new(status))
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => unreachable(status.message().to_owned()),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
