//! What a member needs to be told.

use super::bootstrap::InitialCluster;
use super::url::MemberUrl;
use std::path::PathBuf;
use std::time::Duration;

/// Where a member without data comes from. One that has data comes from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It founds a new cluster with these; alone where there is no list.
    Found(Option<InitialCluster>),
    /// It joins the cluster that has these client URLs; one that answers is enough.
    Join(Vec<String>),
}

/// How to run a member.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// Its name in the cluster: letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// The server's data directory; etcd's own is `etcd` in it.
    pub data_dir: PathBuf,
    /// The etcd program; else it is looked for ([`super::Binary::find`]).
    pub binary: Option<PathBuf>,
    /// Where clients reach it, and where it listens for them.
    pub client_url: MemberUrl,
    /// Where the other members reach it, and where it listens for them.
    pub peer_url: MemberUrl,
    /// Where it comes from.
    pub origin: Origin,
    /// Keeps members of different new clusters apart.
    pub cluster_token: String,
    /// The database may grow to this; at it the store takes no puts.
    pub quota_bytes: u64,
    /// How much history is kept at least; up to twice of it is.
    pub retention: Duration,
    /// How long etcd has between SIGTERM and SIGKILL.
    pub stop_deadline: Duration,
    /// How long joining may take.
    pub join_deadline: Duration,
}

impl MemberConfig {
    /// etcd's own default is the same; said, so that a later etcd does not change it.
    pub const QUOTA_BYTES: u64 = 2 << 30;
    /// A watch resumes within seconds or lists again, so minutes of history are ample. A task leaves about 4 KB of it: at 500 tasks/s twice
    /// two minutes are 0.5 GB of the quota, ten minutes would be more than all of it.
    pub const RETENTION: Duration = Duration::from_secs(120);

    /// To hand over leadership takes etcd some 100 ms, but 7 s where nobody is left to take it, as when a whole cluster stops. To kill it
    /// then costs nothing: all that was acknowledged is on disk.
    pub const STOP_DEADLINE: Duration = Duration::from_secs(2);

    /// A member that founds a cluster alone, with the usual limits.
    pub fn new(name: &str, data_dir: PathBuf, client_url: MemberUrl, peer_url: MemberUrl) -> MemberConfig {
        MemberConfig {
            name: name.to_owned(),
            data_dir,
            binary: None,
            client_url,
            peer_url,
            origin: Origin::Found(None),
            cluster_token: "shoal".to_owned(),
            quota_bytes: MemberConfig::QUOTA_BYTES,
            retention: MemberConfig::RETENTION,
            stop_deadline: MemberConfig::STOP_DEADLINE,
            join_deadline: Duration::from_secs(60),
        }
    }
}
