//! The node's identity on disk (`DATA/node.json`): what lets a quick restart go on as the same node.
//!
//! Persisted: bump `V` when a field changes its meaning; a file of another version is ignored, which costs a new identity and nothing else.

use serde::{Deserialize, Serialize};
use shoal_core::id::NodeId;
use std::io::Write;
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
    /// A registration made in this boot.
    pub fn new(node: NodeId, name: &str, lease: i64, created: i64) -> Result<Saved, IdentityError> {
        Ok(Saved { v: V, node, name: name.to_owned(), lease, created, boot_id: boot_id()? })
    }

    /// The saved identity, if it was made on this machine in this boot and under this name.
    pub fn load(path: &Path, name: &str) -> Result<Option<Saved>, IdentityError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError { doing: "reading", path: path.to_owned(), source }),
        };
        let boot = boot_id()?;
        let saved: Option<Saved> = serde_json::from_slice(&text).ok();
        Ok(saved.filter(|s| s.v == V && s.name == name && s.boot_id == boot))
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
    fn survives_a_restart_but_neither_a_reboot_nor_a_rename() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.json");
        assert_eq!(Saved::load(&path, "a").unwrap(), None);
        let mut saved = Saved::new(NodeId(uuid::Uuid::from_u128(1)), "a", 7, 9).unwrap();
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
