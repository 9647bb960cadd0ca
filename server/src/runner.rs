//! The server's side of the runner: starts the runner program where none answers, speaks its protocol, and survives the loss of either.
//!
//! Invariants: an end is passed on exactly as the runner reports it, again after each reconnect until it is forgotten; a start that the runner
//! has not confirmed is sent again after a reconnect only when the runner does not know the attempt; a stop is sent again after each
//! reconnect until the attempt has ended.

pub mod images;
mod link;
mod policy;
mod process;
mod socket;

use crate::gangs;
use link::Link;
use shoal_container::policy::Policy;
use shoal_container::protocol::{Cause, End, Event, Report, Request, Start};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Commands waiting for the runner; who finds it full waits.
const QUEUE_LEN: usize = 1024;
/// The usual [`RunnerConfig::quiet`].
pub const QUIET: Duration = Duration::from_secs(10);
/// Asked so often in a row without an answer it hangs, and the node is of no use: its lease must not outlive that. Counted, not timed: while
/// this server is stopped itself, nobody is asked.
const UNANSWERED_MAX: u32 = 4;
/// What [`RunnerConfig::require_limits`] requires, in the words of a `Welcome`.
const LIMITS: [&str; 3] = ["memory", "cpu", "pids"];

/// How to reach or start the runner.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// The program; none when an administrator starts the runner.
    pub binary: Option<PathBuf>,
    /// Whether a runner that cannot limit tasks is of no use.
    pub require_limits: bool,
    /// Its socket and lock.
    pub state_dir: PathBuf,
    /// One directory for each attempt.
    pub attempts_dir: PathBuf,
    /// What it may hand out, where it is started by this server.
    pub policy: Policy,
    /// A runner that said nothing for so long is asked for its list: a sign of life.
    pub quiet: Duration,
}

/// What the runner reported of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// At (re)connection, where that has changed: what of limits and walls it does not enforce.
    Unenforced(Vec<String>),
    /// At (re)connection: everything it has not forgotten. Sent once for each connection.
    Has(Vec<Report>),
    /// The program runs.
    Started(String),
    /// It was killed and does not die, and why.
    Stuck(String, String),
    /// It has ended.
    Ended(String, End),
}

/// What the rest of the server wants of the runner. Public for whoever stands in for one ([`Runner::stand_in`]).
pub enum Command {
    /// Start an attempt.
    Start(Box<Start>),
    /// End an attempt: SIGTERM, then SIGKILL after the grace.
    Stop {
        /// Which.
        id: String,
        /// Between the two.
        grace_ms: u64,
    },
    /// The attempt's end is recorded.
    Forget(String),
    /// Kill everything, and answer when nothing is left alive.
    KillAll(oneshot::Sender<()>),
    /// About an image.
    Image(images::Ask),
}

/// Commands the runner. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    commands: mpsc::Sender<Command>,
}

/// The runner's client has ended.
#[derive(Debug, thiserror::Error)]
#[error("runner client has ended")]
pub struct Gone;

impl Runner {
    /// A runner's client and the work that must run for it. What the runner says goes to `said`, directories that members of tasks share, and when they are over, to
    /// `gangs`.
    pub fn new(
        config: RunnerConfig,
        said: mpsc::UnboundedSender<Said>,
        gangs: mpsc::UnboundedSender<gangs::Told>,
        stop: CancellationToken,
    ) -> (Runner, impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (commands, inbox) = mpsc::channel(QUEUE_LEN);
        let client = Client {
            config,
            said,
            gangs,
            unconfirmed: BTreeMap::new(),
            doubted: BTreeMap::new(),
            stopping: BTreeMap::new(),
            welcoming: Vec::new(),
            dying: Vec::new(),
            asked: images::Asked::default(),
            unenforced: Vec::new(),
        };
        (Runner { commands }, client.run(inbox, stop))
    }

    /// A runner without a client: who holds the receiver carries the commands out. For benchmarks, in which no container is started.
    pub fn stand_in() -> (Runner, mpsc::Receiver<Command>) {
        let (commands, inbox) = mpsc::channel(QUEUE_LEN);
        (Runner { commands }, inbox)
    }

    /// Starts an attempt.
    pub async fn start(&self, start: Start) -> Result<(), Gone> {
        self.send(Command::Start(Box::new(start))).await
    }
    /// Ends an attempt: SIGTERM, then SIGKILL after the grace.
    pub async fn stop(&self, id: String, grace_ms: u64) -> Result<(), Gone> {
        self.send(Command::Stop { id, grace_ms }).await
    }
    /// The attempt's end is recorded.
    pub async fn forget(&self, id: String) -> Result<(), Gone> {
        self.send(Command::Forget(id)).await
    }
    /// Kills everything; returns when nothing is left alive.
    pub async fn kill_all(&self) -> Result<(), Gone> {
        let (done, dead) = oneshot::channel();
        self.send(Command::KillAll(done)).await?;
        dead.await.map_err(|_| Gone)
    }

    async fn send(&self, command: Command) -> Result<(), Gone> {
        self.commands.send(command).await.map_err(|_| Gone)
    }
}

struct Client {
    config: RunnerConfig,
    said: mpsc::UnboundedSender<Said>,
    gangs: mpsc::UnboundedSender<gangs::Told>,
    /// Starts that the runner has not confirmed in any way.
    unconfirmed: BTreeMap<String, Start>,
    /// Starts it refused, and its words for that: its next list says what became of them.
    doubted: BTreeMap<String, String>,
    /// Attempts that were asked to end and have not, and their graces in milliseconds. Nobody else asks twice.
    stopping: BTreeMap<String, u64>,
    /// The first parts of a list that has not all come yet.
    welcoming: Vec<Report>,
    /// Who waits for everything to be dead.
    dying: Vec<oneshot::Sender<()>>,
    /// What was asked about images.
    asked: images::Asked,
    /// What the runner does not enforce, as it said last.
    unenforced: Vec<String>,
}

impl Client {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut process = process::Process::new(self.config.clone());
        loop {
            let mut link = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                link = process.connect() => link?,
            };
            match self.serve(&mut link, &mut inbox, &stop).await {
                Ok(()) => return Ok(()),
                Err(error @ (link::LinkError::Silent(_) | link::LinkError::Unlimited(_))) => {
                    return Err(error.into());
                }
                Err(error) => tracing::warn!(%error, "connection to the runner lost"),
            }
        }
    }

    /// Serves one connection until told to stop (`Ok`) or until it breaks.
    async fn serve(
        &mut self,
        link: &mut Link,
        inbox: &mut mpsc::Receiver<Command>,
        stop: &CancellationToken,
    ) -> Result<(), link::LinkError> {
        self.welcoming.clear();
        link.hello().await?;
        self.asked.ask_again(link).await?;
        let mut quiet = tokio::time::interval(self.config.quiet);
        quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard, mut unanswered) = (true, 0);
        loop {
            let mut looked = false;
            let mut command = None;
            let mut event = None;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                read = link.next() => event = Some(read?),
                _ = quiet.tick() => looked = true,
                received = inbox.recv() => match received {
                    Some(received) => command = Some(received),
                    None => return Ok(()),
                },
            }
            if looked && !std::mem::take(&mut heard) {
                unanswered += 1;
                if unanswered > UNANSWERED_MAX {
                    return Err(link::LinkError::Silent(self.config.quiet * unanswered));
                }
                link.hello().await?;
            }
            if let Some(event) = event {
                (heard, unanswered) = (true, 0);
                self.event(link, event).await?;
            }
            if let Some(command) = command {
                self.command(link, command).await?;
            }
        }
    }

    async fn command(&mut self, link: &mut Link, command: Command) -> Result<(), link::LinkError> {
        let request = match command {
            Command::Start(start) => {
                self.unconfirmed.insert(start.id.clone(), (*start).clone());
                return send_start(link, *start).await;
            }
            Command::Stop { id, grace_ms } => {
                let grace = self.stopping.entry(id.clone()).or_insert(grace_ms);
                *grace = (*grace).min(grace_ms);
                Request::Stop { id, grace_ms }
            }
            Command::Forget(id) => Request::Forget { id },
            Command::KillAll(done) => {
                self.dying.push(done);
                // What was not started yet must not start later.
                self.unconfirmed.clear();
                self.stopping.clear();
                Request::KillAll
            }
            Command::Image(ask) => return self.asked.ask(link, ask).await,
        };
        link.send(&request).await
    }

    /// What a runner without root does not enforce is told once, or is the end of this server if its operator wants limits.
    fn look_at(&mut self, unenforced: Vec<String>) -> Result<(), link::LinkError> {
        let limits: Vec<&str> =
            unenforced.iter().map(String::as_str).filter(|it| LIMITS.contains(it)).collect();
        if self.config.require_limits && !limits.is_empty() {
            return Err(link::LinkError::Unlimited(limits.join(", ")));
        }
        if self.unenforced != unenforced {
            let names = unenforced.join(", ");
            match names.as_str() {
                "" => tracing::info!("the runner enforces all limits and walls of tasks"),
                names => tracing::warn!(
                    unenforced = names,
                    "the runner is not root: these limits and walls of tasks are not enforced"
                ),
            }
            self.unenforced.clone_from(&unenforced);
            self.say(Said::Unenforced(unenforced));
        }
        Ok(())
    }

    async fn event(&mut self, link: &mut Link, event: Event) -> Result<(), link::LinkError> {
        match event {
            Event::Welcome { attempts, more: true, .. } => self.welcoming.extend(attempts),
            Event::Welcome { attempts: last, unenforced, .. } => {
                let mut attempts = std::mem::take(&mut self.welcoming);
                attempts.extend(last);
                self.look_at(unenforced)?;
                return self.welcome(link, attempts).await;
            }
            Event::Started { id, .. } => {
                self.unconfirmed.remove(&id);
                self.say(Said::Started(id));
            }
            Event::Ended { id, end } => {
                self.unconfirmed.remove(&id);
                self.stopping.remove(&id);
                self.tell_gangs(gangs::Told::Ended(id.clone()));
                self.say(Said::Ended(id, end));
            }
            Event::GangDirectory { id, ended } => {
                if let Some(directory) = link.take_descriptor() {
                    self.tell_gangs(gangs::Told::Directory(id.clone(), directory));
                }
                if ended {
                    self.tell_gangs(gangs::Told::Ended(id));
                }
            }
            Event::Unpacked { id, outcome } => self.asked.unpacked(&id, outcome),
            Event::ImageRemoved { digest, error } => self.asked.removed(&digest, error),
            Event::Stuck { id, why } => {
                tracing::error!(id, why, "attempt was killed and does not die");
                self.say(Said::Stuck(id, why));
            }
            Event::AllDead => {
                for done in self.dying.drain(..) {
                    let _ = done.send(());
                }
            }
            Event::Refused { id, why, never_started } => {
                tracing::warn!(?id, why, "runner refused");
                if let Some(id) =
                    id.clone().filter(|id| never_started && self.unconfirmed.remove(id).is_some())
                {
                    let cause = shoal_container::protocol::Cause::Setup(why);
                    self.say(Said::Ended(id, End { cause, oom_killed: false, log_truncated: false }));
                    return Ok(());
                }
                if let Some(id) = id.filter(|id| self.unconfirmed.remove(id).is_some()) {
                    self.doubted.insert(id, why);
                    link.hello().await?;
                }
            }
        }
        Ok(())
    }

    /// The runner's list: the truth about everything that was in doubt.
    async fn welcome(&mut self, link: &mut Link, attempts: Vec<Report>) -> Result<(), link::LinkError> {
        let listed: BTreeSet<&str> = attempts.iter().map(|report| report.id.as_str()).collect();
        let mut vanished = std::mem::take(&mut self.doubted);
        vanished.retain(|id, _| !listed.contains(id.as_str()));
        self.unconfirmed.retain(|id, _| !listed.contains(id.as_str()));
        if !self.dying.is_empty() {
            link.send(&Request::KillAll).await?;
        }
        for start in self.unconfirmed.values() {
            send_start(link, start.clone()).await?;
        }
        for report in attempts.iter().filter(|report| report.gang) {
            link.send(&Request::GangDirectory { id: report.id.clone() }).await?;
        }
        let alive: BTreeSet<&str> =
            attempts.iter().filter(|report| report.end.is_none()).map(|report| report.id.as_str()).collect();
        self.stopping.retain(|id, _| alive.contains(id.as_str()) || self.unconfirmed.contains_key(id));
        for (id, grace_ms) in &self.stopping {
            link.send(&Request::Stop { id: id.clone(), grace_ms: *grace_ms }).await?;
        }
        self.tell_gangs(gangs::Told::Alive(alive.into_iter().map(str::to_owned).collect()));
        self.say(Said::Has(attempts));
        for (id, why) in vanished {
            let cause = Cause::Vanished(format!("the runner refused to start it: {why}"));
            self.say(Said::Ended(id, End { cause, oom_killed: false, log_truncated: false }));
        }
        Ok(())
    }

    fn tell_gangs(&self, told: gangs::Told) {
        // As below.
        let _ = self.gangs.send(told);
    }

    fn say(&self, said: Said) {
        // The node loop outlives this client except at shutdown, when nobody needs to know.
        let _ = self.said.send(said);
    }
}

/// Sends a start, and asks at once for the directory that the attempt shares, so that nothing of the task's is missed for long.
async fn send_start(link: &mut Link, start: Start) -> Result<(), link::LinkError> {
    let shares = start.gang.then(|| start.id.clone());
    link.send(&Request::Start(Box::new(start))).await?;
    match shares {
        Some(id) => link.send(&Request::GangDirectory { id }).await,
        None => Ok(()),
    }
}
