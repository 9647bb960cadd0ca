//! What the operator of a node lets tasks have. The runner enforces it, whoever asks: a server that runs as an ordinary user, or one that was
//! taken over, cannot hand out more of the machine than this file says.
//!
//! A JSON file named by the runner's `--policy`, read at its start and again at each `Hello`. `shoald` writes it from its own configuration
//! where it starts the runner itself; where an administrator starts the runner, the file is the administrator's.

use crate::slot::IDS_PER_SLOT;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// First of the user ids that containers get by default: inside of the range that systemd leaves to containers (524288 to 1879048191), far above what
/// tools hand out for /etc/subuid.
pub const USERS_FIRST: u32 = 1 << 30;
/// As many as 4096 containers at once need.
pub const USERS_COUNT: u32 = 4096 * 65536;

/// What tasks may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Directories that may be an attempt's root. They hold no socket on which a service of the host listens: a task could hand it a socket of its
    /// network, which is lent again.
    pub roots: Vec<PathBuf>,
    /// Whether the host's own system may be one.
    pub host_root: bool,
    /// Whether an attempt may use the host's network.
    pub host_net: bool,
    /// Directories of the host that an attempt may mount, by name.
    pub mounts: BTreeMap<String, MountPolicy>,
    /// The image store, if this node has one.
    pub images_dir: Option<PathBuf>,
    /// User and group ids of the host that belong to containers and to nobody else.
    pub users: UserRange,
}

/// A directory that may be mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountPolicy {
    /// On the host.
    pub path: PathBuf,
    /// Whether tasks may write to it. What they write there belongs to the ids that containers have.
    #[serde(default)]
    pub writable: bool,
}

/// A range of ids of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRange {
    /// The first.
    pub first: u32,
    /// How many; each container takes 65536 of them.
    pub count: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            roots: Vec::new(),
            host_root: false,
            host_net: false,
            mounts: BTreeMap::new(),
            images_dir: None,
            users: UserRange { first: USERS_FIRST, count: USERS_COUNT },
        }
    }
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It does not say what a policy says.
    #[error("the policy {path} is not valid: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// A task could see, or own, what is the runner's.
    #[error(
        "the policy is not valid: {path} holds {held}, which is the runner's own (for the host's system as root there is host_root)"
    )]
    Exposes {
        /// The root or mount.
        path: PathBuf,
        /// What it holds.
        held: PathBuf,
    },
    /// Its ids are the host's own, too few to keep containers and images apart, or beyond the last.
    #[error(
        "the policy {path} is not valid: users must begin at {IDS_PER_SLOT} or above, be at least twice as many, and end below \
        4294967296; not {} from {} on", users.count, users.first
    )]
    Users {
        /// The file.
        path: PathBuf,
        /// As given.
        users: UserRange,
    },
}

impl UserRange {
    /// Whether images and at least one container have ids of their own in it, none of which is one of the host's.
    fn is_usable(self) -> bool {
        let UserRange { first, count } = self;
        first >= IDS_PER_SLOT && count >= 2 * IDS_PER_SLOT && first.checked_add(count).is_some()
    }
}

impl Policy {
    /// Refuses roots and mounts that hold what is the runner's: a task that is root inside owns its root's files, whoever they are.
    pub(crate) fn exposes_none_of(&self, own: &[&Path]) -> Result<(), PolicyError> {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let own: Vec<PathBuf> = own.iter().copied().chain(self.images_dir.as_deref()).map(real).collect();
        for path in self.roots.iter().chain(self.mounts.values().map(|mount| &mount.path)) {
            let shown = real(path);
            if let Some(held) = own.iter().find(|own| own.starts_with(&shown)) {
                return Err(PolicyError::Exposes { path: path.clone(), held: held.clone() });
            }
        }
        Ok(())
    }

    /// Reads the file.
    pub fn read(path: &Path) -> Result<Policy, PolicyError> {
        let text =
            std::fs::read(path).map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        let policy: Policy = serde_json::from_slice(&text)
            .map_err(|source| PolicyError::Parse { path: path.to_owned(), source })?;
        match policy.users.is_usable() {
            true => Ok(policy),
            false => Err(PolicyError::Users { path: path.to_owned(), users: policy.users }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_or_mount_that_holds_what_is_the_runners_is_refused() {
        let policy = |root: &str| Policy { roots: vec![root.into()], ..Policy::default() };
        let own = [Path::new("/var/lib/shoal/runner"), Path::new("/etc/shoal/policy.json")];
        for root in ["/", "/var/lib/shoal", "/var/lib/shoal/runner", "/etc"] {
            let error = policy(root).exposes_none_of(&own).unwrap_err().to_string();
            assert!(error.contains(root), "{error}");
        }
        policy("/var/lib/shoal/roots/default").exposes_none_of(&own).unwrap();
        let mount = MountPolicy { path: "/var".into(), writable: false };
        let mounts = Policy { mounts: BTreeMap::from([("all".into(), mount)]), ..Policy::default() };
        assert!(mounts.exposes_none_of(&own).is_err());
    }

    #[test]
    fn ids_that_are_the_hosts_or_not_enough_or_beyond_the_last_are_no_policy() {
        assert!(Policy::default().users.is_usable());
        for (first, count) in [(0, 1 << 20), (1 << 30, 0), (1 << 30, IDS_PER_SLOT), (u32::MAX - 5, 1 << 20)] {
            assert!(!UserRange { first, count }.is_usable(), "{first} {count}");
        }
    }
}
