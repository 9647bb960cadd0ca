//! Where the API listens. Until TLS exists nothing but this machine's own loopback addresses and unix sockets is allowed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Only the owner may connect. A group comes with access control.
const SOCKET_MODE: u32 = 0o600;
/// `sun_path` with its closing NUL is 108 bytes; the socket is first bound under a name of four more.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// A checked address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// A loopback address and port; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A unix socket's path.
    Unix(PathBuf),
}

/// Why the API cannot listen there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not an address.
    #[error("listen address {0:?} is neither IP:PORT nor unix:/PATH")]
    Malformed(String),
    /// Other machines could connect.
    #[error(
        "listen address {0} is not loopback: TLS and access tokens do not exist yet, so anyone who reaches it could run \
         programs here; use 127.0.0.1:PORT, [::1]:PORT or unix:/PATH"
    )]
    NotLoopback(SocketAddr),
    /// Too long for a socket.
    #[error("socket path {0} is longer than {SOCKET_PATH_BYTES_MAX} bytes")]
    PathTooLong(PathBuf),
    /// Another server answers there.
    #[error("socket {0} is in use by another process")]
    InUse(PathBuf),
    /// The system refused.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// Reads an address and refuses any that other machines could reach.
pub fn check_listen(text: &str) -> Result<ListenAddr, ListenError> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            return Err(ListenError::Malformed(text.to_owned()));
        }
        let fits = path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX;
        return if fits { Ok(ListenAddr::Unix(path)) } else { Err(ListenError::PathTooLong(path)) };
    }
    let address = match text.strip_prefix("localhost:").map(u16::from_str) {
        Some(Ok(port)) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        Some(Err(_)) => return Err(ListenError::Malformed(text.to_owned())),
        None => text.parse().map_err(|_| ListenError::Malformed(text.to_owned()))?,
    };
    if is_loopback(address.ip()) {
        Ok(ListenAddr::Tcp(address))
    } else {
        Err(ListenError::NotLoopback(address))
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// A bound address.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket; its file is left behind and replaced at the next start.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds. A socket file that nobody answers on is replaced.
    pub async fn bind(address: &ListenAddr) -> Result<Listener, ListenError> {
        match address {
            ListenAddr::Tcp(address) => match TcpListener::bind(address).await {
                Ok(listener) => Ok(Listener::Tcp(listener)),
                Err(source) => Err(ListenError::Bind { address: address.to_string(), source }),
            },
            ListenAddr::Unix(path) => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(ListenError::InUse(path.clone()));
                }
                let listener = bind_unix(path).map_err(|source| ListenError::Bind {
                    address: format!("unix:{}", path.display()),
                    source,
                })?;
                Ok(Listener::Unix(listener, path.clone()))
            }
        }
    }

    /// What clients connect to: the port that the kernel chose where 0 was asked for.
    pub fn address(&self) -> io::Result<String> {
        match self {
            Listener::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            Listener::Unix(_, path) => Ok(format!("unix:{}", path.display())),
        }
    }
}

/// Bound beside its path and moved there once its mode is set, so that nobody connects before.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&beside)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    std::fs::rename(&beside, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_unix_sockets_are_allowed() {
        for good in
            ["127.0.0.1:7400", "127.8.8.8:0", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:7", "unix:/s"]
        {
            assert!(check_listen(good).is_ok(), "{good}");
        }
        for open in ["0.0.0.0:7400", "[::]:7400", "10.0.0.1:1", "[fe80::1]:1", "[::ffff:10.0.0.1]:1"] {
            let error = check_listen(open).expect_err(open);
            assert!(
                matches!(error, ListenError::NotLoopback(_)) && error.to_string().contains("TLS"),
                "{error}"
            );
        }
        for bad in ["", "7400", "localhost:", "example.org:1", "unix:relative", "127.0.0.1"] {
            assert!(matches!(check_listen(bad), Err(ListenError::Malformed(_))), "{bad}");
        }
        assert!(matches!(
            check_listen(&format!("unix:/{}", "x".repeat(110))),
            Err(ListenError::PathTooLong(_))
        ));
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let address = ListenAddr::Unix(dir.path().join("sock"));
        let first = Listener::bind(&address).await.expect("nothing is there");
        let mode = std::fs::metadata(dir.path().join("sock")).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        assert!(matches!(Listener::bind(&address).await, Err(ListenError::InUse(_))));
        drop(first);
        Listener::bind(&address).await.expect("nobody answers on it");
    }
}
