//! What the runner's words mean to the core. An end goes through the journal first.

use super::NodeLoop;
use crate::clock;
use crate::journal::Entry;
use crate::runner::Said;
use shoal_container::failpoint;
use shoal_container::protocol::{Cause, End, Report};
use shoal_core::event::{Event, Found};
use shoal_core::id::AttemptId;
use shoal_core::node::Phase;
use shoal_core::task::{Exit, ExitHow};
use shoal_core::transition::Outcome;
use std::collections::BTreeSet;

impl NodeLoop {
    pub(super) async fn runner_says(&mut self, said: Said) -> anyhow::Result<()> {
        match said {
            Said::Has(reports) => self.has(reports).await?,
            Said::Unenforced(what) => {
                self.ports.condition.send_modify(|condition| condition.unenforced = what);
            }
            Said::Started(id) => {
                failpoint!("server.after_started");
                if let Some(attempt) = parse(&id) {
                    self.stopwatch.started(attempt, clock::boot());
                    self.hear(Event::Started(attempt));
                }
            }
            Said::Stuck(id, why) => {
                if let Some(attempt) = parse(&id) {
                    self.hear(Event::Stuck { attempt, why });
                }
            }
            Said::Ended(id, end) => {
                if let Some(attempt) = parse(&id) {
                    self.stopwatch.ended(attempt, clock::boot());
                    self.ports.journal.send(Entry::Ended(attempt, outcome(end))).await?;
                }
            }
        }
        Ok(())
    }

    /// Everything the runner has not forgotten: attempts that outlived a server, or a connection.
    async fn has(&mut self, reports: Vec<Report>) -> anyhow::Result<()> {
        let mut listed = BTreeSet::new();
        for report in reports {
            let Some(attempt) = parse(&report.id) else { continue };
            listed.insert(attempt);
            let journaled = self.journaled.remove(&attempt);
            let found = match report.end.map(outcome) {
                None => Found::Alive,
                Some(Outcome::Vanished(why)) => Found::Ended(journaled.unwrap_or(Outcome::Vanished(why))),
                Some(seen) => {
                    // It and its log go to disk first: the core hears of it from the journal.
                    self.ports.journal.send(Entry::Ended(attempt, seen)).await?;
                    continue;
                }
            };
            self.hear(Event::Adopted { attempt, found });
        }
        // What ran and is not in the list is gone without a trace: somebody has removed its directory, say. (Of a start that the runner has
        // not confirmed the list says nothing: it may be under way.)
        let running = self.node.local().iter().filter(|(_, local)| local.phase == Phase::Running);
        let ids = running.map(|(task, local)| AttemptId { task: *task, number: local.attempt });
        for attempt in ids.filter(|attempt| !listed.contains(attempt)).collect::<Vec<_>>() {
            let gone = Outcome::Vanished("the runner does not know it any more".to_owned());
            self.ports.journal.send(Entry::Ended(attempt, gone)).await?;
        }
        // What the runner has forgotten is in the store.
        for (attempt, _) in std::mem::take(&mut self.journaled) {
            self.ports.journal.send(Entry::Recorded(attempt)).await?;
        }
        Ok(())
    }
}

fn parse(id: &str) -> Option<AttemptId> {
    id.parse().inspect_err(|error| tracing::error!(%error, "the runner named a strange attempt")).ok()
}

fn outcome(end: End) -> Outcome {
    let exited = |how| Outcome::Exited(Exit { how, oom_killed: end.oom_killed });
    match end.cause {
        Cause::Code(code) => exited(ExitHow::Code(code)),
        Cause::Signal(signal) => exited(ExitHow::Signal(signal)),
        Cause::TimeLimit => Outcome::TimeLimit,
        Cause::NotFound(what) => Outcome::NotFound(what),
        Cause::NotExecutable(what) => Outcome::NotExecutable(what),
        Cause::Setup(what) => Outcome::LaunchFailed(what),
        Cause::Vanished(what) => Outcome::Vanished(what),
    }
}
