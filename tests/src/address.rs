//! Loopback addresses for one cluster: its own 127.x.y.0 network, so that every node has the usual ports and no two clusters meet.

use anyhow::{Result, bail};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a node's API answers.
pub const API_PORT: u16 = 7400;
/// Where its etcd member answers clients.
pub const ETCD_CLIENT_PORT: u16 = 2379;
/// Where its etcd member answers other members.
pub const ETCD_PEER_PORT: u16 = 2380;

/// Counts the networks that this process has taken.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// The network of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(u8, u8);

impl Network {
    /// The one of `docs/three-machines.md`, for machines that have all of loopback to themselves.
    pub const USUAL: Network = Network(0, 1);

    /// One whose first `nodes` addresses are free on all three ports. Starts from the process id, so that processes that run at
    /// the same time look in different places.
    pub fn take(nodes: usize) -> Result<Network> {
        for _ in 0..256 {
            let turn = TAKEN.fetch_add(1, Ordering::Relaxed);
            let place = std::process::id().wrapping_mul(31).wrapping_add(turn);
            // 127.64.0.0 and up: away from what other software uses by habit.
            let network = Network(64 + (place >> 8) as u8 % 128, place as u8);
            if (0..nodes).all(|index| is_free(network.host(index))) {
                return Ok(network);
            }
        }
        bail!("no free loopback network for {nodes} nodes")
    }

    /// The address of the node of this index.
    pub fn host(self, index: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, self.0, self.1, index as u8 + 1)
    }
}

fn is_free(host: Ipv4Addr) -> bool {
    [API_PORT, ETCD_CLIENT_PORT, ETCD_PEER_PORT].iter().all(|port| TcpListener::bind((host, *port)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_do_not_meet() {
        let first = Network::take(3).expect("a free network");
        let second = Network::take(3).expect("a free network");
        assert_ne!(first, second);
        assert!(first.host(0).is_loopback());
        assert_ne!(first.host(0), first.host(1));
    }

    #[test]
    fn a_taken_address_is_not_handed_out() {
        let network = Network::take(1).expect("a free network");
        let _held = TcpListener::bind((network.host(0), ETCD_PEER_PORT)).expect("it is free");
        assert!(!is_free(network.host(0)));
    }
}
