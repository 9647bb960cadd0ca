//! Free ports of the loopback address.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// `count` different ports that nothing listens on. All are held until the last is found; after that somebody else may take one, which
/// shows as a node that cannot listen.
pub fn free(count: usize) -> io::Result<Vec<u16>> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<_>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
