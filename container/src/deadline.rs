//! The deadline of a node's containers: one 8-byte word in a file that the server maps to advance it and that every stub has
//! mapped to read it. An advance is one store, seen by all stubs at once; nothing has to be sent and nobody has to be awake.
//!
//! The word is a moment of CLOCK_BOOTTIME in nanoseconds; a container must be dead once it has passed. It only grows. One file
//! serves one incarnation of a node (one lease), so that an old incarnation's containers can never be revived by a new one.
//! The file is never truncated: a reader of a page that is no longer backed dies of SIGBUS.
#![allow(unsafe_code)]

use rustix::fs::{FileType, Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the file and of the mapping; the smallest page size of the platforms we build for.
const PAGE_BYTES: usize = 4096;

/// Nanoseconds of CLOCK_BOOTTIME: time since boot, suspension included, the same for all processes outside of time namespaces.
pub fn boottime_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Milliseconds of CLOCK_BOOTTIME.
pub fn boottime_ms() -> u64 {
    boottime_ns() / 1_000_000
}

/// Why a page could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum DeadlineError {
    /// The file cannot be opened or made.
    #[error("cannot open the deadline page {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is too short to hold the word.
    #[error("the deadline page {path} has {bytes} bytes, not {PAGE_BYTES}")]
    Short {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// It is not a plain file of this user, so it is not what it should be.
    #[error("the deadline page {path} is not a plain file of user {owner}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it should be.
        owner: u32,
    },
    /// The file cannot be mapped.
    #[error("cannot map the deadline page {path}: {source}")]
    Map {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The mapped page.
#[derive(Debug)]
pub struct DeadlinePage {
    word: NonNull<AtomicU64>,
}

// SAFETY: the mapping belongs to no thread, and its only access is through one atomic.
unsafe impl Send for DeadlinePage {}
// SAFETY: as above.
unsafe impl Sync for DeadlinePage {}

impl DeadlinePage {
    /// Makes the file if it does not exist (deadline 0: passed) and maps it. An existing deadline is kept.
    pub fn create(path: &Path) -> Result<DeadlinePage, DeadlineError> {
        let file = open(path, OFlags::RDWR | OFlags::CREATE)?;
        let bytes = length(&file, path)?;
        if bytes < PAGE_BYTES as u64 {
            // Written, not extended: a hole would turn a full disk into SIGBUS at the first advance.
            let missing = vec![0u8; PAGE_BYTES - bytes as usize];
            rustix::io::pwrite(&file, &missing, bytes).map_err(|e| open_error(path, e))?;
        }
        DeadlinePage::map(&file, path, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps an existing page of this user's, only to read: [`DeadlinePage::advance_to`] is not for it. The path may come from somebody who is not
    /// trusted: nothing is opened before it is known to be a plain file (a device may act on being opened, a pipe waits), and its owner
    /// is who may move the deadline.
    pub fn open(path: &Path, owner: u32) -> Result<DeadlinePage, DeadlineError> {
        let found = open(path, OFlags::PATH)?;
        let stat = rustix::fs::fstat(&found).map_err(|e| open_error(path, e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_uid != owner {
            return Err(DeadlineError::Foreign { path: path.to_owned(), owner });
        }
        let same = format!("/proc/self/fd/{}", found.as_raw_fd());
        let file = rustix::fs::open(same, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        DeadlinePage::map(&file.map_err(|e| open_error(path, e))?, path, ProtFlags::READ)
    }

    fn map(file: &OwnedFd, path: &Path, access: ProtFlags) -> Result<DeadlinePage, DeadlineError> {
        let bytes = length(file, path)?;
        if bytes < PAGE_BYTES as u64 {
            return Err(DeadlineError::Short { path: path.to_owned(), bytes });
        }
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing; the file is long enough and never truncated.
        let address =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), PAGE_BYTES, access, MapFlags::SHARED, file, 0) }
                .map_err(|e| DeadlineError::Map { path: path.to_owned(), source: e.into() })?;
        let word = NonNull::new(address.cast()).expect("the kernel maps nothing at address 0 unless asked");
        Ok(DeadlinePage { word })
    }

    /// Moves the deadline to this moment unless it is later already. For a page from [`DeadlinePage::create`].
    pub fn advance_to(&self, deadline_ns: u64) {
        self.word().fetch_max(deadline_ns, Ordering::SeqCst);
    }

    /// The deadline, in nanoseconds of CLOCK_BOOTTIME.
    pub fn read(&self) -> u64 {
        self.word().load(Ordering::SeqCst)
    }

    /// Whether the deadline is now or was before.
    pub fn passed(&self) -> bool {
        self.read() <= boottime_ns()
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: page-aligned memory of PAGE_BYTES, mapped for as long as `self` lives; all processes access it atomically.
        unsafe { self.word.as_ref() }
    }
}

impl Drop for DeadlinePage {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `map`; no reference to it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.word.as_ptr().cast(), PAGE_BYTES) };
    }
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, DeadlineError> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|e| open_error(path, e))
}

fn length(file: &OwnedFd, path: &Path) -> Result<u64, DeadlineError> {
    Ok(rustix::fs::fstat(file).map_err(|e| open_error(path, e))?.st_size as u64)
}

fn open_error(path: &Path, error: rustix::io::Errno) -> DeadlineError {
    DeadlineError::Open { path: path.to_owned(), source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn what_is_not_a_plain_file_of_the_owner_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name);
        drop(DeadlinePage::create(&path("page")).unwrap());
        std::os::unix::fs::symlink(path("page"), path("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        for (name, owner) in [("page", us() + 1), ("link", us()), ("pipe", us()), (".", us())] {
            // A pipe that was opened would wait for its other end here.
            assert!(DeadlinePage::open(&path(name), owner).is_err(), "{name}");
        }
    }

    #[test]
    fn a_deadline_only_grows_and_is_shared_between_mappings() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deadline");
        let writer = DeadlinePage::create(&path).unwrap();
        let reader = DeadlinePage::open(&path, us()).unwrap();
        assert!(reader.passed());
        let later = boottime_ns() + 60_000_000_000;
        writer.advance_to(later);
        writer.advance_to(later - 5);
        assert_eq!(reader.read(), later);
        assert!(!reader.passed());
        assert_eq!(DeadlinePage::create(&path).unwrap().read(), later, "an existing deadline is kept");
    }

    #[test]
    fn a_short_file_is_refused_and_never_mapped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deadline");
        std::fs::write(&path, b"x").unwrap();
        assert!(matches!(DeadlinePage::open(&path, us()), Err(DeadlineError::Short { bytes: 1, .. })));
    }
}
