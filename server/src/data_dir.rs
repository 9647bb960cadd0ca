//! The node's directory: one server at a time, for root's (or the server's) eyes only.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The locked directory. The lock goes with the process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another server has it.
    #[error("data directory {} is in use by another shoald{}", path.display(), pid_text(*pid))]
    InUse {
        /// Which.
        path: PathBuf,
        /// Whose, as far as its pid file says.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: std::io::Error,
    },
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

impl DataDir {
    /// Makes and locks it, and writes `shoald.pid`.
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { doing, path, source }
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io("creating", path))?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)).map_err(io("protecting", path))?;
        let pid_path = path.join("shoald.pid");
        let open = File::options().create(true).write(true).truncate(false).open(&pid_path);
        let mut lock = open.map_err(io("opening", &pid_path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let pid = std::fs::read_to_string(&pid_path).ok().and_then(|text| text.trim().parse().ok());
            return Err(DataDirError::InUse { path: path.to_owned(), pid });
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(io("writing", &pid_path))?;
        for sub in ["attempts", "runner", "deadline", "roots"] {
            let sub = path.join(sub);
            std::fs::create_dir_all(&sub).map_err(io("creating", &sub))?;
        }
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }
}
