//! Whether a member serves, by asking it: a linearizable read for a voter, its status for a learner (which serves no linearizable
//! reads). Every call has a deadline; a frozen member is an unhealthy one, never a call that hangs.

use super::state::Cluster;
use etcd_client::{Client, ConnectOptions, GetOptions};
use std::time::Duration;

/// One question's deadline. A healthy member answers in milliseconds; a new election takes 1 to 2 s.
const CALL_DEADLINE: Duration = Duration::from_secs(2);
/// Exists in no cluster: only the answer matters.
const PROBE_KEY: &str = "/health-probe";

/// What a member is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It votes, and serves all calls.
    Voter,
    /// It copies the log and votes on nothing; clients must ask the voters.
    Learner,
}

/// A failed question, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unhealthy(pub String);

/// A client with deadlines on everything, for one or more members. Connects when it is first used.
pub(super) async fn connect(endpoints: &[String], timeout: Duration) -> Result<Client, Unhealthy> {
    let options = ConnectOptions::new()
        .with_connect_timeout(Duration::from_millis(500))
        .with_timeout(timeout)
        .with_keep_alive(Duration::from_secs(1), Duration::from_secs(1))
        .with_keep_alive_while_idle(true);
    Client::connect(endpoints, Some(options)).await.map_err(|error| Unhealthy(error.to_string()))
}

/// `call`'s answer, or why there is none within `deadline`. The client's own timeout does not cover a connection that hangs.
pub(super) async fn within<T>(
    deadline: Duration,
    what: &str,
    call: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Unhealthy> {
    match tokio::time::timeout(deadline, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(etcd_client::Error::GRpcStatus(status))) => {
            Err(Unhealthy(format!("{what}: {}", status.message())))
        }
        Ok(Err(error)) => Err(Unhealthy(format!("{what}: {error}"))),
        Err(_) => Err(Unhealthy(format!("{what}: no answer within {deadline:?}"))),
    }
}

/// The members that vote.
pub(super) struct Voters {
    pub(super) count: usize,
    /// Client URLs of those that have started.
    pub(super) urls: Vec<String>,
}

/// Voters and endpoints as the first of these members that answers has them: for a node that carries none.
pub async fn cluster_by(endpoints: &[String]) -> Result<Cluster, Unhealthy> {
    let mut last = Unhealthy("no endpoint given".to_owned());
    for endpoint in endpoints {
        match Prober::new(endpoint.clone()).voters().await {
            Ok(Voters { count, urls }) => return Ok(Cluster { endpoints: urls, voters: count }),
            Err(error) => last = Unhealthy(format!("{endpoint}: {error}")),
        }
    }
    Err(last)
}

/// Asks one member again and again over one connection.
pub(super) struct Prober {
    endpoint: String,
    client: Option<Client>,
}

impl Prober {
    pub(super) fn new(endpoint: String) -> Prober {
        Prober { endpoint, client: None }
    }

    /// Whether it serves now, and as what.
    pub(super) async fn probe(&mut self) -> Result<Role, Unhealthy> {
        let client = self.client().await?;
        let status = within(CALL_DEADLINE, "status", client.status()).await?;
        if status.leader() == 0 {
            return Err(Unhealthy("the cluster has no leader".to_owned()));
        }
        if status.is_learner() {
            return Ok(Role::Learner);
        }
        let count_only = Some(GetOptions::new().with_count_only());
        within(CALL_DEADLINE, "linearizable read", client.get(PROBE_KEY, count_only)).await?;
        Ok(Role::Voter)
    }

    /// The voters, by asking the member itself; a learner refuses.
    pub(super) async fn voters(&mut self) -> Result<Voters, Unhealthy> {
        let client = self.client().await?;
        let list = within(CALL_DEADLINE, "member list", client.member_list()).await?;
        let voters: Vec<_> = list.members().iter().filter(|member| !member.is_learner()).collect();
        let urls = voters.iter().flat_map(|member| member.client_urls().iter().cloned()).collect();
        Ok(Voters { count: voters.len(), urls })
    }

    async fn client(&mut self) -> Result<&mut Client, Unhealthy> {
        if self.client.is_none() {
            self.client = Some(connect(std::slice::from_ref(&self.endpoint), CALL_DEADLINE).await?);
        }
        Ok(self.client.as_mut().expect("just connected"))
    }
}
