//! The node's identity on disk (`DATA/node.json`): what lets a quick restart go on as the same node.
//!
//! Persisted: bump `V` when a field changes its meaning; a file of another version is ignored, which costs a new identity and nothing else.

use serde::{Deserialize, Serialize};
use shoal_core::id::NodeId;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const V: u32 = 1;

/// A registration that may still hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Format version.
    pub v: u32,
    /// The identity.
    pub node: NodeId,
    /// The name it was registered under.
    pub name: String,
    /// Its lease.
    pub lease: i64,
    /// The revision that created its key.
    pub created: i64,
    /// The boot in which it was made: after a reboot, or on a copied disk, it is nobody's.
    pub boot_id: String,
    /// The directory that it was written in: a copy on the same machine is another, and two nodes must not be one.
    #[serde(default)]
    pub place: String,
}

/// The file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct IdentityError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl Saved {
    /// A registration made in this boot, to be kept at `path`.
    pub fn new(
        path: &Path,
        node: NodeId,
        name: &str,
        lease: i64,
        created: i64,
    ) -> Result<Saved, IdentityError> {
        let (boot_id, place) = (boot_id()?, place(path)?);
        Ok(Saved { v: V, node, name: name.to_owned(), lease, created, boot_id, place })
    }

    /// The saved identity, if it was made on this machine in this boot, in this directory and under this name.
    pub fn load(path: &Path, name: &str) -> Result<Option<Saved>, IdentityError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError { doing: "reading", path: path.to_owned(), source }),
        };
        let (boot, place) = (boot_id()?, place(path)?);
        let saved: Option<Saved> = serde_json::from_slice(&text).ok();
        Ok(saved.filter(|s| s.v == V && s.name == name && s.boot_id == boot && s.place == place))
    }

    /// Writes it durably: a torn file would cost an identity, a stale one would fake it.
    pub fn store(&self, path: &Path) -> Result<(), IdentityError> {
        let fail = |source| IdentityError { doing: "writing", path: path.to_owned(), source };
        let temporary = path.with_extension("tmp");
        let mut file = std::fs::File::create(&temporary).map_err(fail)?;
        let text = serde_json::to_vec_pretty(self).map_err(|e| fail(e.into()))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(fail)?;
        std::fs::rename(&temporary, path).map_err(fail)?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail)
    }
}

/// What tells the directory of `path` from every copy of it: its file system and its number there. Another name for it is no other place.
fn place(path: &Path) -> Result<String, IdentityError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let fail = |source| IdentityError { doing: "looking at", path: dir.to_owned(), source };
    let meta = std::fs::metadata(dir).map_err(fail)?;
    Ok(format!("{}:{}", meta.dev(), meta.ino()))
}

/// The kernel's id of this boot.
fn boot_id() -> Result<String, IdentityError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(|source| IdentityError {
        doing: "reading",
        path: path.to_owned(),
        source,
    })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_directory_on_the_same_machine_is_another_node() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [path, copy] = [0, 1].map(|n| dirs[n].path().join("node.json"));
        let saved = Saved::new(&path, NodeId(uuid::Uuid::from_u128(1)), "a", 7, 9).unwrap();
        saved.store(&path).unwrap();
        std::fs::copy(&path, &copy).unwrap();
        assert_eq!(Saved::load(&path, "a").unwrap(), Some(saved));
        assert_eq!(Saved::load(&copy, "a").unwrap(), None);
    }

    #[test]
    fn survives_a_restart_but_neither_a_reboot_nor_a_rename() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.json");
        assert_eq!(Saved::load(&path, "a").unwrap(), None);
        let mut saved = Saved::new(&path, NodeId(uuid::Uuid::from_u128(1)), "a", 7, 9).unwrap();
        saved.store(&path).unwrap();
        assert_eq!(Saved::load(&path, "a").unwrap(), Some(saved.clone()));
        assert_eq!(Saved::load(&path, "b").unwrap(), None);
        saved.boot_id = "another".to_owned();
        saved.store(&path).unwrap();
        assert_eq!(Saved::load(&path, "a").unwrap(), None);
        std::fs::write(&path, "{torn").unwrap();
        assert_eq!(Saved::load(&path, "a").unwrap(), None);
    }
}
