//! One client's connection: TCP or unix socket, counted against the limit, and closed when it does not begin to speak HTTP/2 in time.
//! From then on the server's keep-alive finds connections that have died.

use super::listen::Listener;
use futures::Stream;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

/// The client's first bytes, the connection preface of HTTP/2 (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// For those.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// After a failed accept (out of descriptors, for instance), before the next.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// Who is at the other end; each request carries it as an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Some process of this machine.
    Loopback,
    /// A process of this user.
    Unix {
        /// Its user id, where the kernel told.
        uid: Option<u32>,
    },
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// An accepted connection.
pub struct Connection {
    socket: Socket,
    silence: Option<Pin<Box<Sleep>>>,
    received: usize,
    _place: OwnedSemaphorePermit,
}

/// Accepted connections, for ever; at the limit it accepts no more until one closes. Errors of accept are waited out.
pub fn accepted(listener: Listener, places: Arc<Semaphore>) -> impl Stream<Item = io::Result<Connection>> {
    futures::stream::unfold((listener, places), |(listener, places)| async move {
        let place = places.clone().acquire_owned().await.ok()?;
        loop {
            match accept(&listener).await {
                Ok(socket) => return Some((Ok(Connection::new(socket, place)), (listener, places))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_BACK_OFF).await;
                }
            }
        }
    })
}

async fn accept(listener: &Listener) -> io::Result<Socket> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Socket::Tcp(stream))
        }
        Listener::Unix(listener, _) => Ok(Socket::Unix(listener.accept().await?.0)),
    }
}

impl Connection {
    fn new(socket: Socket, place: OwnedSemaphorePermit) -> Connection {
        let silence = Some(Box::pin(tokio::time::sleep(PREFACE_TIMEOUT)));
        Connection { socket, silence, received: 0, _place: place }
    }

    fn writer(self: Pin<&mut Self>) -> Pin<&mut (dyn AsyncWrite + Send + Unpin)> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream),
            Socket::Unix(stream) => Pin::new(stream),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = match &mut this.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        this.received = this.received.saturating_add(buf.filled().len() - before);
        if this.received >= PREFACE_BYTES {
            this.silence = None;
        }
        let expired = match &mut this.silence {
            Some(silence) if read.is_pending() => silence.as_mut().poll(cx).is_ready(),
            Some(_) | None => false,
        };
        if expired { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { read }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writer().poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(cx)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer().poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Tcp(stream) => stream.is_write_vectored(),
            Socket::Unix(stream) => stream.is_write_vectored(),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;
    fn connect_info(&self) -> Peer {
        match &self.socket {
            Socket::Tcp(_) => Peer::Loopback,
            Socket::Unix(stream) => Peer::Unix { uid: stream.peer_cred().ok().map(|peer| peer.uid()) },
        }
    }
}
