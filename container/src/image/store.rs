//! The image store on disk. An image appears under its digest by one rename, after all of it is on the disk; whatever is there under another name
//! is unfinished and belongs to whoever holds its lock, or to nobody.

use super::{DESCRIPTION, TREE, Unpacked, is_digest};
use rustix::fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, Uid};
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Directories that are being filled.
const STAGING: &str = ".staging-";
/// Directories that are being removed.
const REMOVING: &str = ".removing-";

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}")]
pub struct StoreError {
    /// What was tried.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

fn failed<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError { action, path, source: source.into() }
}

/// The store.
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens it, made if need be, for nobody but root: the files in it belong to ids that may be somebody's by mistake.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make", dir))?;
        Ok(Store { dir: dir.to_owned() })
    }

    /// The image of this digest, if it is here.
    pub fn find(&self, digest: &str) -> Option<Unpacked> {
        let text = std::fs::read(self.dir.join(digest).join(DESCRIPTION)).ok()?;
        serde_json::from_slice(&text).ok().filter(|unpacked: &Unpacked| unpacked.digest == digest)
    }

    /// A new directory to fill, whose tree belongs to this user.
    pub fn stage(&self, owner: u32) -> Result<Staging<'_>, StoreError> {
        let path = self.dir.join(format!("{STAGING}{}", std::process::id()));
        // Of a worker long gone, whose number has come round.
        remove_tree(&path)?;
        DirBuilder::new().mode(0o700).create(&path).map_err(failed("make", &path))?;
        let lock = open_directory(&path)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(failed("lock", &path))?;
        let staging = Staging { store: self, path, lock, finished: false };
        let tree = staging.path.join(TREE);
        DirBuilder::new().mode(0o755).create(&tree).map_err(failed("make", &tree))?;
        let ids = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
        rustix::fs::chownat(CWD, &tree, ids.0, ids.1, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("give away", &tree))?;
        Ok(staging)
    }

    /// Removes an image. It is gone by name at once, whatever becomes of the rest.
    pub fn remove(&self, digest: &str) -> Result<(), StoreError> {
        let (path, away) = (self.dir.join(digest), self.dir.join(format!("{REMOVING}{digest}")));
        remove_tree(&away)?;
        match std::fs::rename(&path, &away) {
            Ok(()) => remove_tree(&away),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("rename", &path)(error)),
        }
    }

    /// Removes what nobody works on any more.
    pub fn sweep(&self) -> Result<(), StoreError> {
        for entry in std::fs::read_dir(&self.dir).map_err(failed("list", &self.dir))? {
            let path = entry.map_err(failed("list", &self.dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let whole = is_digest(name) && path.join(DESCRIPTION).exists();
            if whole || !path.is_dir() {
                continue;
            }
            let lock = open_directory(&path)?;
            if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }
}

/// A directory that is being filled; removed again unless it is finished.
pub struct Staging<'s> {
    store: &'s Store,
    path: PathBuf,
    lock: OwnedFd,
    finished: bool,
}

impl Staging<'_> {
    /// The directory for the tree.
    pub fn tree(&self) -> PathBuf {
        self.path.join(TREE)
    }

    /// Brings all of it to the disk and shows it under its digest. Where another was faster, that one stays.
    pub fn finish(mut self, unpacked: Unpacked) -> Result<Unpacked, StoreError> {
        let digest = &unpacked.digest;
        if !is_digest(digest) {
            return Err(failed("name an image", Path::new(digest))(io::Error::other("it is no digest")));
        }
        if let Some(known) = self.store.find(digest) {
            return Ok(known);
        }
        let description = self.path.join(DESCRIPTION);
        let text = serde_json::to_vec(&unpacked).map_err(failed("describe", &description))?;
        let write = File::create(&description).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        write.map_err(failed("write", &description))?;
        rustix::fs::syncfs(&self.lock).map_err(failed("bring to the disk", &self.path))?;
        let path = self.store.dir.join(digest);
        std::fs::rename(&self.path, &path).map_err(failed("rename", &self.path))?;
        self.finished = true;
        open_directory(&self.store.dir)
            .and_then(|dir| rustix::fs::fsync(dir).map_err(failed("bring to the disk", &path)))?;
        Ok(unpacked)
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // The sweep at the next start takes what is left.
            let _ = remove_tree(&self.path);
        }
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(failed("open", path))
}

/// Removes a directory and all below it, following no link; fine when there is none.
fn remove_tree(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}
