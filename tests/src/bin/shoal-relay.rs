//! Carries TCP connections between a machine's loopback and its link, in the place of the tunnels of `docs/three-machines.md`, in tests
//! of the network. Serves `LISTEN=TARGET …` once it has said `ready`, and ends with its standard input.
//!
//! Like `ssh -o ServerAliveInterval=2 -o ServerAliveCountMax=2` it gives up a connection whose other end has been silent for 4 s.

use anyhow::{Context, Result};
use rustix::net::sockopt;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, copy_bidirectional, stdin};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A quiet connection is asked so often.
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// So many questions without an answer end it.
const ALIVE_COUNT_MAX: u32 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut tunnels = JoinSet::new();
    for pair in std::env::args().skip(1) {
        let (from, to) = pair.split_once('=').with_context(|| format!("{pair:?} is not LISTEN=TARGET"))?;
        let target: SocketAddr = to.parse().with_context(|| format!("target {to:?}"))?;
        let listener = TcpListener::bind(from).await.with_context(|| format!("listen on {from}"))?;
        tunnels.spawn(serve(listener, target));
    }
    println!("ready");
    std::io::stdout().flush()?;
    // Whoever started it holds the other end for as long as it lives.
    while stdin().read(&mut [0; 64]).await? > 0 {}
    Ok(())
}

async fn serve(listener: TcpListener, target: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((from, _)) = accepted {
                connections.spawn(carry(from, target));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Both ends are closed when either is: that is all that a broken tunnel tells.
async fn carry(mut from: TcpStream, target: SocketAddr) {
    let limit = ALIVE_INTERVAL * ALIVE_COUNT_MAX;
    let Ok(Ok(mut to)) = timeout(limit, TcpStream::connect(target)).await else { return };
    if [&from, &to].into_iter().all(|end| watch(end).is_ok()) {
        let _ = copy_bidirectional(&mut from, &mut to).await;
    }
}

fn watch(end: &TcpStream) -> std::io::Result<()> {
    end.set_nodelay(true)?;
    sockopt::set_socket_keepalive(end, true)?;
    sockopt::set_tcp_keepidle(end, ALIVE_INTERVAL)?;
    sockopt::set_tcp_keepintvl(end, ALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(end, ALIVE_COUNT_MAX)?;
    let silence_ms = (ALIVE_INTERVAL * ALIVE_COUNT_MAX).as_millis() as u32;
    Ok(sockopt::set_tcp_user_timeout(end, silence_ms)?)
}
