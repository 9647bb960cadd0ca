//! Copies of logs: after an attempt's end its node gives one peer a copy ([`send`]), which is read when the attempt's node is gone ([`find`]). Who has
//! it follows from the task's id and the names of the nodes, so nothing about it is in the store.
//!
//! A copy is a log in compressed form, in a file by its name ([`LogName`]). It is renamed to that only when it is whole, but not brought to the disk at
//! once: the original is on another disk, and etcd needs this one's writes more. What a power cut leaves of it has no seek table and counts as none.

pub mod find;
pub mod keep;
pub mod send;

use super::file::open_plain;
use super::name::LogName;
use super::packed::Packed;
use crate::full_disk::{self, FREE_PERCENT_MIN};
use rustix::fs::OFlags;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::rendezvous;
use std::cmp::Reverse;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// A copy that is not whole yet begins so; no log's name does.
const TEMPORARY: char = '.';

/// `nodes`, which are names, in the order in which they are to have a copy of this task's logs. The same on all nodes, whatever identities the
/// nodes have: a node that comes back under a new one still has what it had.
pub fn ranked<T>(task: TaskId, mut nodes: Vec<T>, name: impl Fn(&T) -> &str) -> Vec<T> {
    nodes.sort_by_cached_key(|node| {
        let name = name(node);
        (
            Reverse(rendezvous::weight(task.0, NodeId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())))),
            name.to_owned(),
        )
    });
    nodes
}

/// Why a copy is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RefusedCopy {
    /// All copies together would be more than the node keeps.
    #[error("copies of logs take {used} bytes here, {asked} more would pass the limit of {max}")]
    Full {
        /// Bytes that they take.
        used: u64,
        /// Of the copy.
        asked: u64,
        /// `--log-copies-max`.
        max: u64,
    },
    /// The disk has too little room.
    #[error("less than {FREE_PERCENT_MIN} % of the disk is free")]
    DiskFull,
    /// It is no log, or not whole.
    #[error("not a whole log")]
    Broken,
    /// The system refused.
    #[error("cannot keep a copy in {}", .path.display())]
    Io {
        /// `DATA/log-copies`.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
}

/// The copies of other nodes' logs on this node's disk. All its calls block for the disk.
#[derive(Debug)]
pub struct Copies {
    dir: PathBuf,
    bytes: AtomicU64,
    bytes_max: u64,
    /// Of temporary names.
    next: AtomicU64,
}

impl Copies {
    /// Opens `DATA/log-copies`, made if it is not there, and removes what came half. At most `bytes_max` are kept.
    pub fn open(dir: PathBuf, bytes_max: u64) -> io::Result<Copies> {
        std::fs::create_dir_all(&dir)?;
        let mut bytes = 0;
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            match entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                true => std::fs::remove_file(entry.path())?,
                false => bytes += entry.metadata()?.len(),
            }
        }
        Ok(Copies { dir, bytes: AtomicU64::new(bytes), bytes_max, next: AtomicU64::default() })
    }

    /// `DATA/log-copies`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the copy of this log is, if there is one.
    pub fn path(&self, log: LogName) -> PathBuf {
        self.dir.join(log.to_string())
    }

    /// Whether there is one that can be read: what a power cut has left of one counts as none.
    pub fn has(&self, log: LogName) -> bool {
        let opened = open_plain(&self.path(log));
        opened.is_ok_and(|file| file.is_some_and(|file| Packed::open(file).is_ok()))
    }

    /// Bytes of all copies.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Begins a copy of so many bytes.
    pub fn begin(&self, log: LogName, bytes: u64) -> Result<Incoming, RefusedCopy> {
        let used = self.bytes();
        if used.saturating_add(bytes) > self.bytes_max {
            return Err(RefusedCopy::Full { used, asked: bytes, max: self.bytes_max });
        }
        // A peer's logs are the first thing that a full disk can do without.
        let free = full_disk::free_percent_after(&self.dir, 0).map_err(|error| self.failed(error))?;
        if free < FREE_PERCENT_MIN {
            return Err(RefusedCopy::DiskFull);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!("{TEMPORARY}{number}.{log}"));
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).expect("open flags fit an int");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o640)
            .custom_flags(flags)
            .open(&temporary)
            .map_err(|error| self.failed(error))?;
        Ok(Incoming { log, file, temporary: Some(temporary), missing: bytes, bytes })
    }

    /// Takes more of it.
    pub fn add(&self, copy: &mut Incoming, data: &[u8]) -> Result<(), RefusedCopy> {
        copy.missing = copy.missing.checked_sub(data.len() as u64).ok_or(RefusedCopy::Broken)?;
        copy.file.write_all(data).map_err(|error| self.failed(error))
    }

    /// Keeps it, if all of it came and it is a log.
    pub fn finish(&self, mut copy: Incoming) -> Result<(), RefusedCopy> {
        let file = copy.file.try_clone().map_err(|error| self.failed(error))?;
        if copy.missing > 0 || Packed::open(file).is_err() {
            return Err(RefusedCopy::Broken);
        }
        if let Some(temporary) = &copy.temporary {
            if !self.has(copy.log) {
                // Half of one must not keep the whole one out.
                self.remove(copy.log).map_err(|error| self.failed(error))?;
            }
            // Never over one that is there: its readers would see another log. Two nodes cannot both have been this member of this attempt.
            let kept = std::fs::hard_link(temporary, self.path(copy.log));
            match kept {
                Ok(()) => self.bytes.fetch_add(copy.bytes, Ordering::Relaxed),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => 0,
                Err(error) => return Err(self.failed(error)),
            };
            // Without the temporary name from here on, or by the drop.
            if std::fs::remove_file(temporary).is_ok() {
                copy.temporary = None;
            }
        }
        Ok(())
    }

    /// Removes one; `false` when there was none.
    pub fn remove(&self, log: LogName) -> io::Result<bool> {
        let path = self.path(log);
        let bytes = match path.symlink_metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        std::fs::remove_file(&path)?;
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        Ok(true)
    }

    fn failed(&self, source: io::Error) -> RefusedCopy {
        RefusedCopy::Io { path: self.dir.clone(), source }
    }
}

/// A copy that is coming in; dropped before it is whole it leaves nothing.
#[derive(Debug)]
pub struct Incoming {
    log: LogName,
    file: File,
    temporary: Option<PathBuf>,
    bytes: u64,
    missing: u64,
}

impl Incoming {
    /// Bytes that have not come yet.
    pub fn missing(&self) -> u64 {
        self.missing
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // What stays is removed at the next start.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::packed;
    use shoal_core::id::AttemptId;

    fn attempt(n: u128) -> LogName {
        LogName { attempt: AttemptId { task: TaskId(Uuid::from_u128(n)), number: 1 }, rank: 0 }
    }

    fn log(text: &[u8]) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        let mut out = Vec::new();
        packed::pack(&file, b"", &mut out).unwrap();
        out
    }

    fn keep(copies: &Copies, n: u128, bytes: &[u8]) -> Result<(), RefusedCopy> {
        let mut copy = copies.begin(attempt(n), bytes.len() as u64)?;
        for part in bytes.chunks(7) {
            copies.add(&mut copy, part)?;
        }
        copies.finish(copy)
    }

    #[test]
    fn a_copy_is_kept_whole_or_not_at_all_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let copies = Copies::open(dir.path().join("c"), 1000).unwrap();
        let bytes = log(b"text");
        keep(&copies, 1, &bytes).unwrap();
        keep(&copies, 1, &log(b"other")).unwrap();
        assert_eq!(std::fs::read(copies.path(attempt(1))).unwrap(), bytes, "the first stays");
        let mut half = copies.begin(attempt(2), bytes.len() as u64).unwrap();
        copies.add(&mut half, &bytes[..5]).unwrap();
        assert!(matches!(copies.finish(half), Err(RefusedCopy::Broken)));
        assert!(matches!(keep(&copies, 2, b"no log at all"), Err(RefusedCopy::Broken)));
        let mut long = copies.begin(attempt(2), 1).unwrap();
        assert!(matches!(copies.add(&mut long, b"xy"), Err(RefusedCopy::Broken)));
        drop(long);
        assert_eq!(std::fs::read_dir(copies.dir()).unwrap().count(), 1, "nothing else is left");
        assert_eq!(copies.bytes(), bytes.len() as u64);
        std::fs::write(copies.path(attempt(1)), &bytes[..bytes.len() / 2]).unwrap();
        assert!(!copies.has(attempt(1)), "half of one is none");
        keep(&copies, 1, &bytes).unwrap();
        assert!(copies.has(attempt(1)), "the whole one takes its place");
        copies.bytes.store(bytes.len() as u64, Ordering::Relaxed);
        assert!(copies.remove(attempt(1)).unwrap() && !copies.remove(attempt(1)).unwrap());
        assert_eq!(copies.bytes(), 0);
    }

    #[test]
    fn members_of_one_attempt_have_a_copy_each() {
        let dir = tempfile::tempdir().unwrap();
        let copies = Copies::open(dir.path().to_owned(), 1000).unwrap();
        let member = |rank| LogName { rank, ..attempt(1) };
        for rank in [1, 2] {
            let bytes = log(&[rank as u8; 9]);
            let mut copy = copies.begin(member(rank), bytes.len() as u64).unwrap();
            copies.add(&mut copy, &bytes).unwrap();
            copies.finish(copy).unwrap();
            assert_eq!(std::fs::read(copies.path(member(rank))).unwrap(), bytes);
        }
        assert!(!copies.has(member(0)) && copies.has(member(1)) && copies.has(member(2)));
    }

    #[test]
    fn the_limit_holds_over_a_restart_and_half_a_copy_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = log(&[7; 100]);
        let max = bytes.len() as u64 * 2;
        let copies = Copies::open(dir.path().to_owned(), max).unwrap();
        keep(&copies, 1, &bytes).unwrap();
        std::mem::forget(copies.begin(attempt(9), 1).unwrap());
        let copies = Copies::open(dir.path().to_owned(), max).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        keep(&copies, 2, &bytes).unwrap();
        assert!(matches!(keep(&copies, 3, &bytes), Err(RefusedCopy::Full { .. })));
        assert!(copies.has(attempt(2)) && !copies.has(attempt(3)));
    }

    #[test]
    fn nodes_rank_the_same_everywhere_and_share_the_tasks() {
        let mut firsts = [0; 3];
        for n in 0..3000 {
            let task = TaskId(Uuid::from_u128(n << 64 | 0x7000_8000));
            let one = ranked(task, vec!["a", "b", "c"], |name| name);
            assert_eq!(one, ranked(task, vec!["c", "a", "b"], |name| name));
            assert_eq!(
                ranked(task, vec!["a", "b", "c", "d"], |name| name).iter().filter(|n| **n != "d").count(),
                3
            );
            firsts[["a", "b", "c"].iter().position(|name| *name == one[0]).unwrap()] += 1;
        }
        assert!(firsts.iter().all(|count| (850..1150).contains(count)), "{firsts:?}");
    }
}
