//! Why a root could not be built.

use std::io;
use std::path::{Path, PathBuf};

/// What to type where no static busybox is at hand.
const ADVICE: &str = "install a static one: apt-get install busybox-static";

/// Why a root could not be built. Each message names the path and, where a person can help, what to type.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No candidate exists.
    #[error("no busybox found (looked at {looked_at}); {ADVICE}")]
    NotFound {
        /// Where it was looked for.
        looked_at: String,
    },
    /// It needs shared libraries, which the root would not have.
    #[error("busybox {} is linked dynamically; {ADVICE}", path.display())]
    Dynamic {
        /// The program.
        path: PathBuf,
    },
    /// It is not a program of this format.
    #[error("busybox {} is not an ELF program; {ADVICE}", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
    },
    /// It did not list its applets.
    #[error("busybox {} --list failed: {why}", path.display())]
    Applets {
        /// The program.
        path: PathBuf,
        /// What it said.
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
    /// The tree is to be built where something is.
    #[error("{} exists already", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
}

impl Error {
    /// For `map_err`: names the action and the path.
    pub(crate) fn io<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source: source.into() }
    }
}
