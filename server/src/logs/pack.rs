//! Puts the compressed form of a finished log in the place of the log and its index.
//!
//! At each moment, and after a power cut at any of them, the log is there whole in one form at least: the compressed one is on the disk under its own
//! name before the other goes. One log at a time, on a thread that yields the processor to everybody else.

use super::file::{INDEX, PACKED, RAW, open_plain, read_index};
use super::packed::{self, Packed};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};

/// A log below this stays as it is: it would not take fewer blocks of the disk.
pub const PACK_BYTES_MIN: u64 = 4096;
/// What others need goes first.
const NICE: i32 = 10;
/// A compressed log that is not whole yet.
const TEMPORARY: &str = "log.zst.tmp";

/// The thread that compresses.
pub struct Packer {
    jobs: mpsc::Sender<Job>,
}

type Job = (PathBuf, oneshot::Sender<io::Result<()>>);

impl Packer {
    /// Starts the thread; it ends when this is dropped.
    pub fn start() -> io::Result<Packer> {
        let (jobs, mut inbox) = mpsc::channel::<Job>(1);
        std::thread::Builder::new().name("log-packer".to_owned()).spawn(move || {
            // Of this thread alone. It works as well without.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
            while let Some((directory, done)) = inbox.blocking_recv() {
                // Nobody waits any more when the server stops.
                let _ = done.send(pack(&directory));
            }
        })?;
        Ok(Packer { jobs })
    }

    /// Compresses the log of the ended attempt with this directory, if it has one that is worth it.
    pub async fn pack(&self, directory: PathBuf) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        let ended = || io::Error::other("the thread that compresses logs has ended");
        self.jobs.send((directory, done)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// Blocks for the disk and the processor.
pub fn pack(directory: &Path) -> io::Result<()> {
    let raw = directory.join(RAW);
    let Some(log) = open_plain(&raw)? else { return Ok(()) };
    let packed = directory.join(PACKED);
    // Whole if it is there: we were ended between its coming and the other's going.
    if open_plain(&packed)?.is_none() {
        if log.metadata()?.len() < PACK_BYTES_MIN {
            return Ok(());
        }
        let temporary = directory.join(TEMPORARY);
        let index = read_index(&directory.join(INDEX))?;
        if let Err(error) = write(&log, &index, &temporary)
            .and_then(|()| check(&log, &temporary))
            .and_then(|()| std::fs::rename(&temporary, &packed))
        {
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        File::open(directory)?.sync_all()?;
    }
    std::fs::remove_file(&raw)?;
    match std::fs::remove_file(directory.join(INDEX)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(log: &File, index: &[u8], path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).expect("open flags fit an int");
    let file = File::options().write(true).create_new(true).mode(0o640).custom_flags(flags).open(path)?;
    let mut out = BufWriter::new(file);
    packed::pack(log, index, &mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// It is all that will be left of the log: a reader must be able to open it, and find as many bytes.
fn check(log: &File, packed: &Path) -> io::Result<()> {
    let (bytes, expected) = (Packed::open(File::open(packed)?)?.bytes(), log.metadata()?.len());
    match bytes == expected {
        true => Ok(()),
        false => Err(io::Error::other(format!("compressed {bytes} bytes of a log of {expected}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::file::LogFile;
    use shoal_container::log_index::IndexWriter;

    fn attempt(bytes: usize) -> (tempfile::TempDir, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let text: Vec<u8> = (0..).flat_map(|n| format!("line {n}\n").into_bytes()).take(bytes).collect();
        std::fs::write(dir.path().join(RAW), &text).unwrap();
        let index = IndexWriter::new(1 << 20).record(0, 7, || 1_000).unwrap();
        std::fs::write(dir.path().join(INDEX), index).unwrap();
        (dir, text)
    }

    async fn all(log: &LogFile) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let chunk = log.read(bytes.len() as u64).await.unwrap();
            if chunk.is_empty() {
                return bytes;
            }
            bytes.extend(chunk);
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_packed_log_reads_the_same_and_who_has_it_open_reads_on() {
        let (dir, text) = attempt(1 << 20);
        let before = LogFile::open(dir.path()).await.unwrap().unwrap();
        Packer::start().unwrap().pack(dir.path().to_owned()).await.unwrap();
        assert_eq!(names(dir.path()), [PACKED]);
        let after = LogFile::open(dir.path()).await.unwrap().unwrap();
        assert!(all(&before).await == text && all(&after).await == text);
        assert_eq!(after.tail_offset(3).await.unwrap(), before.tail_offset(3).await.unwrap());
        assert_eq!(after.index().await.unwrap().marks()[0].at_ms, 1_000);
        assert_eq!(before.index().await.unwrap(), after.index().await.unwrap());
        assert_eq!(after.since_offset(500).await.unwrap(), 0);
        assert_eq!(after.since_offset(5_000).await.unwrap(), 1 << 20);
    }

    #[tokio::test]
    async fn what_a_crash_left_at_any_step_is_finished_later() {
        let (dir, text) = attempt(1 << 20);
        // While it was written.
        std::fs::write(dir.path().join(TEMPORARY), b"half").unwrap();
        pack(dir.path()).unwrap();
        assert_eq!(names(dir.path()), [PACKED]);
        // Between its coming and the other's going, and between the log's going and its index's.
        std::fs::write(dir.path().join(RAW), &text).unwrap();
        pack(dir.path()).unwrap();
        assert_eq!(names(dir.path()), [PACKED]);
        assert!(all(&LogFile::open(dir.path()).await.unwrap().unwrap()).await == text);
    }

    #[tokio::test]
    async fn small_logs_stay_and_links_are_no_logs() {
        let (dir, _) = attempt(4095);
        pack(dir.path()).unwrap();
        assert_eq!(names(dir.path()), [RAW, INDEX]);
        let (link, _) = attempt(1 << 20);
        std::fs::remove_file(link.path().join(RAW)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", link.path().join(RAW)).unwrap();
        assert!(LogFile::open(link.path()).await.is_err());
        pack(link.path()).unwrap_err();
        std::fs::remove_file(link.path().join(RAW)).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            link.path().join(RAW),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(LogFile::open(link.path()).await.is_err(), "a pipe that nobody writes to is not waited for");
    }
}
