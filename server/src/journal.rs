//! The node's journal of results (`DATA/journal.jsonl`): an end is on disk, and its log before it, before anybody proposes `complete`.
//! So a result survives a power cut, a full store, and a store that is away for a while.
//!
//! The file is written anew with what is still waited for whenever most of it is not: it stays within twice that, or 256 KiB.
//!
//! Format: one JSON object a line, `{"id": "TASK.NUMBER", "outcome": {...}}`; a torn last line is ignored. Only add fields.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use shoal_container::failpoint;
use shoal_core::id::AttemptId;
use shoal_core::transition::Outcome;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The file is not written anew before it is longer than this.
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
    path: PathBuf,
    attempts_dir: PathBuf,
    /// What is in the file and not let go.
    open: BTreeMap<AttemptId, Outcome>,
    bytes: u64,
    /// When the file has this length it is looked at whether most of it is let go.
    trim_at_bytes: u64,
    /// The last line may be half a line: the next one must not be its end.
    torn: bool,
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
        let journal = Journal {
            file,
            path: path.to_owned(),
            attempts_dir: attempts_dir.to_owned(),
            open: ends.iter().cloned().collect(),
            bytes,
            trim_at_bytes: TRIM_BYTES,
            torn: bytes > 0,
        };
        Ok((journal, ends))
    }

    /// Writes and lets go; returns what is on disk now. Blocks for the disk.
    fn write(&mut self, entries: &[Entry]) -> anyhow::Result<()> {
        let mut text = Vec::new();
        for entry in entries {
            match entry {
                Entry::Ended(id, outcome) => {
                    self.sync_log(*id)?;
                    push_line(&mut text, *id, outcome)?;
                    self.open.insert(*id, outcome.clone());
                }
                Entry::Recorded(id) => {
                    self.open.remove(id);
                }
            }
        }
        if !text.is_empty() {
            failpoint!("server.before_journal");
            if std::mem::replace(&mut self.torn, true) {
                text.insert(0, b'\n');
            }
            self.file.write_all(&text)?;
            self.torn = false;
            self.file.sync_data()?;
            self.bytes += text.len() as u64;
            failpoint!("server.after_journal");
        }
        self.trim()
    }

    /// Writes the file anew where that makes it half as long or less. What is waited for is on disk at each moment.
    fn trim(&mut self) -> anyhow::Result<()> {
        if self.bytes <= self.trim_at_bytes {
            return Ok(());
        }
        let mut text = Vec::new();
        for (id, outcome) in &self.open {
            push_line(&mut text, *id, outcome)?;
        }
        let bytes = text.len() as u64;
        self.trim_at_bytes = TRIM_BYTES.max(bytes * 2);
        if self.bytes <= self.trim_at_bytes {
            return Ok(());
        }
        let temporary = self.path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        (self.file, self.bytes, self.torn) = (File::options().append(true).open(&self.path)?, bytes, false);
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

fn push_line(text: &mut Vec<u8>, id: AttemptId, outcome: &Outcome) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *text, &Line { id: id.to_string(), outcome: outcome.clone() })?;
    text.push(b'\n');
    Ok(())
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
    fn a_torn_line_of_a_full_disk_does_not_swallow_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let (mut journal, _) = Journal::open(&path, dir.path()).unwrap();
        let (a, b) = (end(1), end(2));
        journal.write(&[Entry::Ended(a.0, a.1.clone())]).unwrap();
        // A write that came half through, as the server sees it: an error, and a file that it does not know.
        let good = std::mem::replace(&mut journal.file, File::open("/dev/null").unwrap());
        journal.write(&[Entry::Ended(end(3).0, end(3).1)]).unwrap_err();
        journal.file = good;
        journal.file.write_all(b"{\"id\": \"ha").unwrap();
        journal.write(&[Entry::Ended(b.0, b.1.clone())]).unwrap();
        assert_eq!(Journal::open(&path, dir.path()).unwrap().1, [a, b]);
    }

    #[test]
    fn one_result_that_waits_does_not_let_it_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let (mut journal, _) = Journal::open(&path, dir.path()).unwrap();
        let waits = end(1);
        journal.write(&[Entry::Ended(waits.0, waits.1.clone())]).unwrap();
        for n in 2..50 {
            let many: Vec<_> = (n * 1000..n * 1000 + 200).map(end).collect();
            let ended = many.iter().map(|(id, outcome)| Entry::Ended(*id, outcome.clone()));
            journal.write(&ended.collect::<Vec<_>>()).unwrap();
            journal.write(&many.iter().map(|(id, _)| Entry::Recorded(*id)).collect::<Vec<_>>()).unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() < 2 * TRIM_BYTES);
        }
        assert!(Journal::open(&path, dir.path()).unwrap().1.contains(&waits));
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
