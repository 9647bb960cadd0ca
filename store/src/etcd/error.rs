//! What a failed call means: was it carried out, may it have been, or was it refused?

use crate::port::StoreError;
use etcd_client::Error;
use std::error::Error as _;
use tonic::Code;

/// What is known about a call that did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request was never sent: no connection. Another endpoint may be asked, whatever the call was.
    NotSent(String),
    /// It was sent, or may have been, and no answer of the store came: a read may be repeated elsewhere, a write is unknown.
    NoAnswer(String),
    /// The store answered and refused: the same everywhere.
    Refused(StoreError),
}

impl Failure {
    pub(super) fn of(error: Error) -> Failure {
        match error {
            Error::GRpcStatus(status) => of_status(&status),
            Error::TransportError(error) => Failure::NoAnswer(error.to_string()),
            Error::IoError(error) => Failure::NoAnswer(error.to_string()),
            Error::InvalidArgs(_)
            | Error::InvalidUri(_)
            | Error::Utf8Error(_)
            | Error::InvalidMetadataValue(_)
            | Error::EndpointsNotManaged => Failure::Refused(StoreError::Refused(error.to_string())),
            other => Failure::NoAnswer(other.to_string()),
        }
    }
}

fn of_status(status: &tonic::Status) -> Failure {
    let message = status.message().to_owned();
    let refused = Failure::Refused;
    match status.code() {
        Code::Unavailable if never_connected(status) => Failure::NotSent(message),
        Code::ResourceExhausted if message.contains("database space exceeded") => {
            refused(StoreError::NoSpace)
        }
        // The server turns a request away before it proposes it.
        Code::ResourceExhausted if message.contains("too many requests") => Failure::NotSent(message),
        Code::ResourceExhausted => refused(StoreError::TooLarge(message)),
        Code::InvalidArgument
            if message.contains("request is too large") || message.contains("too many operations") =>
        {
            refused(StoreError::TooLarge(message))
        }
        // The revision is filled in by the caller, who knows what it asked for.
        Code::OutOfRange if message.contains("has been compacted") => refused(StoreError::Compacted(0)),
        Code::OutOfRange if is_reply_too_large(&message) => refused(StoreError::TooLarge(message)),
        Code::NotFound if message.contains("lease not found") => refused(StoreError::LeaseNotFound),
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => refused(StoreError::Refused(message)),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Failure::NoAnswer(message),
    }
}

/// The client's own decoding limit speaks with the same code as the store's "out of range".
fn is_reply_too_large(message: &str) -> bool {
    message.contains("message length too large")
}

fn never_connected(status: &tonic::Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
