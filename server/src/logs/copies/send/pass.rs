//! A pass over all attempts on the disk whose end is recorded, in steps.

use crate::logs::copies::keep::WANT_LEN_MAX;
use shoal_container::record::AttemptDir;
use shoal_core::id::AttemptId;
use std::fs::ReadDir;
use std::io;
use std::path::{Path, PathBuf};

/// Where a pass is.
pub struct Pass {
    dir: PathBuf,
    position: Position,
}

enum Position {
    Begin,
    At(ReadDir),
    End,
}

impl Pass {
    /// Over this directory of attempts; not begun.
    pub fn new(dir: PathBuf) -> Pass {
        Pass { dir, position: Position::Begin }
    }

    /// The next attempts, as many as one question may name; `None` at the end.
    pub async fn next(&mut self) -> Option<Vec<AttemptId>> {
        let (dir, position) = (self.dir.clone(), std::mem::replace(&mut self.position, Position::End));
        let read = tokio::task::spawn_blocking(move || read_some(&dir, position)).await;
        match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(Some((found, position))) => {
                self.position = position;
                Some(found)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, dir = %self.dir.display(), "attempts not read");
                None
            }
        }
    }
}

fn read_some(dir: &Path, position: Position) -> io::Result<Option<(Vec<AttemptId>, Position)>> {
    let mut entries = match position {
        Position::Begin => std::fs::read_dir(dir)?,
        Position::At(entries) => entries,
        Position::End => return Ok(None),
    };
    let mut found = Vec::new();
    while found.len() < WANT_LEN_MAX {
        let Some(entry) = entries.next() else { return Ok(Some((found, Position::End))) };
        // What does not carry an attempt's name is not ours.
        let attempt: Option<AttemptId> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(attempt.filter(|attempt| AttemptDir::at(dir, &attempt.to_string()).is_done()));
    }
    Ok(Some((found, Position::At(entries))))
}
