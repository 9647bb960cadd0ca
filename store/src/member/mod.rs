//! The embedded etcd member: the real etcd, started, watched and stopped by the server as its child. For its user it is part of the server: one
//! command, one data directory, one life.
//!
//! What holds here:
//! - The data are never wiped, whatever happens; a directory that belongs to another member or cluster is refused ([`data_dir`]).
//! - An etcd never outlives its server, and one server at a time has a data directory (`supervise`, [`orphan`]).
//! - Ready means that the member has answered (`health`), not that some time has passed.
//! - A node joins as a learner, and voters are added in pairs ([`voters`]).

mod backoff;
pub mod binary;
pub mod bootstrap;
mod config;
pub mod data_dir;
pub mod error;
mod flags;
mod health;
pub mod join;
mod log_file;
pub mod maintenance;
pub mod orphan;
mod start;
mod state;
mod supervise;
pub mod url;
pub mod voters;
mod wal;

pub use binary::{Binary, Version};
pub use bootstrap::InitialCluster;
pub use config::{MemberConfig, Origin};
pub use error::{MemberError, WaitError};
pub use health::{Role, Unhealthy, cluster_by};
pub use start::Started;
pub use state::{Cluster, MemberState};
pub use url::MemberUrl;
pub use voters::{voters_wanted, warning};

use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

/// A running member. Dropping it stops etcd in the background; [`Member::stop`] stops it and waits.
#[derive(Debug)]
pub struct Member {
    name: String,
    binary: Binary,
    client_url: MemberUrl,
    state: watch::Receiver<MemberState>,
    cluster: watch::Receiver<Cluster>,
    pid: watch::Receiver<Option<u32>>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Member {
    /// Starts a member, or finds that the cluster has enough of them. Returns when etcd has been started, and, where it joined, when it is
    /// what it is to be; use [`Member::wait_healthy`] for the rest.
    pub async fn start(config: MemberConfig) -> Result<Started, MemberError> {
        start::start(config).await
    }

    /// Client URLs to use now: its own first, then the other voters'. For a learner only the others'.
    pub fn endpoints(&self) -> Vec<String> {
        self.cluster.borrow().endpoints.clone()
    }

    /// Voters and endpoints as the member list has them, asked for every few seconds; changes wake the receiver.
    pub fn cluster(&self) -> watch::Receiver<Cluster> {
        self.cluster.clone()
    }

    /// How many members vote, as last seen. Give it to [`warning`].
    pub fn voter_count(&self) -> usize {
        self.cluster.borrow().voters
    }

    /// What the member is doing; changes wake the receiver.
    pub fn state(&self) -> watch::Receiver<MemberState> {
        self.state.clone()
    }

    /// The version of its etcd.
    pub fn version(&self) -> Version {
        self.binary.version
    }

    /// Where it serves clients.
    pub fn client_url(&self) -> &MemberUrl {
        &self.client_url
    }

    /// The pid of etcd, while there is one.
    pub fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Waits until it serves. Fails early when it has ended so often that waiting is of no use.
    pub async fn wait_healthy(&self, deadline: Duration) -> Result<Role, WaitError> {
        let until = Instant::now() + deadline;
        let mut state = self.state.clone();
        loop {
            let now = state.borrow_and_update().clone();
            match now {
                MemberState::Healthy { role } => return Ok(role),
                MemberState::Failed { .. } | MemberState::Stopped => {
                    return Err(WaitError::Ended { name: self.name.clone(), state: now });
                }
                _ => {}
            }
            match timeout_at(until, state.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    return Err(WaitError::Ended { name: self.name.clone(), state: MemberState::Stopped });
                }
                Err(_) => return Err(WaitError::Deadline { name: self.name.clone(), deadline, state: now }),
            }
        }
    }

    /// Stops etcd: SIGTERM, and SIGKILL at the configured deadline. Returns when it is gone and the data directory is free.
    pub async fn stop(self) {
        // The receiver is gone only when the thread has ended already.
        let _ = self.stop.send(());
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!(member = %self.name, "the thread of the etcd member panicked");
        }
    }
}
