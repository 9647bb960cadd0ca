//! A cluster on this machine: its directory, what is kept about it, its processes.
//!
//! Nothing is written outside the directory, and no process is signalled that does not belong to it.

pub mod node;
pub mod ports;
pub mod process;
pub mod ready;

use crate::address::Address;
use node::DevNode;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// The file that makes a directory a dev cluster's.
const STATE_FILE: &str = "dev.json";
/// Of the state file. A newer one is not touched.
const STATE_VERSION: u32 = 1;

/// A cluster of this machine.
#[derive(Clone, Debug)]
pub struct Cluster {
    dir: PathBuf,
    state: State,
}

/// What `dev.json` holds. Only add fields, with a default; a change of meaning needs a new version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The nodes, in order.
    pub nodes: Vec<DevNode>,
    /// What each node is started with beside its own names and ports.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// No directory is given, and there is no home to put one in.
    #[error("no place for a dev cluster: neither SHOAL_DEV_DIR, XDG_RUNTIME_DIR nor HOME is set")]
    NoPlace,
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The state file is not one of ours.
    #[error("{path} is not a dev cluster of this version: {why}")]
    State {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Names the file in the system's answer.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> DevError {
    let path = path.to_owned();
    move |source| DevError::File { path, source }
}

/// Where a dev cluster lives unless it is told: SHOAL_DEV_DIR, else the runtime directory, else the state directory.
pub fn default_dir() -> Result<PathBuf, DevError> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let runtime = || var("XDG_RUNTIME_DIR").map(|dir| dir.join("shoal-dev"));
    let home = || var("HOME").map(|home| home.join(".local/state/shoal/dev"));
    let dir = var("SHOAL_DEV_DIR").or_else(runtime).or_else(home).ok_or(DevError::NoPlace)?;
    std::path::absolute(&dir).map_err(at(&dir))
}

impl Cluster {
    /// A new cluster of `count` nodes; ports are chosen here, once.
    pub fn create(dir: &Path, count: usize, flags: Vec<String>) -> Result<Cluster, DevError> {
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        // Without symbolic links, because processes are recognised by this path.
        let dir = &dir.canonicalize().map_err(at(dir))?;
        let ports = ports::free(count * node::PORTS).map_err(at(dir))?;
        let nodes = ports.chunks_exact(node::PORTS).enumerate();
        let nodes = nodes.map(|(index, ports)| DevNode::new(dir, index + 1, ports)).collect();
        let cluster = Cluster { dir: dir.to_owned(), state: State { version: STATE_VERSION, nodes, flags } };
        cluster.save()?;
        Ok(cluster)
    }

    /// The cluster in `dir`, if there is one.
    pub fn load(dir: &Path) -> Result<Option<Cluster>, DevError> {
        let path = dir.join(STATE_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        let bad = |why: String| DevError::State { path: path.clone(), why };
        let state: State = serde_json::from_str(&text).map_err(|why| bad(why.to_string()))?;
        if state.version != STATE_VERSION {
            return Err(bad(format!("it has version {}, this program knows {STATE_VERSION}", state.version)));
        }
        Ok(Some(Cluster { dir: dir.to_owned(), state }))
    }

    /// The cluster in the default place, if there is one.
    pub fn load_default() -> Result<Option<Cluster>, DevError> {
        Cluster::load(&default_dir()?)
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[DevNode] {
        &self.state.nodes
    }

    /// What each node is started with.
    pub fn flags(&self) -> &[String] {
        &self.state.flags
    }

    /// The node of this name, or of this number.
    pub fn node(&self, name: &str) -> Option<&DevNode> {
        self.nodes().iter().find(|node| node.name == name || node.name.strip_prefix("node-") == Some(name))
    }

    /// `--initial-cluster`: all nodes with their peer URLs.
    pub fn initial_cluster(&self) -> String {
        let members: Vec<String> =
            self.nodes().iter().map(|node| format!("{}={}", node.name, node.peer_url())).collect();
        members.join(",")
    }

    /// The addresses of the nodes that run; those that are paused last, because they take a connection and never answer.
    pub fn live_addresses(&self) -> Vec<Address> {
        let live = self.nodes().iter().filter_map(|node| Some((node, node.server()?)));
        let (paused, running): (Vec<_>, Vec<_>) = live.partition(|(_, server)| server.is_stopped());
        running.into_iter().chain(paused).map(|(node, _)| node.address()).collect()
    }

    /// Deletes all that belongs to the cluster, and its directory when nothing else is in it.
    pub fn remove(&self) -> Result<(), DevError> {
        for node in self.nodes() {
            match std::fs::remove_dir_all(&node.data_dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at(&node.data_dir)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        let path = self.dir.join(STATE_FILE);
        std::fs::remove_file(&path).map_err(at(&path))?;
        // What others have put there is not ours to delete.
        let _ = std::fs::remove_dir(&self.dir);
        Ok(())
    }

    /// Through a file of another name, so that a crash leaves the old state or the new one.
    fn save(&self) -> Result<(), DevError> {
        let (path, new) = (self.dir.join(STATE_FILE), self.dir.join("dev.json.new"));
        let text = serde_json::to_string_pretty(&self.state).map_err(io::Error::other).map_err(at(&path))?;
        std::fs::write(&new, text).map_err(at(&new))?;
        std::fs::rename(&new, &path).map_err(at(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_created_is_loaded_again_with_the_same_ports() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Cluster::load(dir.path()).unwrap().is_none());
        let made = Cluster::create(dir.path(), 3, vec!["--cpus".into(), "1".into()]).unwrap();
        let loaded = Cluster::load(dir.path()).unwrap().unwrap();
        assert_eq!(loaded.state, made.state);
        assert_eq!(loaded.nodes().len(), 3);
        assert_eq!(loaded.node("2").unwrap().name, "node-2");
        assert!(loaded.node("node-4").is_none() && loaded.live_addresses().is_empty());
        assert_eq!(loaded.initial_cluster().matches("=http://127.0.0.1:").count(), 3);
    }

    #[test]
    fn what_a_newer_version_wrote_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(STATE_FILE), r#"{"version": 2, "nodes": []}"#).unwrap();
        assert!(matches!(Cluster::load(dir.path()), Err(DevError::State { .. })));
    }

    #[test]
    fn remove_leaves_what_is_not_the_clusters() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::create(dir.path(), 1, Vec::new()).unwrap();
        std::fs::create_dir_all(cluster.nodes()[0].data_dir.join("etcd")).unwrap();
        std::fs::write(dir.path().join("notes"), "mine").unwrap();
        cluster.remove().unwrap();
        let left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["notes"]);
    }
}
