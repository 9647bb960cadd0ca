//! The receiving side: the service that takes copies from peers. Nothing but these calls is in here that a user of the cluster could not make too.

use super::{Copies, Incoming, RefusedCopy};
use crate::api::error::ApiError;
use crate::logs::name::LogName;
use futures::StreamExt;
use shoal_proto::v1::{self, peer_server::Peer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

/// Attempts in one question.
pub const WANT_LEN_MAX: usize = 1000;
/// Bytes in one piece, with room for its other fields.
pub const PIECE_BYTES_MAX: usize = 256 << 10;
/// Streams that are taken in at once; more wait so long, and then go elsewhere.
const STREAMS_MAX: usize = 4;
const PLACE_WAIT: Duration = Duration::from_secs(10);
/// A stream from which nothing comes for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The service.
pub struct Keeper {
    copies: Arc<Copies>,
    streams: Semaphore,
}

impl Keeper {
    /// Keeps what it is given in `copies`.
    pub fn new(copies: Arc<Copies>) -> Keeper {
        Keeper { copies, streams: Semaphore::new(STREAMS_MAX) }
    }
}

#[tonic::async_trait]
impl Peer for Keeper {
    async fn want_logs(
        &self,
        request: Request<v1::WantLogsRequest>,
    ) -> Result<Response<v1::WantLogsResponse>, Status> {
        let asked = request.into_inner().attempts;
        if asked.len() > WANT_LEN_MAX {
            let description = format!("must be at most {WANT_LEN_MAX}, was {}", asked.len());
            return Err(ApiError::field("attempts", description).into());
        }
        let ids = asked.iter().map(|id| parse(id)).collect::<Result<Vec<_>, _>>()?;
        let missing = blocking(&self.copies, move |copies| {
            Ok(ids.into_iter().filter(|id| !copies.has(*id)).map(|id| id.to_string()).collect())
        });
        Ok(Response::new(v1::WantLogsResponse { attempts: missing.await? }))
    }

    async fn keep_logs(
        &self,
        request: Request<Streaming<v1::LogPiece>>,
    ) -> Result<Response<v1::KeepLogsResponse>, Status> {
        let busy = ApiError::Busy { what: "streams of copied logs", max: STREAMS_MAX };
        let Ok(Ok(_place)) = tokio::time::timeout(PLACE_WAIT, self.streams.acquire()).await else {
            return Err(busy.into());
        };
        let mut pieces = request.into_inner();
        let (mut copy, mut kept) = (None, 0);
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, pieces.next()).await;
            match next.map_err(|_| Status::deadline_exceeded("nothing came for too long"))? {
                None => break,
                Some(piece) => copy = self.take(copy, piece?).await?,
            }
            kept += u32::from(copy.is_none());
        }
        if copy.is_some() {
            return Err(ApiError::field("data", "must be all of the bytes announced").into());
        }
        Ok(Response::new(v1::KeepLogsResponse { kept }))
    }
}

impl Keeper {
    /// The copy that is still coming after this piece.
    async fn take(&self, copy: Option<Incoming>, piece: v1::LogPiece) -> Result<Option<Incoming>, Status> {
        let begins = match (piece.attempt.as_str(), &copy) {
            ("", Some(_)) => None,
            ("", None) => return Err(ApiError::field("attempt", "must name a log on its first piece").into()),
            (_, Some(_)) => {
                return Err(ApiError::field("attempt", "must wait for the end of the log before").into());
            }
            (id, None) => Some(parse(id)?),
        };
        blocking(&self.copies, move |copies| {
            let mut copy = match (begins, copy) {
                (Some(log), _) => copies.begin(log, piece.bytes)?,
                (None, Some(copy)) => copy,
                (None, None) => return Err(RefusedCopy::Broken),
            };
            copies.add(&mut copy, &piece.data)?;
            if copy.missing() > 0 {
                return Ok(Some(copy));
            }
            copies.finish(copy)?;
            Ok(None)
        })
        .await
    }
}

fn parse(id: &str) -> Result<LogName, ApiError> {
    let bad = |_| ApiError::field("attempt", format!("must be TASK.NUMBER or TASK.NUMBER.RANK, was {id:?}"));
    let log: LogName = id.parse().map_err(bad)?;
    // It names a file: one spelling for each.
    if log.to_string() == id {
        Ok(log)
    } else {
        Err(ApiError::field("attempt", format!("must be spelled {log}")))
    }
}

async fn blocking<T: Send + 'static>(
    copies: &Arc<Copies>,
    work: impl FnOnce(&Copies) -> Result<T, RefusedCopy> + Send + 'static,
) -> Result<T, Status> {
    let copies = copies.clone();
    let done = tokio::task::spawn_blocking(move || work(&copies)).await;
    done.map_err(|error| Status::internal(error.to_string()))?.map_err(|refused| match refused {
        RefusedCopy::Full { .. } | RefusedCopy::DiskFull => Status::resource_exhausted(refused.to_string()),
        RefusedCopy::Broken => Status::invalid_argument(refused.to_string()),
        RefusedCopy::Io { .. } => {
            tracing::warn!(error = &refused as &dyn std::error::Error, "copy of a log not kept");
            Status::internal(refused.to_string())
        }
    })
}
