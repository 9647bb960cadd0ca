//! What becomes of a log after its attempt's end is recorded: it is compressed, and one peer gets a copy.
//!
//! Attempts are told of as their ends are recorded. Behind that a slow pass over everything on the disk offers each log to the peer that should have it, and
//! sends what that one lacks: so nothing needs to be remembered over a restart, and a copy that was lost with its holder is made again.
//!
//! One batch at a time, as fast as the peer takes it; what does not fit into the queue meanwhile is left to the pass.

mod batch;
mod pass;
mod push;

use super::super::name::LogName;
use super::super::pack::Packer;
use super::ranked;
use crate::seam::{Api, Insight, NodeInfo};
use pass::Pass;
use push::Push;
use rustix::fs::{Access, access};
use shoal_container::record::AttemptDir;
use shoal_core::id::AttemptId;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// Ends that wait to be looked at; the pass finds those that do not fit.
pub const QUEUE_LEN: usize = 64 << 10;
/// Ends looked at together.
const FRESH_LEN: usize = 64;
/// A runner lets go of an attempt within a few milliseconds.
const LET_GO_MAX: Duration = Duration::from_secs(2);
const LET_GO_AGAIN: Duration = Duration::from_millis(5);
/// Peers that are tried for one log, in the order of their rank.
const PEERS_TRIED: usize = 3;
/// Before the first pass, so that the other nodes are there too after all were started; and from the end of one to the next.
const FIRST_PASS: Duration = Duration::from_secs(60);
const BETWEEN_PASSES: Duration = Duration::from_secs(900);
/// A node that was seen within this time may come back with its copies: nobody else gets them anew.
const ABSENCE_MAX: Duration = Duration::from_secs(900);

/// Compresses and copies the logs of ended attempts.
pub struct Sender {
    insight: Arc<dyn Insight>,
    attempts_dir: PathBuf,
    packer: Packer,
    push: Push,
    stop: CancellationToken,
    /// When each node was last alive, by name.
    seen: HashMap<String, Instant>,
    /// It was said that copies are refused; not said again until all are taken.
    refused: bool,
}

impl Sender {
    /// With what the API works with.
    pub fn of(api: &Api) -> std::io::Result<Sender> {
        Ok(Sender {
            insight: api.insight.clone(),
            attempts_dir: api.attempts_dir.clone(),
            packer: Packer::start()?,
            push: Push::new(api.attempts_dir.clone()),
            stop: api.shutdown.clone(),
            seen: HashMap::new(),
            refused: false,
        })
    }

    /// Runs until stopped. `ended` tells of attempts whose end is recorded.
    pub async fn run(mut self, mut ended: mpsc::Receiver<AttemptId>) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        let mut passes = interval_at(Instant::now() + FIRST_PASS, BETWEEN_PASSES);
        passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fresh = Vec::new();
        let mut pass: Option<Pass> = None;
        loop {
            // A pass goes on in small steps whenever nothing fresh waits.
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                count = ended.recv_many(&mut fresh, FRESH_LEN) => anyhow::ensure!(count > 0, "node loop ended"),
                _ = passes.tick() => pass = Some(Pass::new(self.attempts_dir.clone())),
                () = std::future::ready(()), if pass.is_some() => {}
            }
            let work = async {
                if !fresh.is_empty() {
                    self.fresh(&std::mem::take(&mut fresh)).await;
                } else if let Some(going) = pass.take() {
                    pass = self.go_on(going).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = work => {}
            }
        }
    }

    /// Attempts that have just ended.
    async fn fresh(&mut self, attempts: &[AttemptId]) {
        self.let_go(attempts).await;
        self.pack(attempts).await;
        let alive = self.alive().await;
        let mut left = self.names(attempts).await;
        for rank in 0..PEERS_TRIED.min(alive.len()) {
            let groups = group(&left, |log| {
                let peers = ranked(log.attempt.task, alive.iter().collect(), |node| &node.entry.name);
                peers.get(rank).map(|node| node.entry.address.clone())
            });
            left = self.push.give_all(groups).await;
            if left.is_empty() {
                self.refused = false;
                return;
            }
        }
        if !alive.is_empty() {
            self.say_refused(left.len());
        }
    }

    /// Waits until the runner has let go of these, which it is asked to when their ends are recorded. Where the server is another user than the
    /// runner, it may not change anything in their directories before. One that is not let go of in time is left to the pass.
    async fn let_go(&self, attempts: &[AttemptId]) {
        let deadline = Instant::now() + LET_GO_MAX;
        for attempt in attempts {
            let directory = AttemptDir::at(&self.attempts_dir, &attempt.to_string());
            // The marker first, then the directory itself.
            let ours = || directory.is_done() && access(directory.path(), Access::WRITE_OK).is_ok();
            while !ours() && directory.path().exists() && Instant::now() < deadline {
                tokio::time::sleep(LET_GO_AGAIN).await;
            }
        }
    }

    fn say_refused(&mut self, logs: usize) {
        if !std::mem::replace(&mut self.refused, true) {
            tracing::warn!(logs, "logs that no peer takes a copy of; they are offered again later");
        }
    }

    /// The next step of a pass, and what is left of it.
    async fn go_on(&mut self, mut pass: Pass) -> Option<Pass> {
        let attempts = pass.next().await?;
        self.pack(&attempts).await;
        let alive = self.alive().await;
        // Ranked among those that may come back too: what is theirs is not copied again for a restart.
        let known: Vec<&String> = self.seen.keys().collect();
        let groups = group(&self.names(&attempts).await, |log| {
            let peers = ranked(log.attempt.task, known.clone(), |name| name);
            let first = peers.first()?;
            alive.iter().find(|node| node.entry.name == **first).map(|node| node.entry.address.clone())
        });
        for (address, logs) in groups {
            let wanted = self.push.wanted(&address, &logs).await;
            for batch in wanted.chunks(FRESH_LEN) {
                let left = self.push.give_all(BTreeMap::from([(address.clone(), batch.to_vec())])).await;
                if !left.is_empty() {
                    self.say_refused(left.len());
                }
                // One that takes none of so many takes none of the rest either; a single log that it refuses says nothing of the others.
                if left.len() == batch.len() {
                    break;
                }
            }
        }
        Some(pass)
    }

    /// What the logs of these attempts are called; those that do not say it stay here.
    async fn names(&self, attempts: &[AttemptId]) -> Vec<LogName> {
        let (dir, attempts) = (self.attempts_dir.clone(), attempts.to_vec());
        let name = move |attempt: &AttemptId| {
            let failed = |error: &std::io::Error| tracing::warn!(%attempt, %error, "log not copied");
            LogName::of_own(&dir, *attempt).inspect_err(failed).ok()
        };
        let named = tokio::task::spawn_blocking(move || attempts.iter().filter_map(name).collect());
        named.await.unwrap_or_default()
    }

    async fn pack(&self, attempts: &[AttemptId]) {
        for attempt in attempts {
            let directory = self.attempts_dir.join(attempt.to_string());
            if let Err(error) = self.packer.pack(directory).await {
                tracing::warn!(%attempt, %error, "log not compressed");
            }
        }
    }

    /// The other nodes that live.
    async fn alive(&mut self) -> Vec<NodeInfo> {
        let me = self.insight.identity().name;
        let mut nodes = self.insight.nodes().await;
        nodes.retain(|node| node.entry.name != me);
        let now = Instant::now();
        self.seen.extend(nodes.iter().map(|node| (node.entry.name.clone(), now)));
        self.seen.retain(|_, at| now.duration_since(*at) < ABSENCE_MAX);
        nodes
    }
}

/// Logs by the address that each is for; those without one are left out.
fn group(logs: &[LogName], address: impl Fn(&LogName) -> Option<String>) -> BTreeMap<String, Vec<LogName>> {
    let mut groups: BTreeMap<String, Vec<LogName>> = BTreeMap::new();
    for log in logs {
        if let Some(address) = address(log) {
            groups.entry(address).or_default().push(*log);
        }
    }
    groups
}
