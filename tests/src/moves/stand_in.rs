//! What stands in for the runner and the journal of a node: a container is a span of time, and an end is safe at once.

use anyhow::Result;
use shoal_container::protocol::{Cause, End};
use shoal_core::id::{AttemptId, TaskId};
use shoal_core::transition::Outcome;
use shoal_server::journal::Entry;
use shoal_server::runner::{Command, Said};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Commands or entries taken up together.
const BURST: usize = 256;

/// How long a task takes: the same wherever and however often it is asked, from half of `mean_ms` to one and a half of it.
pub fn duration_of(task: TaskId, mean_ms: u64) -> Duration {
    // The low half of an id is a hash, see `TaskId::of_request`.
    let (_, random) = task.0.as_u64_pair();
    Duration::from_millis(mean_ms / 2 + random % (mean_ms + 1))
}

/// The stand-in of one node.
pub struct StandIn {
    /// From the node loop and the lease keeper.
    pub commands: mpsc::Receiver<Command>,
    /// To the node loop.
    pub said: mpsc::UnboundedSender<Said>,
    /// What the node loop wants on disk.
    pub entries: mpsc::Receiver<Entry>,
    /// To the node loop, at once.
    pub safe: mpsc::UnboundedSender<(AttemptId, Outcome)>,
    /// Counts tasks whose end is recorded.
    pub ended: watch::Sender<u64>,
    /// How long a task takes in the mean.
    pub mean_ms: u64,
}

impl StandIn {
    /// Runs until stopped.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut running: JoinSet<String> = JoinSet::new();
        let (mut commands, mut entries) = (Vec::new(), Vec::new());
        loop {
            let mut over = None;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                n = self.commands.recv_many(&mut commands, BURST) => if n == 0 { return Ok(()) },
                n = self.entries.recv_many(&mut entries, BURST) => if n == 0 { return Ok(()) },
                Some(id) = running.join_next() => over = Some(id?),
            }
            for command in commands.drain(..) {
                self.command(command, &mut running)?;
            }
            self.record(&mut entries);
            while let Some(id) = over {
                self.say(ended(id));
                over = running.try_join_next().transpose()?;
            }
        }
    }

    fn command(&self, command: Command, running: &mut JoinSet<String>) -> Result<()> {
        match command {
            Command::Start(start) => {
                let attempt: AttemptId = start.id.parse()?;
                let takes = duration_of(attempt.task, self.mean_ms);
                self.say(Said::Started(start.id.clone()));
                if takes.is_zero() {
                    self.say(ended(start.id));
                } else {
                    running.spawn(async move {
                        tokio::time::sleep(takes).await;
                        start.id
                    });
                }
            }
            Command::KillAll(done) => {
                running.abort_all();
                *running = JoinSet::new();
                let _ = done.send(());
            }
            // Nobody cancels; an end that nobody waits for any more is refused by the store.
            Command::Stop { .. } | Command::Forget(_) | Command::Image(_) => {}
        }
        Ok(())
    }

    fn record(&self, entries: &mut Vec<Entry>) {
        let mut recorded = 0;
        for entry in entries.drain(..) {
            match entry {
                // The node loop ends before this only when all is over.
                Entry::Ended(attempt, outcome) => drop(self.safe.send((attempt, outcome))),
                Entry::Recorded(_) => recorded += 1,
            }
        }
        if recorded > 0 {
            self.ended.send_modify(|count| *count += recorded);
        }
    }

    fn say(&self, said: Said) {
        let _ = self.said.send(said);
    }
}

fn ended(id: String) -> Said {
    Said::Ended(id, End { cause: Cause::Code(0), oom_killed: false, log_truncated: false })
}
