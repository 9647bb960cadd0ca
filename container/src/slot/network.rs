//! Network namespaces that are lent again. To make one costs the kernel more than all other parts of a container together, and as much again to
//! take it down. Most tasks never send a packet; what their network was to them is then as new.
//!
//! These namespaces belong to the runner's user namespace, so no task can have power over them: all that it can leave is a socket, which
//! dies with its processes, a packet's trace (a connection that lingers), or a socket that somebody else holds. A namespace whose only
//! interface, the loopback, has carried no packet has neither of the first two; the third is excluded for attempts that could reach a
//! socket of the host, by the caller.

use crate::sys;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The loopback interface is the first of each namespace.
const LOOPBACK_INDEX: u32 = 1;
/// `struct nlmsghdr` and `struct ifinfomsg`.
const HEADER_BYTES: usize = 16;
const LINK_BYTES: usize = 16;
/// From linux/if_link.h: `struct rtnl_link_stats64`, which begins with the packets received and sent.
const IFLA_STATS64: u16 = 23;
/// An answer about one interface takes less than half of this.
const ANSWER_BYTES: usize = 4096;

/// One network namespace with a loopback interface that is up.
#[derive(Debug)]
pub struct Network {
    /// To enter it.
    pub namespace: OwnedFd,
    /// A netlink socket inside, to ask what became of it.
    probe: OwnedFd,
}

impl Network {
    /// Makes one. `host` is the caller's own, to which it returns; the caller must have one thread.
    pub fn new(host: BorrowedFd<'_>) -> io::Result<Network> {
        sys::unshare(libc::CLONE_NEWNET)?;
        let made = Network::furnish();
        move_into_link_name_space(host, Some(LinkNameSpaceType::Network))
            .expect("the way back to a namespace that is held open needs nothing");
        made
    }

    fn furnish() -> io::Result<Network> {
        sys::loopback_up()?;
        let namespace = own()?;
        let flags = SocketFlags::CLOEXEC;
        // Protocol 0 is NETLINK_ROUTE.
        let probe = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        Ok(Network { namespace, probe })
    }

    /// Whether no packet has ever passed its loopback interface. When in doubt, no.
    pub fn is_untouched(&self) -> bool {
        matches!(self.packets(), Ok(Some((0, 0))))
    }

    /// Packets received and sent.
    fn packets(&self) -> io::Result<Option<(u64, u64)>> {
        rustix::net::send(&self.probe, &question(), SendFlags::empty())?;
        let mut bytes = [0; ANSWER_BYTES];
        let (read, _) = rustix::net::recv(&self.probe, &mut bytes[..], RecvFlags::DONTWAIT)?;
        Ok(bytes.get(..read).and_then(packets_in))
    }
}

/// The network namespace of this thread.
pub fn own() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, "/proc/thread-self/ns/net", flags, Mode::empty())?)
}

/// RTM_GETLINK for the loopback interface.
fn question() -> [u8; HEADER_BYTES + LINK_BYTES] {
    let mut message = [0; HEADER_BYTES + LINK_BYTES];
    message[0..4].copy_from_slice(&((HEADER_BYTES + LINK_BYTES) as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    message
}

/// Finds the counters in an RTM_NEWLINK.
fn packets_in(message: &[u8]) -> Option<(u64, u64)> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    if kind != libc::RTM_NEWLINK {
        return None;
    }
    let mut rest = message.get(HEADER_BYTES + LINK_BYTES..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        if kind == IFLA_STATS64 {
            let number = |at: usize| Some(u64::from_ne_bytes(value.get(at..at + 8)?.try_into().ok()?));
            return Some((number(0)?, number(8)?));
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn a_network_is_untouched_until_a_packet_passes() {
        assert!(rustix::process::geteuid().is_root(), "makes a network namespace and needs root");
        // A thread has its own namespaces, and this one ends with the test.
        std::thread::spawn(|| {
            let host = own().unwrap();
            let network = Network::new(host.as_fd()).unwrap();
            assert!(network.is_untouched());
            move_into_link_name_space(network.namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            assert!(network.is_untouched(), "a socket alone is no packet");
            socket.send_to(b"x", "127.0.0.1:9").unwrap();
            assert!(!network.is_untouched());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn an_answer_cut_short_is_no_answer() {
        assert_eq!(packets_in(&[]), None);
        assert_eq!(packets_in(&[0; 40]), None);
    }
}
