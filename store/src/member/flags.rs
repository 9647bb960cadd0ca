//! The command line of etcd: a pure function of what is wanted and of the version. Each flag that is not etcd's default has its
//! reason beside it. `docs` of etcd: "Configuration options" of each series.

use super::binary::Version;
use super::bootstrap::InitialCluster;
use super::url::MemberUrl;
use std::path::PathBuf;
use std::time::Duration;

/// What one start of etcd needs to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// The member's name.
    pub name: String,
    /// Where etcd keeps its data.
    pub data_dir: PathBuf,
    /// Where clients reach it.
    pub client_url: MemberUrl,
    /// Where the other members reach it.
    pub peer_url: MemberUrl,
    /// The members to begin with; of no effect where there are data already.
    pub initial_cluster: InitialCluster,
    /// Whether that cluster exists already.
    pub existing: bool,
    /// Keeps members of two new clusters from talking to each other.
    pub token: String,
    /// The database may grow to this; then the store takes no puts.
    pub quota_bytes: u64,
    /// How much history is kept at least, for watches that resume; up to twice of it is kept.
    pub retention: Duration,
}

impl Flags {
    /// The arguments for this version.
    pub fn arguments(&self, version: Version) -> Vec<String> {
        let state = if self.existing { "existing" } else { "new" };
        let mut arguments = vec![
            format!("--name={}", self.name),
            data_dir_argument(&self.data_dir),
            format!("--listen-client-urls={}", self.client_url),
            format!("--advertise-client-urls={}", self.client_url),
            format!("--listen-peer-urls={}", self.peer_url),
            format!("--initial-advertise-peer-urls={}", self.peer_url),
            format!("--initial-cluster={}", self.initial_cluster),
            format!("--initial-cluster-state={state}"),
            format!("--initial-cluster-token={}", self.token),
            "--auto-compaction-mode=periodic".to_owned(),
            format!("--auto-compaction-retention={}s", self.retention.as_secs().max(1)),
            format!("--quota-backend-bytes={}", self.quota_bytes),
            // A member that comes back from a pause must not depose a healthy leader. Default since 3.5.
            "--pre-vote=true".to_owned(),
            // Clients ping each second; by default etcd hangs up on those that ping more often than every 5 s.
            "--grpc-keepalive-min-time=500ms".to_owned(),
            // The JSON gateway answers any web page on this machine; nobody here needs it.
            "--enable-grpc-gateway=false".to_owned(),
            "--heartbeat-interval=100".to_owned(),
            "--election-timeout=1000".to_owned(),
            "--logger=zap".to_owned(),
            "--log-outputs=stderr".to_owned(),
            "--log-level=info".to_owned(),
        ];
        if (version.major, version.minor) < (3, 6) {
            // Off by default; said aloud, since the old API would be a second way in. 3.6 has neither API nor flag.
            arguments.push("--enable-v2=false".to_owned());
            // A tenth of the log entries in memory; from 3.6 on the default, and the flag on its way out.
            arguments.push("--snapshot-count=10000".to_owned());
        }
        arguments
    }
}

/// The argument that names the data directory: by it an etcd that was left behind is told from a stranger.
pub(super) fn data_dir_argument(data_dir: &std::path::Path) -> String {
    format!("--data-dir={}", data_dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Flags {
        let peer_url: MemberUrl = "http://127.0.0.1:2380".parse().unwrap();
        Flags {
            name: "a".to_owned(),
            data_dir: "/data/etcd".into(),
            client_url: "http://127.0.0.1:2379".parse().unwrap(),
            peer_url: peer_url.clone(),
            initial_cluster: InitialCluster::single("a", peer_url),
            existing: false,
            token: "shoal".to_owned(),
            quota_bytes: 2 << 30,
            retention: Duration::from_secs(120),
        }
    }

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn all_series_get_names_urls_limits_and_logging() {
        for text in ["3.4.23", "3.5.16", "3.6.5"] {
            let arguments = flags().arguments(version(text));
            for wanted in [
                "--name=a",
                "--data-dir=/data/etcd",
                "--listen-client-urls=http://127.0.0.1:2379",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--initial-advertise-peer-urls=http://127.0.0.1:2380",
                "--initial-cluster=a=http://127.0.0.1:2380",
                "--initial-cluster-state=new",
                "--initial-cluster-token=shoal",
                "--auto-compaction-mode=periodic",
                "--auto-compaction-retention=120s",
                "--quota-backend-bytes=2147483648",
                "--logger=zap",
            ] {
                assert!(arguments.iter().any(|argument| argument == wanted), "{text}: {wanted}");
            }
        }
    }

    #[test]
    fn flags_of_the_past_are_given_only_where_they_exist() {
        for flag in ["--enable-v2=false", "--snapshot-count=10000"] {
            for (text, has) in [("3.4.23", true), ("3.5.16", true), ("3.6.0", false)] {
                assert_eq!(
                    flags().arguments(version(text)).iter().any(|argument| argument == flag),
                    has,
                    "{text}: {flag}"
                );
            }
        }
    }

    #[test]
    fn no_series_gets_an_experimental_flag() {
        for text in ["3.4.23", "3.5.16", "3.6.5"] {
            let arguments = flags().arguments(version(text));
            assert!(!arguments.iter().any(|argument| argument.contains("experimental")), "{text}");
        }
    }

    #[test]
    fn joining_says_existing() {
        let joining = Flags { existing: true, ..flags() };
        assert!(
            joining.arguments(version("3.5.16")).contains(&"--initial-cluster-state=existing".to_owned())
        );
    }
}
