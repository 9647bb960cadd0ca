//! One attempt's log on this node's disk: as the task wrote it, or compressed after its end, or a copy of another node's. Read at offsets, and searched
//! for the last lines. Blocking reads, on tokio's threads for that.

use super::packed::{Packed, read_full};
use rustix::fs::OFlags;
use shoal_container::log_index::Index;
use shoal_container::truncation_marker;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of one chunk.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;
/// The end of a log in which the marker of a cut log is looked for.
const MARKER_BYTES_MAX: u64 = 512;
/// More than an index of times ever has.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// As the task wrote it.
pub const RAW: &str = "log";
/// When which bytes of it came.
pub const INDEX: &str = "log.index";
/// Both, compressed, in their place.
pub const PACKED: &str = "log.zst";

/// An open log.
#[derive(Clone)]
pub struct LogFile {
    content: Arc<Content>,
}

enum Content {
    /// Grows while the attempt runs.
    Raw {
        file: File,
        directory: PathBuf,
    },
    Packed(Packed),
}

impl LogFile {
    /// Opens the log of the attempt with this directory; `None` while it does not exist.
    pub async fn open(directory: &Path) -> io::Result<Option<LogFile>> {
        let directory = directory.to_owned();
        blocking(move || open(&directory)).await
    }

    /// Opens another node's log of which this node has a copy; `None` when it has none. One that was cut off by a power cut counts as none.
    pub async fn open_copy(path: &Path) -> io::Result<Option<LogFile>> {
        let path = path.to_owned();
        blocking(move || match open_packed(&path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(path = %path.display(), %error, "copy of a log cannot be used");
                Ok(None)
            }
            opened => opened,
        })
        .await
    }

    /// Up to [`CHUNK_BYTES_MAX`] bytes from `offset` on; empty at the end.
    pub async fn read(&self, offset: u64) -> io::Result<Vec<u8>> {
        self.blocking(move |content| {
            let mut bytes = vec![0; CHUNK_BYTES_MAX];
            let count = content.read_at(&mut bytes, offset)?;
            bytes.truncate(count);
            bytes.shrink_to_fit();
            Ok(bytes)
        })
        .await
    }

    /// Where the last `lines` lines begin. A last line without its newline counts as one.
    pub async fn tail_offset(&self, lines: u64) -> io::Result<u64> {
        self.blocking(move |content| tail_offset(content, lines)).await
    }

    /// Where the bytes begin that may have come at this time (milliseconds since 1970) or later: the start of a log without times, the present end when
    /// all came before.
    pub async fn since_offset(&self, at_ms: u64) -> io::Result<u64> {
        self.blocking(move |content| {
            // The length first: what is written meanwhile is new.
            let len = content.len()?;
            let index = content.index()?;
            if index.marks().is_empty() { Ok(0) } else { Ok(index.since(at_ms).unwrap_or(len)) }
        })
        .await
    }

    /// When which bytes came, as far as it is known now.
    pub async fn index(&self) -> io::Result<Index> {
        self.blocking(Content::index).await
    }

    /// Whether the log ends with the marker that its writer puts where it was cut.
    pub async fn is_truncated(&self) -> io::Result<bool> {
        self.blocking(|content| {
            let start = content.len()?.saturating_sub(MARKER_BYTES_MAX);
            let mut bytes = vec![0; CHUNK_BYTES_MAX];
            let count = content.read_at(&mut bytes, start)?;
            Ok(ends_with_marker(&bytes[..count]))
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Content) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let content = self.content.clone();
        blocking(move || work(&content)).await
    }
}

impl Content {
    fn len(&self) -> io::Result<u64> {
        match self {
            Content::Raw { file, .. } => Ok(file.metadata()?.len()),
            Content::Packed(packed) => Ok(packed.bytes()),
        }
    }

    /// Fills `bytes` as far as the log goes; how far that was.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Content::Raw { file, .. } => read_full(file, bytes, offset),
            Content::Packed(packed) => packed.read_at(bytes, offset),
        }
    }

    fn index(&self) -> io::Result<Index> {
        match self {
            Content::Raw { directory, .. } => {
                let index = Index::parse(&read_index(&directory.join(INDEX))?);
                // Where the log was compressed meanwhile, it is in there.
                match if index.marks().is_empty() { open_packed(&directory.join(PACKED))? } else { None } {
                    Some(packed) => packed.content.index(),
                    None => Ok(index),
                }
            }
            Content::Packed(packed) => Ok(Index::parse(&packed.index()?)),
        }
    }
}

/// The raw log, else the compressed one. That one comes before the other goes, so this order finds one of them at any moment.
fn open(directory: &Path) -> io::Result<Option<LogFile>> {
    match open_plain(&directory.join(RAW))? {
        Some(file) => {
            let content = Content::Raw { file, directory: directory.to_owned() };
            Ok(Some(LogFile { content: Arc::new(content) }))
        }
        None => open_packed(&directory.join(PACKED)),
    }
}

fn open_packed(path: &Path) -> io::Result<Option<LogFile>> {
    let Some(file) = open_plain(path)? else { return Ok(None) };
    Ok(Some(LogFile { content: Arc::new(Content::Packed(Packed::open(file)?)) }))
}

/// Opens for reading; `None` when it does not exist. Links are not followed, and only a plain file is a log.
pub fn open_plain(path: &Path) -> io::Result<Option<File>> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).expect("open flags fit an int");
    match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Err(io::Error::other("not a plain file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// All of an index of times; empty when there is none.
pub fn read_index(path: &Path) -> io::Result<Vec<u8>> {
    let Some(file) = open_plain(path)? else { return Ok(Vec::new()) };
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len().min(INDEX_BYTES_MAX)).unwrap_or(0)];
    let count = read_full(&file, &mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}

fn tail_offset(content: &Content, lines: u64) -> io::Result<u64> {
    let size = content.len()?;
    let mut bytes = vec![0; CHUNK_BYTES_MAX];
    let (mut end, mut newlines) = (size, 0);
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES_MAX as u64);
        let block = usize::try_from(end - start).expect("a block is at most a chunk");
        let count = content.read_at(&mut bytes[..block], start)?;
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
