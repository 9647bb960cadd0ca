//! The steps from a configuration to a running member, in the order in which they can fail without having changed anything.

use super::Member;
use super::binary::Binary;
use super::bootstrap::{InitialCluster, is_member_name};
use super::config::{MemberConfig, Origin};
use super::data_dir::DataDir;
use super::error::MemberError;
use super::flags::Flags;
use super::health::Role;
use super::join::{JoinRequest, Joined, join, settle};
use super::orphan::{check_ports, end_orphan};
use super::state::{Cluster, MemberState};
use super::supervise::{Job, Reports, supervise};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How long a member that comes back with its data is waited for, to see whether it is a learner that should vote. A whole cluster that
/// restarts has no leader yet; the caller's own wait goes on then.
const RETURN_PATIENCE: Duration = Duration::from_secs(10);

/// What a start came to.
#[derive(Debug)]
pub enum Started {
    /// A member runs.
    Member(Member),
    /// The cluster has enough members; use these.
    ClientOnly {
        /// Client URLs of the voters.
        endpoints: Vec<String>,
        /// Why, for people.
        reason: String,
    },
}

/// What the member is started with.
struct Founding {
    cluster: InitialCluster,
    existing: bool,
    /// Client URLs of voters other than itself, as far as known.
    others: Vec<String>,
}

pub(super) async fn start(config: MemberConfig) -> Result<Started, MemberError> {
    if !is_member_name(&config.name) {
        return Err(MemberError::Name(config.name));
    }
    if config.data_dir.to_str().is_none() {
        return Err(MemberError::DataDirName(config.data_dir));
    }
    if let Origin::Found(Some(cluster)) = &config.origin {
        cluster.check_own(&config.name, &config.peer_url)?;
    }
    let setpriv = find_setpriv().ok_or(MemberError::NoSetpriv)?;
    let binary = Binary::find(config.binary.as_deref()).await?;
    if let Some(warning) = binary.version.warning() {
        tracing::warn!("{warning}");
    }
    let data = DataDir::claim(&config.data_dir, &config.name, &config.cluster_token, binary.version)?;
    let data = clear_the_way(&config, data).await?;
    let returning = data.has_member();
    let founding = match found_or_join(&config, returning).await? {
        Ok(founding) => founding,
        Err(client_only) => return Ok(client_only),
    };
    let member = launch(&config, binary, setpriv, data, founding)?;
    if let Origin::Join(seeds) = &config.origin {
        take_role(&config, seeds, returning, &member).await?;
    }
    Ok(Started::Member(member))
}

/// Ends an orphan of ours and checks the ports; waiting for a process's end blocks, so not on the caller's thread.
async fn clear_the_way(config: &MemberConfig, data: DataDir) -> Result<DataDir, MemberError> {
    let (client_url, peer_url) = (config.client_url.clone(), config.peer_url.clone());
    let cleared = tokio::task::spawn_blocking(move || {
        end_orphan(&data)?;
        check_ports(&client_url, &peer_url)?;
        data.set_unborn_aside()?;
        Ok(data)
    });
    cleared.await.expect("it does not panic and is not aborted")
}

async fn found_or_join(
    config: &MemberConfig,
    returning: bool,
) -> Result<Result<Founding, Started>, MemberError> {
    let alone = || InitialCluster::single(&config.name, config.peer_url.clone());
    match &config.origin {
        // Its data know the cluster; etcd only checks that the list has the member itself.
        Origin::Join(seeds) if returning => {
            Ok(Ok(Founding { cluster: alone(), existing: true, others: seeds.clone() }))
        }
        Origin::Found(cluster) => {
            let cluster = cluster.clone().unwrap_or_else(alone);
            Ok(Ok(Founding { cluster, existing: false, others: Vec::new() }))
        }
        Origin::Join(seeds) => Ok(match join(&join_request(config, seeds, config.join_deadline)).await? {
            Joined::Member { cluster, voters } => Ok(Founding { cluster, existing: true, others: voters }),
            Joined::ClientOnly { endpoints, reason } => Err(Started::ClientOnly { endpoints, reason }),
        }),
    }
}

fn join_request(config: &MemberConfig, seeds: &[String], deadline: Duration) -> JoinRequest {
    JoinRequest {
        name: config.name.clone(),
        peer_url: config.peer_url.clone(),
        seeds: seeds.to_vec(),
        deadline,
    }
}

fn launch(
    config: &MemberConfig,
    binary: Binary,
    setpriv: PathBuf,
    data: DataDir,
    founding: Founding,
) -> Result<Member, MemberError> {
    let client_url = config.client_url.to_string();
    let endpoints = if founding.others.is_empty() { vec![client_url.clone()] } else { founding.others };
    let voters = if founding.existing { endpoints.len() } else { founding.cluster.members().len() };
    let flags = Flags {
        name: config.name.clone(),
        data_dir: data.etcd(),
        client_url: config.client_url.clone(),
        peer_url: config.peer_url.clone(),
        initial_cluster: founding.cluster,
        existing: founding.existing,
        token: config.cluster_token.clone(),
        quota_bytes: config.quota_bytes,
        retention: config.retention,
    };
    let job = Job {
        setpriv,
        program: binary.path.clone(),
        arguments: flags.arguments(binary.version),
        data,
        client_url,
        stop_deadline: config.stop_deadline,
    };
    let (state_sender, state) = watch::channel(MemberState::Starting);
    let (cluster_sender, cluster) = watch::channel(Cluster { endpoints, voters });
    let (pid_sender, pid) = watch::channel(None);
    let (stop, stopped) = oneshot::channel();
    let reports = Reports { state: state_sender, cluster: cluster_sender, pid: pid_sender };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(MemberError::Thread)?;
    let thread = std::thread::Builder::new()
        .name("etcd-member".to_owned())
        .spawn(move || runtime.block_on(supervise(job, reports, stopped)))
        .map_err(MemberError::Thread)?;
    let client_url = config.client_url.clone();
    Ok(Member { name: config.name.clone(), binary, client_url, state, cluster, pid, stop, thread })
}

/// Sees a joined member through to what it is to be. For one that comes back, not to get there is no error: it may be what the
/// others wait for.
async fn take_role(
    config: &MemberConfig,
    seeds: &[String],
    returning: bool,
    member: &Member,
) -> Result<(), MemberError> {
    let patience = if returning { RETURN_PATIENCE } else { config.join_deadline };
    match member.wait_healthy(patience).await {
        Ok(Role::Voter) => return Ok(()),
        Ok(Role::Learner) => {}
        Err(error) => {
            tracing::warn!(%error, "the member does not serve yet");
            return Ok(());
        }
    }
    match settle(&join_request(config, seeds, patience)).await {
        Ok(role) => tracing::info!(?role, "the member has its role"),
        Err(error) if returning => tracing::warn!(%error, "the member stays a learner for now"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn find_setpriv() -> Option<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let usual = [PathBuf::from("/usr/bin"), PathBuf::from("/bin")];
    let dirs = std::env::split_paths(&search).filter(|dir| dir.is_absolute()).chain(usual);
    dirs.map(|dir| dir.join("setpriv")).find(|path| path.is_file())
}
