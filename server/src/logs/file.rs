//! One attempt's log file: read at offsets, and searched for the last lines. Blocking reads, on tokio's threads for that.

use rustix::fs::OFlags;
use shoal_container::truncation_marker;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Bytes of one chunk.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;
/// The end of a log in which the marker of a cut log is looked for.
const MARKER_BYTES_MAX: u64 = 512;

/// An open log.
#[derive(Clone)]
pub struct LogFile {
    file: Arc<File>,
}

impl LogFile {
    /// Opens it; `None` while it does not exist. Links are not followed, and only a plain file is a log.
    pub async fn open(path: &Path) -> io::Result<Option<LogFile>> {
        let path = path.to_owned();
        blocking(move || open(&path)).await
    }

    /// Up to [`CHUNK_BYTES_MAX`] bytes from `offset` on; empty at the end.
    pub async fn read(&self, offset: u64) -> io::Result<Vec<u8>> {
        let file = self.file.clone();
        blocking(move || {
            let mut bytes = vec![0; CHUNK_BYTES_MAX];
            let count = read_full(&file, &mut bytes, offset)?;
            bytes.truncate(count);
            bytes.shrink_to_fit();
            Ok(bytes)
        })
        .await
    }

    /// Where the last `lines` lines begin. A last line without its newline counts as one.
    pub async fn tail_offset(&self, lines: u64) -> io::Result<u64> {
        let file = self.file.clone();
        blocking(move || tail_offset(&file, lines)).await
    }

    /// Whether the log ends with the marker that its writer puts where it was cut.
    pub async fn is_truncated(&self) -> io::Result<bool> {
        let file = self.file.clone();
        blocking(move || {
            let start = file.metadata()?.len().saturating_sub(MARKER_BYTES_MAX);
            let mut bytes = vec![0; CHUNK_BYTES_MAX];
            let count = read_full(&file, &mut bytes, start)?;
            Ok(ends_with_marker(&bytes[..count]))
        })
        .await
    }
}

fn open(path: &Path) -> io::Result<Option<LogFile>> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).expect("open flags fit an int");
    match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(LogFile { file: Arc::new(file) })),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "not a plain file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_full(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn tail_offset(file: &File, lines: u64) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut bytes = vec![0; CHUNK_BYTES_MAX];
    let (mut end, mut newlines) = (size, 0);
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES_MAX as u64);
        let block = usize::try_from(end - start).expect("a block is at most a chunk");
        let count = read_full(file, &mut bytes[..block], start)?;
        for at in (0..count).rev().filter(|at| bytes[*at] == b'\n') {
            let after = start + at as u64 + 1;
            // The newline that ends the last line begins no line after it.
            if after == size {
                continue;
            }
            newlines += 1;
            if newlines == lines {
                return Ok(after);
            }
        }
        end = start;
    }
    Ok(0)
}

/// The marker says after how many bytes the log was cut; what only looks like one is not one.
fn ends_with_marker(tail: &[u8]) -> bool {
    let Some(begin) = tail.strip_suffix(b"\n").and_then(|line| line.iter().rposition(|byte| *byte == b'\n'))
    else {
        return false;
    };
    let tail = String::from_utf8_lossy(&tail[begin..]);
    let digits: String = tail.chars().filter(char::is_ascii_digit).collect();
    digits.parse().is_ok_and(|bytes_max| truncation_marker(bytes_max) == tail)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
