//! Where a node answers: `host:port`, or `unix:/path`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port of a node that was given none.
pub const DEFAULT_PORT: u16 = 7400;

/// The address of one node's API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP.
    Tcp {
        /// A name or an address; IPv6 without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address: {text:?} ({why}); wanted host:port or unix:/path")]
pub struct BadAddress {
    text: String,
    why: &'static str,
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Address, BadAddress> {
        let bad = |why| BadAddress { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(bad("the path is not absolute"));
            }
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (
                host,
                port.parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(|| bad("the port is no number from 1 to 65535"))?,
            ),
            Some(_) | None => (text, DEFAULT_PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(legal) {
            return Err(bad("the host is empty or has characters that no host has"));
        }
        Ok(Address::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        for text in ["127.0.0.1:7400", "node-1:80", "[::1]:7400", "unix:/run/shoal.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_missing_port_is_the_default_one() {
        assert_eq!("node-1".parse::<Address>().unwrap().to_string(), "node-1:7400");
        assert_eq!("::1".parse::<Address>().unwrap().to_string(), "[::1]:7400");
        assert_eq!("http://node-1:81/".parse::<Address>().unwrap().to_string(), "node-1:81");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for text in ["", ":7400", "host:0", "host:port", "host:99999", "unix:relative", "a b:1"] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
