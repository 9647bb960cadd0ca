//! One connection to the runner: length-prefixed JSON frames.

use super::socket::Socket;
use futures::{SinkExt, StreamExt};
use shoal_container::protocol::{Event, FRAME_BYTES_MAX, Request, VERSION};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// How long the runner may leave a request unread.
const SEND_PATIENCE: Duration = Duration::from_secs(40);

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It closed.
    #[error("runner closed the connection")]
    Closed,
    /// It broke.
    #[error("runner connection")]
    Io(#[from] std::io::Error),
    /// Something that is no frame of the protocol came.
    #[error("runner frame")]
    Frame(#[from] serde_json::Error),
    /// It does not answer though it has not gone.
    #[error("runner says nothing for {0:?}: it hangs")]
    Silent(Duration),
    /// It cannot do what it must.
    #[error("runner cannot limit {0}, and --require-limits is given")]
    Unlimited(String),
    /// The runner is of another version.
    #[error("runner speaks protocol {0}, this server {VERSION}")]
    Version(u32),
}

/// A connection.
pub(super) struct Link {
    frames: Framed<Socket, LengthDelimitedCodec>,
}

impl Link {
    pub(super) async fn connect(socket: &Path) -> std::io::Result<Link> {
        let stream = UnixStream::connect(socket).await?;
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec();
        Ok(Link { frames: Framed::new(Socket::new(stream), codec) })
    }

    pub(super) async fn hello(&mut self) -> Result<(), LinkError> {
        self.send(&Request::Hello { version: VERSION }).await
    }

    pub(super) async fn send(&mut self, request: &Request) -> Result<(), LinkError> {
        let bytes = serde_json::to_vec(request)?;
        // A runner that hangs reads nothing: what does not fit into the socket's buffer would wait for ever.
        let sent = tokio::time::timeout(SEND_PATIENCE, self.frames.send(Bytes::from(bytes))).await;
        Ok(sent.map_err(|_| LinkError::Silent(SEND_PATIENCE))??)
    }

    /// The next event. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Result<Event, LinkError> {
        let frame = self.frames.next().await.ok_or(LinkError::Closed)??;
        let event = serde_json::from_slice(&frame)?;
        match event {
            Event::Welcome { version, .. } if version != VERSION => Err(LinkError::Version(version)),
            event => Ok(event),
        }
    }

    /// The descriptor that came with the event that was read last, if that is one which has one.
    pub(super) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.frames.get_mut().take_descriptor()
    }
}
