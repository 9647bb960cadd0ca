//! The URLs of members. Only `http` exists until the cluster has certificates; a path, a user or a query has no meaning here and
//! is refused rather than ignored.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Where a member listens: `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberUrl {
    host: String,
    port: u16,
}

/// Why a text is not a member's URL. The caller says which field it stood in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("`{0}` does not begin with http:// (https is not supported yet)")]
    Scheme(String),
    /// No port, or not one that can be listened on.
    #[error("`{0}` has no port between 1 and 65535, as in http://127.0.0.1:2379")]
    Port(String),
    /// No host, or characters that no host has.
    #[error("`{0}` has no valid host, as in http://127.0.0.1:2379")]
    Host(String),
    /// Something after the port.
    #[error("`{0}` has something after the port")]
    Trailing(String),
    /// A name where only an address can be bound.
    #[error("`{0}` names a host, but to listen an IP address is needed, as in http://127.0.0.1:2379")]
    NotAnAddress(String),
}

impl MemberUrl {
    /// The address to bind; an error where the host is a name.
    pub fn listen_address(&self) -> Result<SocketAddr, UrlError> {
        match self.host.parse::<IpAddr>() {
            Ok(address) => Ok(SocketAddr::new(address, self.port)),
            Err(_) => Err(UrlError::NotAnAddress(self.to_string())),
        }
    }

    /// Whether it can be reached from this machine alone.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for MemberUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "http://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "http://{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for MemberUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<MemberUrl, UrlError> {
        let rest = text.strip_prefix("http://").ok_or_else(|| UrlError::Scheme(text.to_owned()))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(UrlError::Trailing(text.to_owned()));
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| UrlError::Port(text.to_owned()))?;
        let port = port.parse::<u16>().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| UrlError::Port(text.to_owned()))?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) if host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) => host,
            None if is_host_name(host) => host,
            _ => return Err(UrlError::Host(text.to_owned())),
        };
        Ok(MemberUrl { host: host.to_owned(), port })
    }
}

fn is_host_name(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parsed_prints_as_it_was() {
        for text in ["http://127.0.0.1:2379", "http://node-1.example:80", "http://[::1]:65535"] {
            assert_eq!(text.parse::<MemberUrl>().unwrap().to_string(), text);
        }
        assert_eq!("http://h:1/".parse::<MemberUrl>().unwrap().to_string(), "http://h:1");
    }

    #[test]
    fn each_mistake_has_its_own_sentence() {
        let parse = |text: &str| text.parse::<MemberUrl>().unwrap_err();
        assert!(matches!(parse("127.0.0.1:2379"), UrlError::Scheme(_)));
        assert!(matches!(parse("https://127.0.0.1:2379"), UrlError::Scheme(_)));
        assert!(matches!(parse("http://127.0.0.1"), UrlError::Port(_)));
        assert!(matches!(parse("http://127.0.0.1:0"), UrlError::Port(_)));
        assert!(matches!(parse("http://127.0.0.1:65536"), UrlError::Port(_)));
        assert!(matches!(parse("http://:2379"), UrlError::Host(_)));
        assert!(matches!(parse("http://user@host:2379"), UrlError::Host(_)));
        assert!(matches!(parse("http://::1:2379"), UrlError::Host(_)));
        assert!(matches!(parse("http://host:2379/v3"), UrlError::Trailing(_)));
    }

    #[test]
    fn only_an_address_can_be_listened_on() {
        let named: MemberUrl = "http://node-1:2379".parse().unwrap();
        assert!(matches!(named.listen_address(), Err(UrlError::NotAnAddress(_))));
        let address: MemberUrl = "http://[::1]:2379".parse().unwrap();
        assert_eq!(address.listen_address().unwrap(), "[::1]:2379".parse().unwrap());
        assert!(address.is_loopback() && !named.is_loopback());
    }
}
