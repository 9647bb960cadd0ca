//! An attempt's directory: the name of the attempt, `ATTEMPTS/ID/`, made exclusively before anything of it runs, which is why an
//! id can start only once.
//!
//! | file | content | by |
//! |---|---|---|
//! | `log` | standard output and error of the task | stub |
//! | `log.index` | when which bytes of it came ([`crate::log_index`]) | stub |
//! | `status` | a line of JSON on how it was started ([`StartRecord`]) and, once it ended, one on how ([`StatusRecord`]) | runner, then stub |
//! | `done` | what `status` becomes once the end was forgotten | runner |
//!
//! Once the end is recorded, the server may put `log.zst`, which holds both, in the place of `log` and `log.index`.
//!
//! Where the server is another user than the runner, the directory becomes the server's with the last step, and the runner never opens anything in it
//! again (`runner/server_user.rs`).
//!
//! Three files and no more: making a file is what a start's own bookkeeping costs most.
//!
//! The lock on `status` (a POSIX record lock, which dies with its process and tells its holder's pid) decides who may write the end:
//! a stub takes it before it does anything, a restarted runner takes it before it calls an attempt vanished. Whoever comes second
//! finds it taken or the end written, so an attempt that was reported as vanished can never run afterwards. Such a lock is lost when its
//! process closes any descriptor of the file: while it is held, the file is used through one descriptor alone.

use crate::protocol::{Cause, End, FRAME_BYTES_MAX, Start};
use rustix::fs::{FlockOperation, Mode, OFlags, Uid};
use rustix::process::{Flock, FlockType, Pid};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Format of the two JSON records; a reader of another format reports the attempt as vanished.
pub const FORMAT: u32 = 1;

/// A start came in a frame, and the texts of an end name a path or two.
const STATUS_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

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

/// The first line of `status`.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// The request as it was received.
    pub start: Start,
    /// The number of the slot it was lent.
    #[serde(default)]
    pub slot: Option<u32>,
    /// The number under which its stub has the directory open that it shares with the other members of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<i32>,
}

/// The last line of `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// What ended the attempt.
    pub cause: Cause,
    /// The log was cut.
    pub log_truncated: bool,
    /// The kernel killed a process of it for lack of memory. Noted by the runner, before it removes the control group that knows.
    #[serde(default)]
    pub oom_killed: bool,
}

impl StatusRecord {
    /// A record of this format.
    pub fn new(cause: Cause, log_truncated: bool) -> StatusRecord {
        StatusRecord { format: FORMAT, cause, log_truncated, oom_killed: false }
    }

    /// What is told of it.
    pub fn into_end(self) -> End {
        let StatusRecord { format: _, cause, log_truncated, oom_killed } = self;
        End { cause, oom_killed, log_truncated }
    }

    /// Appends it in one piece. On a line of its own even if the first was cut off by a full disk.
    pub fn append(&self, status: BorrowedFd<'_>) -> io::Result<()> {
        let text = format!("\n{}\n", serde_json::to_string(self)?);
        let written = rustix::io::write(status, text.as_bytes())?;
        if written == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Reads it, if it was written whole.
    pub fn read(status: BorrowedFd<'_>) -> Option<StatusRecord> {
        let text = read_all(status).ok()?;
        let record: StatusRecord =
            text.split(|b| *b == b'\n').rev().find_map(|l| serde_json::from_slice(l).ok())?;
        (record.format == FORMAT).then_some(record)
    }
}

impl StartRecord {
    /// Reads how an attempt was started, if that was written whole.
    pub fn read(status: BorrowedFd<'_>) -> Option<StartRecord> {
        let text = read_all(status).ok()?;
        let record: StartRecord = serde_json::from_slice(text.split(|b| *b == b'\n').next()?).ok()?;
        (record.format == FORMAT).then_some(record)
    }
}

/// All of `status`, through this descriptor.
fn read_all(status: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let bytes = rustix::fs::fstat(status)?.st_size as usize;
    let mut text = vec![0; bytes.min(STATUS_BYTES_MAX)];
    let read = rustix::io::pread(status, &mut text[..], 0)?;
    text.truncate(read);
    Ok(text)
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

    /// Makes the directory; its group, which is the one of the directory above where that hands it on, may read. `AlreadyExists` means that the id was used before.
    pub fn create(&self) -> Result<(), RecordError> {
        std::fs::DirBuilder::new()
            .mode(0o750)
            .create(&self.path)
            .map_err(|e| self.error("cannot make the directory", "", e))
    }

    /// Makes `log`.
    pub fn create_log(&self) -> Result<OwnedFd, RecordError> {
        self.open("log", OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND, 0o640)
    }

    /// Makes `log.index`.
    pub fn create_log_index(&self) -> Result<OwnedFd, RecordError> {
        self.open("log.index", OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND, 0o640)
    }

    /// Makes `status` with its first line; also its length.
    pub fn create_status(
        &self,
        start: &Start,
        slot: u32,
        gang: Option<BorrowedFd<'_>>,
    ) -> Result<(OwnedFd, u64), RecordError> {
        let error = |e| self.error("cannot write", "status", e);
        let record = StartRecord {
            format: FORMAT,
            start: start.clone(),
            slot: Some(slot),
            gang: gang.map(|fd| fd.as_raw_fd()),
        };
        let mut text = serde_json::to_vec(&record).map_err(|e| error(e.into()))?;
        text.push(b'\n');
        let file = self.open_status()?;
        match rustix::io::write(&file, &text) {
            Ok(written) if written == text.len() => Ok((file, written as u64)),
            Ok(_) => Err(error(io::ErrorKind::WriteZero.into())),
            Err(e) => Err(error(e.into())),
        }
    }

    /// Opens `status`; made, and then empty, if it does not exist.
    pub fn open_status(&self) -> Result<OwnedFd, RecordError> {
        self.open("status", OFlags::RDWR | OFlags::CREATE | OFlags::APPEND, 0o600)
    }

    /// Bytes in the log.
    pub fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.path.join("log")).map_or(0, |m| m.len())
    }

    /// Whether the end was forgotten.
    pub fn is_done(&self) -> bool {
        self.path.join("done").exists()
    }

    /// Whether it is a directory, no link to one, and belongs to this process' user: what does not is not, or no longer, the runner's to look at.
    pub fn is_ours(&self) -> bool {
        let ours = rustix::process::geteuid().as_raw();
        std::fs::symlink_metadata(&self.path).is_ok_and(|dir| dir.is_dir() && dir.uid() == ours)
    }

    /// Marks the end as forgotten, and gives the directory to the user who removes it one day, if that is another.
    pub fn set_done(&self, heir: Option<u32>) -> Result<(), RecordError> {
        std::fs::rename(self.path.join("status"), self.path.join("done"))
            .map_err(|e| self.error("cannot rename", "status", e))?;
        self.hand_over(heir)
    }

    /// The second half of [`AttemptDir::set_done`].
    pub fn hand_over(&self, heir: Option<u32>) -> Result<(), RecordError> {
        let Some(uid) = heir else { return Ok(()) };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(&self.path, flags, Mode::empty())
            .and_then(|dir| rustix::fs::fchown(&dir, Some(Uid::from_raw(uid)), None))
            .map_err(|e| self.error("cannot hand over", "", e.into()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Limits, Net, Root, User};
    use std::collections::BTreeMap;

    fn start() -> Start {
        Start {
            id: "a.1".into(),
            command: vec!["true".into()],
            env: BTreeMap::new(),
            workdir: "/work".into(),
            root: Root::Host,
            hostname: "a".into(),
            user: User::NOBODY,
            net: Net::Loopback,
            mounts: Vec::new(),
            gang: false,
            limits: Limits::new(1, 1, 1),
            time_limit_ms: 0,
            kill_grace_ms: 0,
            log_bytes_max: 0,
            deadline_page: "/page".into(),
        }
    }

    #[test]
    fn start_and_end_are_read_back_and_an_id_is_used_once() {
        let attempts = tempfile::tempdir().unwrap();
        let dir = AttemptDir::at(attempts.path(), "a.1");
        dir.create().unwrap();
        assert_eq!(dir.create().unwrap_err().source.kind(), io::ErrorKind::AlreadyExists);
        let (status, bytes) = dir.create_status(&start(), 3, None).unwrap();
        assert_eq!(rustix::fs::fstat(&status).unwrap().st_size as u64, bytes);
        let record = StartRecord::read(status.as_fd()).unwrap();
        assert_eq!((record.start, record.slot), (start(), Some(3)));
        assert_eq!(StatusRecord::read(status.as_fd()), None);
        let end = StatusRecord::new(Cause::Code(7), true);
        end.append(status.as_fd()).unwrap();
        assert_eq!(StatusRecord::read(status.as_fd()), Some(end));
        assert!(dir.is_ours());
        dir.set_done(None).unwrap();
        assert!(dir.is_done());
    }

    #[test]
    fn a_first_line_cut_off_hides_no_end() {
        let attempts = tempfile::tempdir().unwrap();
        let dir = AttemptDir::at(attempts.path(), "a.1");
        dir.create().unwrap();
        let status = dir.open_status().unwrap();
        rustix::io::write(&status, br#"{"format":1,"start":{"id":"a"#).unwrap();
        let end = StatusRecord::new(Cause::Signal(9), false);
        end.append(status.as_fd()).unwrap();
        assert_eq!(StatusRecord::read(status.as_fd()), Some(end));
        assert!(StartRecord::read(status.as_fd()).is_none());
    }
}
