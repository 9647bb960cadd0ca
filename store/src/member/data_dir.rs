//! The member's place on disk: `DATA/etcd` (etcd's own, mode 0700) and beside it `etcd.lock`, `etcd.owner.json`, `etcd.pid`
//! and `etcd.log`. Says whose data they are, lets one server at a time use them, and never deletes any.
//!
//! When the form of `etcd.owner.json` changes, raise `FORMAT` and read the old form too: a member without its data cannot come back.

use super::binary::Version;
use super::wal::is_unborn;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The version of the owner file's form.
const FORMAT: u32 = 1;

/// Whose data a directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    format: u32,
    cluster_token: String,
    member_name: String,
    /// The newest etcd that has written here: an older series cannot read it.
    etcd_version: String,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another server uses it.
    #[error("{} is in use by another server{}", dir.display(), holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The other server, where it left its pid.
        holder: Option<u32>,
    },
    /// It belongs to another member.
    #[error("{} belongs to member `{found}`, not to `{wanted}`: give each node a data directory of its own", dir.display())]
    OtherMember {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who came.
        wanted: String,
    },
    /// It belongs to another cluster.
    #[error("{} belongs to cluster `{found}`, not to `{wanted}`", dir.display())]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// Which it belongs to.
        found: String,
        /// Which was meant.
        wanted: String,
    },
    /// Data of nobody knows whom.
    #[error("{} holds data of an etcd, but {} is missing: it was not made by this program", dir.display(), owner_file.display())]
    Unowned {
        /// Where the data are.
        dir: PathBuf,
        /// What should name the owner.
        owner_file: PathBuf,
    },
    /// A newer etcd has written it.
    #[error("{} was written by etcd {found}; {used} is of an older series and cannot read it", dir.display())]
    Downgrade {
        /// The directory.
        dir: PathBuf,
        /// Who wrote it.
        found: Version,
        /// Who was to read it.
        used: Version,
    },
    /// The owner file cannot be read.
    #[error("{} cannot be understood: {why}", path.display())]
    BadOwner {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_path_buf();
    move |source| DataDirError::Io { action, path, source }
}

/// A member's data directory, locked for as long as this value lives.
#[derive(Debug)]
pub struct DataDir {
    parent: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the directory `parent` (made when missing) for this member of this cluster.
    pub fn claim(parent: &Path, name: &str, token: &str, version: Version) -> Result<DataDir, DataDirError> {
        std::fs::create_dir_all(parent).map_err(io_error("make directory", parent))?;
        // etcd's arguments carry the path, and an orphan is recognised by them: one spelling only.
        let parent = parent.canonicalize().map_err(io_error("resolve", parent))?;
        let claimed = DataDir { _lock: lock(&parent)?, parent };
        claimed.check_owner(name, token, version)?;
        claimed.make_private_dir()?;
        Ok(claimed)
    }

    /// Where etcd keeps its data.
    pub fn etcd(&self) -> PathBuf {
        self.parent.join("etcd")
    }

    /// Where etcd's pid is written.
    pub fn pid_file(&self) -> PathBuf {
        self.parent.join("etcd.pid")
    }

    /// Where etcd's log goes.
    pub fn log_file(&self) -> PathBuf {
        self.parent.join("etcd.log")
    }

    /// Whether a member has lived here before: it then comes back as itself, and all flags about bootstrapping are of no effect.
    pub fn has_member(&self) -> bool {
        // The write-ahead log is made last of all when a member is set up.
        std::fs::read_dir(self.etcd().join("member/wal")).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Moves aside what an etcd left that was killed before it wrote anything ([`super::wal`]); to be called before each start, when
    /// no etcd runs. Even that is kept, as `etcd.unborn`, the last one.
    pub(super) fn set_unborn_aside(&self) -> Result<(), DataDirError> {
        let member = self.etcd().join("member");
        let wal = member.join("wal");
        if !is_unborn(&wal).map_err(io_error("read", &wal))? {
            return Ok(());
        }
        let aside = self.parent.join("etcd.unborn");
        tracing::warn!(from = %member.display(), to = %aside.display(), "etcd was killed before its first entry: beginning anew");
        match std::fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &aside)(error));
            }
            _ => {}
        }
        std::fs::rename(&member, &aside).map_err(io_error("rename to", &aside))
    }

    fn owner_file(&self) -> PathBuf {
        self.parent.join("etcd.owner.json")
    }

    fn check_owner(&self, name: &str, token: &str, version: Version) -> Result<(), DataDirError> {
        let dir = self.etcd();
        let mut newest = version;
        match self.read_owner()? {
            None if dir.join("member").exists() => {
                return Err(DataDirError::Unowned { dir, owner_file: self.owner_file() });
            }
            None => {}
            Some((owner, _)) if owner.member_name != name => {
                return Err(DataDirError::OtherMember {
                    dir,
                    found: owner.member_name,
                    wanted: name.to_owned(),
                });
            }
            Some((owner, _)) if owner.cluster_token != token => {
                return Err(DataDirError::OtherCluster {
                    dir,
                    found: owner.cluster_token,
                    wanted: token.to_owned(),
                });
            }
            Some((_, found)) if (version.major, version.minor) < (found.major, found.minor) => {
                return Err(DataDirError::Downgrade { dir, found, used: version });
            }
            Some((_, found)) => newest = newest.max(found),
        }
        let owner = Owner {
            format: FORMAT,
            cluster_token: token.to_owned(),
            member_name: name.to_owned(),
            etcd_version: newest.to_string(),
        };
        self.write_owner(&owner)
    }

    fn read_owner(&self) -> Result<Option<(Owner, Version)>, DataDirError> {
        let path = self.owner_file();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let bad = |why: String| DataDirError::BadOwner { path: path.clone(), why };
        let owner: Owner = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        if owner.format != FORMAT {
            return Err(bad(format!("its format is {}, this program knows {FORMAT}", owner.format)));
        }
        let version = owner
            .etcd_version
            .parse()
            .map_err(|()| bad(format!("etcd_version is {:?}", owner.etcd_version)))?;
        Ok(Some((owner, version)))
    }

    /// Durable before etcd writes anything: data never stand there without their owner.
    fn write_owner(&self, owner: &Owner) -> Result<(), DataDirError> {
        let path = self.owner_file();
        let fresh = self.parent.join("etcd.owner.json.new");
        let text = serde_json::to_string_pretty(owner).expect("strings and a number always serialize");
        let mut file = File::create(&fresh).map_err(io_error("create", &fresh))?;
        file.write_all(text.as_bytes()).map_err(io_error("write", &fresh))?;
        file.sync_all().map_err(io_error("sync", &fresh))?;
        std::fs::rename(&fresh, &path).map_err(io_error("rename to", &path))?;
        let parent = File::open(&self.parent).map_err(io_error("open", &self.parent))?;
        parent.sync_all().map_err(io_error("sync", &self.parent))
    }

    fn make_private_dir(&self) -> Result<(), DataDirError> {
        let dir = self.etcd();
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::set_permissions(&dir, Permissions::from_mode(0o700))
                    .map_err(io_error("set mode of", &dir))
            }
            done => done.map_err(io_error("make directory", &dir)),
        }
    }
}

/// The kernel drops the lock with its holder, so a crash leaves nothing to clean up; the pid in it is for people.
fn lock(parent: &Path) -> Result<File, DataDirError> {
    let path = parent.join("etcd.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            return Err(DataDirError::Locked { dir: parent.to_path_buf(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
    }
    file.set_len(0).map_err(io_error("truncate", &path))?;
    writeln!(file, "{}", std::process::id()).map_err(io_error("write", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V34: Version = Version { major: 3, minor: 4, patch: 23 };
    const V35: Version = Version { major: 3, minor: 5, patch: 16 };

    fn claim(dir: &Path, name: &str, token: &str, version: Version) -> Result<DataDir, DataDirError> {
        DataDir::claim(dir, name, token, version)
    }

    #[test]
    fn the_directory_is_private_and_comes_back_to_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let mode = claim(dir.path(), "a", "c", V34).unwrap().etcd().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(claim(dir.path(), "a", "c", V34).is_ok());
    }

    #[test]
    fn another_member_and_another_cluster_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(claim(dir.path(), "a", "c", V34).unwrap());
        let member = claim(dir.path(), "b", "c", V34).unwrap_err();
        assert!(matches!(&member, DataDirError::OtherMember { found, .. } if found == "a"), "{member}");
        let cluster = claim(dir.path(), "a", "d", V34).unwrap_err();
        assert!(matches!(&cluster, DataDirError::OtherCluster { found, .. } if found == "c"), "{cluster}");
    }

    #[test]
    fn two_servers_cannot_use_one_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = claim(dir.path(), "a", "c", V34).unwrap();
        let error = claim(dir.path(), "a", "c", V34).unwrap_err();
        assert!(
            matches!(error, DataDirError::Locked { holder: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
        drop(first);
        assert!(claim(dir.path(), "a", "c", V34).is_ok());
    }

    #[test]
    fn an_older_series_is_refused_after_a_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        drop(claim(dir.path(), "a", "c", V34).unwrap());
        drop(claim(dir.path(), "a", "c", V35).unwrap());
        assert!(matches!(claim(dir.path(), "a", "c", V34), Err(DataDirError::Downgrade { .. })));
    }

    #[test]
    fn data_without_an_owner_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("etcd/member/wal");
        std::fs::create_dir_all(&data).unwrap();
        assert!(matches!(claim(dir.path(), "a", "c", V34), Err(DataDirError::Unowned { .. })));
        assert!(data.exists());
    }

    #[test]
    fn a_damaged_owner_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("etcd.owner.json"), "{").unwrap();
        let error = claim(dir.path(), "a", "c", V34).unwrap_err();
        assert!(matches!(&error, DataDirError::BadOwner { .. }), "{error}");
        assert!(error.to_string().contains("etcd.owner.json"));
    }
}
