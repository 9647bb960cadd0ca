//! Archives on this node's disk, by the digest of their bytes. One appears by a rename, when all of it is there, right, and on the disk.

use super::ImageError;
use crate::full_disk::{self, FREE_PERCENT_MIN};
use sha2::{Digest as _, Sha256};
use shoal_core::image::Digest;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What an unfinished one is called, with a number behind it.
const INCOMING: &str = ".incoming-";
/// Bytes of the largest archive: as many as an image may have unpacked.
pub const BYTES_MAX: u64 = 16 << 30;
/// Bytes after which the disk is looked at again.
const LOOK_BYTES: u64 = 64 << 20;

/// What marks an image whose tree the runner has; only the runner can look into its store.
const UNPACKED: &str = ".unpacked-";

/// The directory.
pub struct Archives {
    dir: PathBuf,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::File { action, path, source }
}

impl Archives {
    /// Opens the directory, made if need be, and removes what was never finished.
    pub fn open(dir: &Path) -> Result<Archives, ImageError> {
        std::fs::create_dir_all(dir).map_err(failed("make", dir))?;
        for entry in std::fs::read_dir(dir).map_err(failed("list", dir))? {
            let path = entry.map_err(failed("list", dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(INCOMING) {
                std::fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(Archives { dir: dir.to_owned() })
    }

    /// Where an archive is or would be.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// Whether it is here.
    pub fn has(&self, digest: Digest) -> bool {
        self.path(digest).is_file()
    }

    /// All that are here, with their sizes and how long ago each was last needed.
    pub fn list(&self) -> Result<Vec<(Digest, u64, Duration)>, ImageError> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed("list", &self.dir))? {
            let entry = entry.map_err(failed("list", &self.dir))?;
            let Some(digest) = entry.file_name().to_str().and_then(|name| Digest::from_hex(name).ok()) else {
                continue;
            };
            // It may be removed at any time.
            let Ok(meta) = entry.metadata() else { continue };
            let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            found.push((digest, meta.len(), used.elapsed().unwrap_or_default()));
        }
        Ok(found)
    }

    /// Notes that it was needed just now.
    pub fn touch(&self, digest: Digest) {
        // Only the order of removal is lost without it.
        let time = |nsec| rustix::fs::Timespec { tv_sec: 0, tv_nsec: nsec };
        let (kept, now) = (time(rustix::fs::UTIME_OMIT), time(rustix::fs::UTIME_NOW));
        let times = rustix::fs::Timestamps { last_access: kept, last_modification: now };
        let _ = File::open(self.path(digest)).map(|file| rustix::fs::futimens(file, &times));
    }

    /// Notes that the runner has, or is about to have, the tree of this image; or that it has it no more.
    pub fn mark_unpacked(&self, image: Digest, unpacked: bool) -> Result<(), ImageError> {
        let path = self.dir.join(format!("{UNPACKED}{}", image.hex()));
        let changed = if unpacked { File::create(&path).map(drop) } else { std::fs::remove_file(&path) };
        match changed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("mark", &path)(error)),
            _ => Ok(()),
        }
    }

    /// The images whose trees the runner may have.
    pub fn unpacked(&self) -> Result<BTreeSet<Digest>, ImageError> {
        let entries = std::fs::read_dir(&self.dir).map_err(failed("list", &self.dir))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| Digest::from_hex(name.strip_prefix(UNPACKED)?).ok()).collect())
    }

    /// Removes one; fine where there is none.
    pub fn remove(&self, digest: Digest) -> Result<(), ImageError> {
        let path = self.path(digest);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// A new one, of so many bytes or of at most [`BYTES_MAX`] where nobody knows yet. Refused where the disk has no room for it.
    pub fn incoming(&self, bytes: Option<u64>) -> Result<Incoming<'_>, ImageError> {
        self.check_room(bytes.unwrap_or(0))?;
        let path = self.dir.join(format!("{INCOMING}{}", uuid::Uuid::now_v7()));
        let file = File::options().write(true).create_new(true).open(&path).map_err(failed("make", &path))?;
        let bytes_max = bytes.unwrap_or(BYTES_MAX);
        let (hash, bytes) = (Sha256::new(), 0);
        Ok(Incoming { archives: self, path, file, hash, bytes, bytes_max, look_at: LOOK_BYTES })
    }

    /// Refuses where the disk has no room for so many bytes more.
    fn check_room(&self, bytes: u64) -> Result<(), ImageError> {
        let left = full_disk::free_percent_after(&self.dir, bytes);
        let left_percent = left.map_err(failed("look at the disk of", &self.dir))?;
        if left_percent < FREE_PERCENT_MIN { Err(ImageError::DiskFull { left_percent }) } else { Ok(()) }
    }
}

/// An archive that is arriving; removed again unless it is kept.
pub struct Incoming<'a> {
    archives: &'a Archives,
    path: PathBuf,
    file: File,
    hash: Sha256,
    bytes: u64,
    bytes_max: u64,
    /// At so many bytes the disk is looked at again: others write to it too.
    look_at: u64,
}

impl Incoming<'_> {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// More of it. A short write to the page cache: a chunk is small.
    pub fn write(&mut self, data: &[u8]) -> Result<(), ImageError> {
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        if self.bytes > self.bytes_max {
            return Err(ImageError::TooLarge { max: self.bytes_max });
        }
        if self.bytes >= self.look_at {
            self.look_at = self.bytes.saturating_add(LOOK_BYTES);
            self.archives.check_room(0)?;
        }
        self.hash.update(data);
        self.file.write_all(data).map_err(failed("write", &self.path))
    }

    /// That was all: brings it to the disk and shows it under its digest, which must be `expected` where that is given.
    pub fn keep(self, expected: Option<Digest>) -> Result<Digest, ImageError> {
        let found = Digest::new(self.hash.clone().finalize().into());
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(ImageError::Damaged { expected, found });
        }
        let path = self.archives.path(found);
        self.file.sync_all().map_err(failed("bring to the disk", &self.path))?;
        std::fs::rename(&self.path, &path).map_err(failed("rename", &self.path))?;
        // What was written last may be minutes old by now: its age counts from when it is here.
        self.archives.touch(found);
        let dir = &self.archives.dir;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("bring to the disk", dir))?;
        Ok(found)
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        // After `keep` there is nothing of this name any more.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let archives = Archives::open(dir.path()).unwrap();
        let mut incoming = archives.incoming(Some(10)).unwrap();
        incoming.write(b"hello").unwrap();
        let digest = incoming.keep(None).unwrap();
        assert_eq!(digest.hex(), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert!(archives.has(digest));
        let mut other = archives.incoming(Some(10)).unwrap();
        other.write(b"other").unwrap();
        assert!(matches!(other.keep(Some(digest)), Err(ImageError::Damaged { .. })));
        let mut large = archives.incoming(Some(10)).unwrap();
        assert!(matches!(large.write(b"hello hello"), Err(ImageError::TooLarge { max: 10 })));
        std::mem::forget(large);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        let archives = Archives::open(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "what a crash left is gone");
        assert_eq!(archives.list().unwrap()[0].0, digest);
        archives.remove(digest).unwrap();
        archives.remove(digest).unwrap();
        assert!(!archives.has(digest));
    }

    #[test]
    fn what_the_disk_has_no_room_for_is_refused_before_a_byte_comes() {
        let dir = tempfile::tempdir().unwrap();
        let archives = Archives::open(dir.path()).unwrap();
        let Err(full) = archives.incoming(Some(u64::MAX)) else { panic!("larger than any disk") };
        assert_eq!(full.to_string(), "archive: must leave 10 % of the node's disk free, would leave 0 %");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
