//! The node's store: its own etcd member, one of a cluster that it joined, or members elsewhere.

use crate::config::{Config, StoreConfig};
use crate::membership::Voters;
use anyhow::Context;
use shoal_store::etcd::EtcdStore;
use shoal_store::member::{
    Cluster, InitialCluster, Member, MemberConfig, MemberState, Origin, Started, cluster_by, maintenance,
    warning,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between looks at the voters' health, for people.
const LOOK: Duration = Duration::from_secs(10);
/// The same while one does not answer: who repairs it, or starts the others, should not read for long what is no longer true.
const LOOK_UNWELL: Duration = Duration::from_secs(1);
/// A member that has just started usually serves within; looked at before, it would be told of as one that does not answer.
const USUAL_START: Duration = Duration::from_secs(3);

/// The store, and what is inside this node of it.
pub struct OpenStore {
    /// The port's implementation.
    pub store: Arc<EtcdStore>,
    /// The member inside.
    pub member: Option<Member>,
    /// Whether a lease that etcd reports gone has lasted its whole time to live: fixed in later versions.
    pub leases_trusted: bool,
    /// The members as the own member sees them; where there is none inside, those that were given.
    cluster: watch::Receiver<Cluster>,
    known_path: PathBuf,
}

/// Starts what is inside and connects. Does not wait for a majority: a restarted node renews its lease through the others first.
pub async fn open(config: &Config) -> anyhow::Result<OpenStore> {
    let known_path = config.data_dir.join("endpoints.json");
    let (member, endpoints) = match &config.store {
        StoreConfig::Remote(endpoints) => (None, endpoints.clone()),
        StoreConfig::Bootstrap { initial_cluster } => {
            let cluster = initial_cluster.as_deref().map(str::parse::<InitialCluster>).transpose();
            start(config, Origin::Found(cluster.context("--initial-cluster")?)).await?
        }
        StoreConfig::Join(urls) => start(config, Origin::Join(urls.clone())).await?,
    };
    let store = Arc::new(EtcdStore::connect(&endpoints).await?);
    store.learn(&known(&known_path)).await?;
    let leases_trusted = match &member {
        Some(member) => member.version().lease_fixes(),
        None => remote_leases_trusted(&endpoints).await,
    };
    let fixed = Cluster { voters: endpoints.len(), endpoints };
    let cluster = member.as_ref().map_or_else(|| watch::channel(fixed).1, Member::cluster);
    Ok(OpenStore { store, member, leases_trusted, cluster, known_path })
}

async fn start(config: &Config, origin: Origin) -> anyhow::Result<(Option<Member>, Vec<String>)> {
    let client_url = config.etcd_client_url.parse().context("--etcd-client-url")?;
    let peer_url = config.etcd_peer_url.parse().context("--etcd-peer-url")?;
    let mut member = MemberConfig::new(&config.name, config.data_dir.clone(), client_url, peer_url);
    member.binary.clone_from(&config.etcd_binary);
    member.origin = origin;
    member.quota_bytes = config.etcd_quota_bytes;
    match Member::start(member).await.context("starting the etcd member")? {
        Started::Member(member) => {
            let endpoints = member.endpoints();
            Ok((Some(member), endpoints))
        }
        Started::ClientOnly { endpoints, reason } => {
            tracing::info!(reason, "no member inside");
            Ok((None, endpoints))
        }
    }
}

/// Every member's own version counts; a node without a member asks those that it uses. Not to know is not to trust.
async fn remote_leases_trusted(endpoints: &[String]) -> bool {
    for endpoint in endpoints {
        let Ok(status) = maintenance::status(endpoint).await else { return false };
        let Ok(version) = status.version.parse::<shoal_store::member::Version>() else { return false };
        if !version.lease_fixes() {
            return false;
        }
    }
    true
}

/// Members seen in an earlier life: a restarted node must reach one of them before its own member serves again.
fn known(path: &Path) -> Vec<String> {
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

impl OpenStore {
    /// Follows the member list: teaches the store new endpoints, remembers them on disk, and tells people what the voters tolerate.
    pub fn follow(
        &self,
        voters: watch::Sender<Voters>,
        stop: CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        let mut cluster = self.cluster.clone();
        let (store, path) = (self.store.clone(), self.known_path.clone());
        let member = self.member.as_ref().map(Member::state);
        async move {
            let mut said = None;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = usual_start(member.clone()) => {}
            }
            let mut now = cluster.borrow().clone();
            loop {
                now = match &member {
                    Some(_) => cluster.borrow_and_update().clone(),
                    // What was given may be one member of several, or they have changed since.
                    None => cluster_by(&now.endpoints).await.unwrap_or(now),
                };
                store.learn(&now.endpoints).await?;
                // A member that has just started knows itself alone; what an earlier life knew is better.
                if now.endpoints.len() > 1 {
                    tokio::fs::write(&path, serde_json::to_vec(&now.endpoints)?).await?;
                }
                let seen = look(&now).await;
                if seen.warning != said {
                    seen.warning.iter().for_each(|warning| tracing::warn!("{warning}"));
                    said.clone_from(&seen.warning);
                }
                let next_look = if seen.healthy < seen.all { LOOK_UNWELL } else { LOOK };
                voters.send_replace(seen);
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    // The sender of a fixed list is gone: only the clock counts then.
                    Ok(()) = cluster.changed() => {}
                    () = tokio::time::sleep(next_look) => {}
                }
            }
        }
    }
}

/// Until the member serves, or should have.
async fn usual_start(member: Option<watch::Receiver<MemberState>>) {
    if let Some(mut state) = member {
        let healthy = state.wait_for(|state| matches!(state, MemberState::Healthy { .. }));
        // Late or ended: the look that follows says what is wrong.
        let _ = tokio::time::timeout(USUAL_START, healthy).await;
    }
}

async fn look(cluster: &Cluster) -> Voters {
    let asked = cluster.endpoints.iter().map(|endpoint| maintenance::status(endpoint));
    let answers = futures::future::join_all(asked).await;
    let healthy =
        answers.iter().flatten().filter(|status| status.leader_id.is_some() && !status.is_learner).count();
    let unhealthy = cluster.voters.saturating_sub(healthy);
    let missing = || format!("{unhealthy} of {} voters do not answer", cluster.voters);
    let warning = (unhealthy > 0).then(missing).or_else(|| warning(cluster.voters));
    Voters { all: cluster.voters as u32, healthy: healthy as u32, warning }
}
