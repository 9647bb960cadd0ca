//! etcd's log: a file of bounded size that etcd writes by itself, so that a stopped server never makes its etcd wait.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Beyond this the log becomes `etcd.log.1` and begins anew; together they take at most twice of it.
const SIZE_MAX_BYTES: u64 = 16 << 20;
/// How far from the end the last lines are looked for.
const TAIL_BYTES: u64 = 16 << 10;
/// A line is cut to this in an error.
const LINE_CHARS_MAX: usize = 300;

/// The log of one start of etcd and those before it.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    /// Where the current start's lines begin.
    begin: u64,
}

impl LogFile {
    /// Opens the log for one start, and returns the handle for etcd's stderr. It appends: what truncates it later does not
    /// leave a hole.
    pub(super) fn open(path: &Path) -> io::Result<(LogFile, File)> {
        let mut log = LogFile { path: path.to_path_buf(), begin: 0 };
        log.bound();
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        log.begin = file.metadata()?.len();
        Ok((log, file))
    }

    /// Keeps the file bounded: copies it away and empties it, since etcd holds it open. Lines written in between are lost. A
    /// failure is for the next call; a log must not stop a member.
    pub(super) fn bound(&mut self) {
        let too_big = std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() > SIZE_MAX_BYTES);
        if too_big && std::fs::copy(&self.path, self.path.with_extension("log.1")).is_ok() {
            let emptied = OpenOptions::new().write(true).open(&self.path).and_then(|file| file.set_len(0));
            if let Err(error) = emptied {
                tracing::warn!(path = %self.path.display(), %error, "cannot bound the log of etcd");
            }
            self.begin = 0;
        }
    }

    /// The last lines of the current start, at most `count`, oldest first.
    pub(super) fn last_lines(&self, count: usize) -> Vec<String> {
        self.tail().map(|text| last_lines(&text, count)).unwrap_or_default()
    }

    fn tail(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let len = file.metadata()?.len();
        let begin = self.begin.min(len).max(len.saturating_sub(TAIL_BYTES));
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn last_lines(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let skip = lines.len().saturating_sub(count);
    lines[skip..].iter().map(|line| line.chars().take(LINE_CHARS_MAX).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn only_lines_of_this_start_are_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.log");
        std::fs::write(&path, "of an earlier start\n").unwrap();
        let (log, mut file) = LogFile::open(&path).unwrap();
        assert!(log.last_lines(5).is_empty());
        file.write_all(b"one\n\ntwo\nthree\n").unwrap();
        assert_eq!(log.last_lines(2), ["two", "three"]);
        assert_eq!(log.last_lines(9), ["one", "two", "three"]);
    }

    #[test]
    fn a_big_log_is_moved_aside_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.log");
        let (mut log, mut file) = LogFile::open(&path).unwrap();
        file.set_len(SIZE_MAX_BYTES + 1).unwrap();
        log.bound();
        file.write_all(b"after\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after\n");
        assert!(dir.path().join("etcd.log.1").exists());
        assert_eq!(log.last_lines(1), ["after"]);
    }
}
