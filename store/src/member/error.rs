//! Why a member could not be started, or did not become healthy.

use super::MemberState;
use super::binary::BinaryError;
use super::bootstrap::BootstrapError;
use super::data_dir::DataDirError;
use super::join::JoinError;
use super::orphan::OrphanError;
use std::time::Duration;

/// Why a member could not be started.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// No usable etcd.
    #[error(transparent)]
    Binary(#[from] BinaryError),
    /// No usable data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Something is in the way.
    #[error(transparent)]
    Orphan(#[from] OrphanError),
    /// The initial cluster is wrong.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The cluster could not be joined.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The name cannot be a member's.
    #[error("`{0}` cannot be a member's name: letters, digits, `.`, `_` and `-`, at most 63")]
    Name(String),
    /// A data directory that cannot stand in etcd's arguments.
    #[error("data directory {0:?} is not UTF-8")]
    DataDirName(std::path::PathBuf),
    /// The helper that ties etcd's life to ours is missing.
    #[error(
        "`setpriv` not found in PATH or /usr/bin: it makes etcd end with its server; apt-get install util-linux"
    )]
    NoSetpriv,
    /// The member's thread could not be made.
    #[error("cannot start the thread of the etcd member")]
    Thread(#[source] std::io::Error),
}

/// Why waiting for health ended without it.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// It took too long.
    #[error("etcd member `{name}` not healthy within {deadline:?}: {state}")]
    Deadline {
        /// The member.
        name: String,
        /// The limit.
        deadline: Duration,
        /// What it was then.
        state: MemberState,
    },
    /// It ends again and again, or has been stopped.
    #[error("etcd member `{name}`: {state}")]
    Ended {
        /// The member.
        name: String,
        /// What it is.
        state: MemberState,
    },
}
