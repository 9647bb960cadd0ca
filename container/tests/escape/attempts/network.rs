//! The network: raw access, other families of sockets, and what listens on the host.

use super::told;
use crate::escape::attempt::{Attempt, Control, Outcome};
use crate::escape::raw::call;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("network::raw_sockets", raw, Control::Root),
    Attempt::new("network::families_beyond_the_usual", families, Control::Root),
    Attempt::new("network::talk_to_the_hypervisor", vsock, Control::Root),
    Attempt::new("network::make_an_interface", make_interface, Control::Root),
    Attempt::new("network::configure_an_interface", configure, Control::Root),
    Attempt::new("network::abstract_socket_of_the_host", abstract_socket, Control::HostNet),
    Attempt::new("network::loopback_of_the_host", loopback, Control::HostNet),
    Attempt::new(
        "network::interfaces_of_the_host",
        interfaces,
        Control::None("a host may have no other interface"),
    ),
    Attempt::new(
        "network::socket_of_the_runner",
        runner_socket,
        Control::None("the runner serves one connection at a time, and it is in use"),
    ),
    Attempt::new("network::privileged_socket_options", options, Control::Root),
];

fn socket(family: i32, kind: i32, protocol: i32) -> std::io::Result<usize> {
    call!(libc::SYS_socket, family, kind, protocol)
}

fn raw() -> Outcome {
    Outcome::all([
        Outcome::of("raw IPv4", socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
        Outcome::of("raw IPv6", socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6)),
        Outcome::of("packets", socket(libc::AF_PACKET, libc::SOCK_RAW, 0x0300)),
    ])
}

/// Every family but local, IPv4, IPv6 and routing: what has been a way into the kernel again and again, and no task needs.
fn families() -> Outcome {
    const KNOWN: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    const LAST: i32 = 46;
    let kinds = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET, libc::SOCK_RAW];
    let open: Vec<i32> = (1..=LAST)
        .filter(|family| !KNOWN.contains(family))
        .filter(|family| kinds.iter().any(|kind| socket(*family, *kind, 0).is_ok()))
        .collect();
    Outcome::expect(open.is_empty(), format!("families that opened: {open:?}"))
}

fn vsock() -> Outcome {
    Outcome::all([
        Outcome::of("AF_VSOCK stream", socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
        Outcome::of("AF_VSOCK datagram", socket(libc::AF_VSOCK, libc::SOCK_DGRAM, 0)),
    ])
}

/// Kinds of interfaces that some kernels have and some do not.
fn make_interface() -> Outcome {
    let outcomes = [b"dummy\0\0\0", b"veth\0\0\0\0", b"bridge\0\0", b"ifb\0\0\0\0\0"].map(|kind| {
        let name = String::from_utf8_lossy(kind).trim_end_matches('\0').to_owned();
        match request_interface(kind) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                Outcome::Skipped(format!("this kernel has no {name}"))
            }
            other => Outcome::of(&format!("make a {name} interface"), other),
        }
    });
    Outcome::all(outcomes)
}

/// Asks for an interface of this kind; the acknowledgement carries the error.
fn request_interface(kind: &[u8; 8]) -> std::io::Result<()> {
    const NLM_F_REQUEST_ACK_CREATE_EXCL: u16 = 0x0605;
    const RTM_NEWLINK: u16 = 16;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_INFO_KIND: u16 = 1;
    /// Bytes of an attribute's head, of the message's head, and of struct ifinfomsg.
    const ATTRIBUTE: u16 = 4;
    const HEAD: u16 = 16;
    const INTERFACE: u16 = 16;
    let netlink = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    let inner = ATTRIBUTE + kind.len() as u16;
    let outer = ATTRIBUTE + inner;
    let mut message = Vec::new();
    message.extend(u32::from(HEAD + INTERFACE + outer).to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK_CREATE_EXCL.to_ne_bytes());
    message.extend([0; 8]); // sequence and port
    message.extend([0; INTERFACE as usize]);
    for word in [outer, IFLA_LINKINFO, inner, IFLA_INFO_KIND] {
        message.extend(word.to_ne_bytes());
    }
    message.extend(kind);
    call!(libc::SYS_sendto, netlink, message.as_ptr(), message.len(), 0, 0, 0)?;
    let mut answer = [0u8; 512];
    call!(libc::SYS_recvfrom, netlink, answer.as_mut_ptr(), answer.len(), 0, 0, 0)?;
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(-code)),
    }
}

/// A name and flags, as SIOCSIFFLAGS takes them.
fn configure() -> Outcome {
    let socket = match socket(libc::AF_INET, libc::SOCK_DGRAM, 0) {
        Ok(socket) => socket,
        Err(error) => return Outcome::of::<()>("a socket", Err(error)),
    };
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..18].copy_from_slice(&(libc::IFF_UP as u16 | libc::IFF_PROMISC as u16).to_ne_bytes());
    Outcome::of("set flags of lo", call!(libc::SYS_ioctl, socket, libc::SIOCSIFFLAGS, request.as_ptr()))
}

fn abstract_socket() -> Outcome {
    let name = told::get(told::SOCKET);
    let connected = std::os::unix::net::SocketAddr::from_abstract_name(&name)
        .and_then(|at| UnixStream::connect_addr(&at));
    Outcome::of(&format!("connect to @{name}"), connected)
}

fn loopback() -> Outcome {
    let port = told::get(told::PORT).parse().unwrap_or(0);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Outcome::of(
        &format!("connect to {address}"),
        TcpStream::connect_timeout(&address, Duration::from_secs(3)),
    )
}

fn interfaces() -> Outcome {
    let table = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names: Vec<&str> = table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    Outcome::expect(names.iter().all(|name| *name == "lo"), format!("interfaces: {names:?}"))
}

/// By its path on the host, whether the root shows the directory or not.
fn runner_socket() -> Outcome {
    let attempts = told::get(told::ATTEMPTS);
    let state = std::path::Path::new(&attempts).with_file_name("state");
    Outcome::all([
        Outcome::of("connect to the runner", UnixStream::connect(state.join("runner.sock"))),
        Outcome::of("read the runner's pid", std::fs::read(state.join("runner.pid"))),
        Outcome::of("list the attempts", std::fs::read_dir(&attempts)),
    ])
}

fn options() -> Outcome {
    let socket = match socket(libc::AF_INET, libc::SOCK_DGRAM, 0) {
        Ok(socket) => socket,
        Err(error) => return Outcome::of::<()>("a socket", Err(error)),
    };
    let value = 1i32;
    let set = [
        ("SO_MARK", libc::SO_MARK),
        ("SO_RCVBUFFORCE", libc::SO_RCVBUFFORCE),
        ("SO_SNDBUFFORCE", libc::SO_SNDBUFFORCE),
    ];
    Outcome::all(set.map(|(name, option)| {
        Outcome::of(name, call!(libc::SYS_setsockopt, socket, libc::SOL_SOCKET, option, &raw const value, 4))
    }))
}
