//! The log of an attempt: what the task writes, up to the cap and exactly that far, then one line that says so. What comes after is read and
//! dropped, so that a task neither blocks nor dies for having much to say. Beside it goes the index of times.
//!
//! The task writes to a pipe, not to the file: `docs/decisions/0005-logs.md` has the figures.

use crate::deadline::boottime_ms;
use crate::log_index::IndexWriter;
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes moved at a time: the capacity of a pipe.
const CHUNK_BYTES: usize = 64 * 1024;

/// The line behind a log that was cut after `bytes_max` bytes. It starts with a line end, since the cut may be within a line.
pub fn truncation_marker(bytes_max: u64) -> String {
    format!("\n[shoal: log truncated after {bytes_max} bytes]\n")
}

/// Writes to the log file and counts.
pub struct LogWriter<'a> {
    file: BorrowedFd<'a>,
    bytes_max: u64,
    bytes: u64,
    truncated: bool,
    /// Empty until a read fills it, so that a task which says nothing costs its stub no page.
    buffer: Vec<u8>,
    index: BorrowedFd<'a>,
    times: IndexWriter,
}

/// What [`LogWriter::pump`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Pumped {
    /// Bytes; there may be more.
    Some,
    /// Nothing for now.
    Empty,
    /// All writers are gone.
    Closed,
}

impl<'a> LogWriter<'a> {
    /// A writer to an empty file and its empty index.
    pub fn new(file: BorrowedFd<'a>, index: BorrowedFd<'a>, bytes_max: u64) -> LogWriter<'a> {
        let times = IndexWriter::new(bytes_max);
        LogWriter {
            file,
            bytes_max,
            bytes: 0,
            truncated: false,
            buffer: Vec::with_capacity(CHUNK_BYTES),
            index,
            times,
        }
    }

    /// Whether the log was cut: by its cap, or because the disk would not take it.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Moves what one read of the pipe gives. The pipe is non-blocking.
    pub fn pump(&mut self, pipe: impl AsFd) -> Pumped {
        self.buffer.clear();
        let read = match rustix::io::read(pipe, rustix::buffer::spare_capacity(&mut self.buffer)) {
            Ok(0) => return Pumped::Closed,
            Ok(read) => read,
            Err(Errno::AGAIN | Errno::INTR) => return Pumped::Empty,
            Err(_) => return Pumped::Closed,
        };
        if !self.truncated {
            let room = usize::try_from(self.bytes_max - self.bytes).unwrap_or(usize::MAX);
            let kept = read.min(room);
            self.note_time();
            let whole = write_all(self.file, &self.buffer[..kept]);
            self.bytes += kept as u64;
            if kept < read || !whole {
                self.truncated = true;
                write_all(self.file, truncation_marker(self.bytes_max).as_bytes());
            }
        }
        Pumped::Some
    }

    /// Before the bytes are written, so that whoever sees them sees their time. Without room on the disk a log has fewer times, and no harm is done.
    fn note_time(&mut self) {
        if let Some(record) = self.times.record(self.bytes, boottime_ms(), wall_ms) {
            write_all(self.index, &record);
        }
    }
}

/// For people only.
fn wall_ms() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// Whether all was written.
fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return false,
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_index::Index;
    use rustix::pipe::{PipeFlags, pipe_with};

    fn log_of(parts: &[&[u8]], bytes_max: u64) -> (Vec<u8>, bool) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let index = tempfile::NamedTempFile::new().unwrap();
        let mut log = LogWriter::new(file.as_file().as_fd(), index.as_file().as_fd(), bytes_max);
        for part in parts {
            let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
            rustix::io::write(&write, part).unwrap();
            assert_eq!(log.pump(&read), Pumped::Some);
            assert_eq!(log.pump(&read), Pumped::Empty);
            drop(write);
            assert_eq!(log.pump(&read), Pumped::Closed);
        }
        let index = Index::parse(&std::fs::read(index.path()).unwrap());
        assert_eq!(index.marks()[0].offset, 0, "the first byte has a time");
        (std::fs::read(file.path()).unwrap(), log.truncated())
    }

    #[test]
    fn the_cap_is_exact_and_marked_only_when_something_was_lost() {
        assert_eq!(log_of(&[b"abc", b"def"], 6), (b"abcdef".to_vec(), false));
        let cut = [b"abcde".as_slice(), truncation_marker(5).as_bytes()].concat();
        assert_eq!(log_of(&[b"abc", b"def", b"ghi"], 5), (cut, true));
        assert_eq!(log_of(&[b"x"], 0), (truncation_marker(0).into_bytes(), true));
    }
}
