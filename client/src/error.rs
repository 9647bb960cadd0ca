//! What can go wrong between a client and the cluster.

use crate::address::Address;
use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No node could be reached.
    #[error("no node answers: {}", tried_text(.tried))]
    Unreachable {
        /// Each address with what was seen there.
        tried: Vec<(Address, String)>,
    },
    /// A node refused, or failed to do, what was asked.
    #[error("{}", .0.message())]
    Status(Box<Status>),
    /// The cluster did not answer in time.
    #[error("no answer within {}", humantime::format_duration(*.after))]
    TimedOut {
        /// The limit.
        after: Duration,
        /// What the last attempt saw.
        last: Option<Box<Error>>,
    },
    /// An answer that the protocol does not allow.
    #[error("unexpected answer: {0}")]
    Protocol(&'static str),
}

impl Error {
    /// The gRPC code, when a node answered.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Status(status) => Some(status.code()),
            Error::Unreachable { .. } | Error::TimedOut { .. } | Error::Protocol(_) => None,
        }
    }

    /// The stable word of the error (`ErrorInfo.reason`), when a node gave one.
    pub fn reason(&self) -> Option<String> {
        match self {
            Error::Status(status) => status.get_details_error_info().map(|info| info.reason),
            Error::Unreachable { .. } | Error::TimedOut { .. } | Error::Protocol(_) => None,
        }
    }

    /// Whether another try, perhaps at another node, may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Status(status) => is_transient(status),
            Error::Unreachable { .. } => true,
            Error::TimedOut { .. } | Error::Protocol(_) => false,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        Error::Status(Box::new(status))
    }
}

/// Whether the connection, not the node's answer, failed: only such a status has a source.
pub fn is_connection_loss(status: &Status) -> bool {
    status.source().is_some()
}

/// Whether another try may succeed.
pub fn is_transient(status: &Status) -> bool {
    is_connection_loss(status) || status.code() == Code::Unavailable
}

fn tried_text(tried: &[(Address, String)]) -> String {
    let mut text = String::new();
    for (index, (address, why)) in tried.iter().enumerate() {
        let comma = if index == 0 { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{address}: {why}");
    }
    text
}

/// The innermost cause, in its own words: the outer ones only say "transport error".
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
