//! An attempt's directory: the name of the attempt, `ATTEMPTS/ID/`, made exclusively before anything of it runs, which is why an
//! id can start only once.
//!
//! | file | content | by |
//! |---|---|---|
//! | `start.json` | how it was started ([`StartRecord`]) | runner |
//! | `log` | standard output and error of the task | stub |
//! | `status` | the end ([`StatusRecord`]), empty until then; locked by the stub while it lives | stub, or a runner that finds no stub |
//! | `done` | exists once the end was forgotten; only `log` stays beside it | runner |
//!
//! The lock on `status` (a POSIX record lock, which dies with its process and tells its holder's pid) decides who may write the end:
//! a stub takes it before it does anything, a restarted runner takes it before it calls an attempt vanished. Whoever comes second
//! finds it taken or the record written, so an attempt that was reported as vanished can never run afterwards.

use crate::protocol::{Cause, Start};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Flock, FlockType, Pid};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

/// Format of the two JSON records; a reader of another format reports the attempt as vanished.
pub const FORMAT: u32 = 1;

/// A record is never longer: its texts name a path or two.
const STATUS_BYTES_MAX: usize = 64 << 10;

/// A problem with an attempt's directory.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {source}")]
pub struct RecordError {
    /// What was tried.
    pub action: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

/// `start.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// The request as it was received.
    pub start: Start,
}

/// `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// What ended the attempt.
    pub cause: Cause,
    /// The log was cut.
    pub log_truncated: bool,
}

impl StatusRecord {
    /// A record of this format.
    pub fn new(cause: Cause, log_truncated: bool) -> StatusRecord {
        StatusRecord { format: FORMAT, cause, log_truncated }
    }

    /// Writes it in one piece.
    pub fn write(&self, status: BorrowedFd<'_>) -> io::Result<()> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        let written = rustix::io::pwrite(status, &text, 0)?;
        if written == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Reads it, if it was written whole.
    pub fn read(status: BorrowedFd<'_>) -> Option<StatusRecord> {
        let mut text = vec![0; STATUS_BYTES_MAX];
        let read = rustix::io::pread(status, &mut text[..], 0).ok()?;
        let record: StatusRecord = serde_json::from_slice(&text[..read]).ok()?;
        (record.format == FORMAT).then_some(record)
    }
}

/// The directory of one attempt.
#[derive(Debug, Clone)]
pub struct AttemptDir {
    path: PathBuf,
}

impl AttemptDir {
    /// The directory of this attempt; it need not exist.
    pub fn at(attempts: &Path, id: &str) -> AttemptDir {
        AttemptDir { path: attempts.join(id) }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory. `AlreadyExists` means that the id was used before.
    pub fn create(&self) -> Result<(), RecordError> {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&self.path)
            .map_err(|e| self.error("cannot make the directory", "", e))
    }

    /// Undoes [`AttemptDir::create`] when the attempt came to nothing before anyone heard of it.
    pub fn remove_all(&self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }

    /// Writes `start.json`.
    pub fn write_start(&self, start: &Start) -> Result<(), RecordError> {
        let record = StartRecord { format: FORMAT, start: start.clone() };
        let text =
            serde_json::to_vec(&record).map_err(|e| self.error("cannot write", "start.json", e.into()))?;
        let file = self.open("start.json", OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, 0o600)?;
        File::from(file).write_all_at(&text, 0).map_err(|e| self.error("cannot write", "start.json", e))
    }

    /// Reads `start.json`.
    pub fn read_start(&self) -> Result<Start, RecordError> {
        let error = |e| self.error("cannot read", "start.json", e);
        let text = std::fs::read(self.path.join("start.json")).map_err(error)?;
        let record: StartRecord = serde_json::from_slice(&text).map_err(|e| error(e.into()))?;
        if record.format == FORMAT { Ok(record.start) } else { Err(error(io::ErrorKind::Unsupported.into())) }
    }

    /// Makes `log`.
    pub fn create_log(&self) -> Result<OwnedFd, RecordError> {
        self.open("log", OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND, 0o640)
    }

    /// Makes `status`, or opens it.
    pub fn open_status(&self) -> Result<OwnedFd, RecordError> {
        self.open("status", OFlags::RDWR | OFlags::CREATE, 0o600)
    }

    /// Bytes in the log.
    pub fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.path.join("log")).map_or(0, |m| m.len())
    }

    /// Whether the end was forgotten.
    pub fn is_done(&self) -> bool {
        self.path.join("done").exists()
    }

    /// Marks the end as forgotten; afterwards only the marker and the log are left.
    pub fn set_done(&self) -> Result<(), RecordError> {
        self.open("done", OFlags::WRONLY | OFlags::CREATE, 0o600)?;
        for file in ["status", "start.json"] {
            let _ = std::fs::remove_file(self.path.join(file));
        }
        Ok(())
    }

    fn open(&self, name: &str, flags: OFlags, mode: u32) -> Result<OwnedFd, RecordError> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::open(self.path.join(name), flags, Mode::from_bits_truncate(mode))
            .map_err(|e| self.error("cannot open", name, e.into()))
    }

    fn error(&self, action: &'static str, name: &str, source: io::Error) -> RecordError {
        let path = if name.is_empty() { self.path.clone() } else { self.path.join(name) };
        RecordError { action, path, source }
    }
}

/// Takes the lock of `status` for this process without waiting; false when another process holds it.
pub fn try_lock(status: impl AsFd) -> io::Result<bool> {
    match rustix::fs::fcntl_lock(status, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The process that holds the lock, seen from this process' pid namespace.
pub fn lock_holder(status: impl AsFd) -> io::Result<Option<Pid>> {
    let probe = Flock::from(FlockType::WriteLock);
    Ok(rustix::process::fcntl_getlk(status, &probe)?.and_then(|lock| lock.pid))
}
