//! The node's journal of results (`DATA/journal.jsonl`): an end is on disk, and its log before it, before anybody proposes `complete`.
//! So a result survives a power cut, a full store, and a store that is away for a while.
//!
//! Format: one JSON object a line, `{"id": "TASK.NUMBER", "outcome": {...}}`; a torn last line is ignored. Only add fields.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use shoal_core::id::AttemptId;
use shoal_core::transition::Outcome;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The file is emptied when nothing in it is waited for and it is longer than this.
const TRIM_BYTES: u64 = 256 << 10;
/// Ends waiting to be written; who finds it full waits.
const QUEUE_LEN: usize = 1024;

/// What to write or to let go.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The attempt ended so; answered when it is on disk.
    Ended(AttemptId, Outcome),
    /// Its end is in the store.
    Recorded(AttemptId),
}

#[derive(Serialize, Deserialize)]
struct Line {
    id: String,
    outcome: Outcome,
}

/// The open journal.
pub struct Journal {
    file: File,
    attempts_dir: PathBuf,
    open: BTreeSet<AttemptId>,
    bytes: u64,
}

impl Journal {
    /// Opens it and returns the ends in it; some of them may be in the store already: let those go by [`Entry::Recorded`].
    pub fn open(path: &Path, attempts_dir: &Path) -> anyhow::Result<(Journal, Vec<(AttemptId, Outcome)>)> {
        let file = File::options().create(true).read(true).append(true).open(path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        let lines = BufReader::new(&file).lines().collect::<Result<Vec<_>, _>>()?;
        let parse = |line: &String| {
            let line: Line = serde_json::from_str(line).ok()?;
            Some((line.id.parse().ok()?, line.outcome))
        };
        let ends: Vec<(AttemptId, Outcome)> = lines.iter().filter_map(parse).collect();
        let bytes = file.metadata()?.len();
        let mut file = file;
        if bytes > 0 {
            // A torn last line must not swallow the next one.
            file.write_all(b"\n")?;
        }
        let open = ends.iter().map(|(id, _)| *id).collect();
        Ok((Journal { file, attempts_dir: attempts_dir.to_owned(), open, bytes }, ends))
    }

    /// Writes and lets go; returns what is on disk now. Blocks for the disk.
    fn write(&mut self, entries: &[Entry]) -> anyhow::Result<()> {
        let mut text = Vec::new();
        for entry in entries {
            match entry {
                Entry::Ended(id, outcome) => {
                    self.sync_log(*id)?;
                    serde_json::to_writer(&mut text, &Line { id: id.to_string(), outcome: outcome.clone() })?;
                    text.push(b'\n');
                    self.open.insert(*id);
                }
                Entry::Recorded(id) => {
                    self.open.remove(id);
                }
            }
        }
        if !text.is_empty() {
            self.file.write_all(&text)?;
            self.file.sync_data()?;
            self.bytes += text.len() as u64;
        } else if self.open.is_empty() && self.bytes > TRIM_BYTES {
            self.file.set_len(0)?;
            self.bytes = 0;
        }
        Ok(())
    }

    fn sync_log(&self, id: AttemptId) -> std::io::Result<()> {
        match File::open(self.attempts_dir.join(id.to_string()).join("log")) {
            Ok(log) if log.metadata()?.len() > 0 => log.sync_data(),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Runs it: what comes in together goes to disk together. Ends that are on disk go to `safe`.
    pub async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Entry>,
        safe: mpsc::UnboundedSender<(AttemptId, Outcome)>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut entries = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                count = inbox.recv_many(&mut entries, QUEUE_LEN) => if count == 0 { return Ok(()) },
            }
            let batch = std::mem::take(&mut entries);
            let (journal, batch, written) = tokio::task::spawn_blocking(move || {
                let written = self.write(&batch);
                (self, batch, written)
            })
            .await?;
            self = journal;
            if let Err(error) = written {
                // A full disk: the end is known in memory and goes to the store; only a power cut now would cost a second run.
                tracing::error!(%error, "journal not written");
            }
            for entry in batch {
                if let Entry::Ended(id, outcome) = entry {
                    safe.send((id, outcome))?;
                }
            }
        }
    }
}

/// The journal's inbox.
pub fn inbox() -> (mpsc::Sender<Entry>, mpsc::Receiver<Entry>) {
    mpsc::channel(QUEUE_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::id::TaskId;
    use shoal_core::task::{Exit, ExitHow};

    fn end(n: u128) -> (AttemptId, Outcome) {
        let id = AttemptId { task: TaskId(uuid::Uuid::from_u128(n)), number: 1 };
        (id, Outcome::Exited(Exit { how: ExitHow::Code(n as u8), oom_killed: false }))
    }

    #[test]
    fn ends_survive_a_torn_tail_and_a_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let (mut journal, none) = Journal::open(&path, dir.path()).unwrap();
        assert!(none.is_empty());
        let (a, b) = (end(1), end(2));
        journal.write(&[Entry::Ended(a.0, a.1.clone())]).unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().write_all(b"{\"id\": \"torn").unwrap();
        let (mut journal, ends) = Journal::open(&path, dir.path()).unwrap();
        assert_eq!(ends, std::slice::from_ref(&a));
        journal.write(&[Entry::Ended(b.0, b.1.clone())]).unwrap();
        assert_eq!(Journal::open(&path, dir.path()).unwrap().1, [a, b]);
    }

    #[test]
    fn is_trimmed_when_everything_is_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let (mut journal, _) = Journal::open(&path, dir.path()).unwrap();
        for n in 0..4000 {
            let (id, outcome) = end(n);
            journal.write(&[Entry::Ended(id, outcome), Entry::Recorded(id)]).unwrap();
            if n % 100 == 0 {
                journal.write(&[Entry::Recorded(id)]).unwrap();
            }
        }
        assert!(std::fs::metadata(&path).unwrap().len() < 2 * TRIM_BYTES);
    }
}
