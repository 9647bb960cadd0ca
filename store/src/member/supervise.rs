//! Keeps one etcd running: starts it, watches it, starts it again with growing waits, stops it in order. It never touches the data.
//!
//! All of it happens on one thread of its own, with a small runtime on it, for a reason that lies in the kernel: the signal that a
//! child gets when its parent dies (`PR_SET_PDEATHSIG`) is sent when the *thread* that made the child ends. A worker thread of a
//! shared runtime may end while the server lives on; this thread ends with the member.
//!
//! The signal is set by `setpriv` (util-linux) on the way to etcd, and a shell then checks that the parent is still there: a
//! server that died before the signal was set would otherwise leave an etcd behind. Both replace themselves, so etcd's pid is the child's.

use super::backoff::Backoff;
use super::data_dir::DataDir;
use super::health::{Prober, Role, Unhealthy};
use super::log_file::LogFile;
use super::state::{Cluster, MemberState};
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// How often a member that does not serve yet is asked: its start takes some 100 ms.
const STARTING_PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// How often one that serves is asked. Nothing waits for the answer, the state is for people and for endpoints.
const HEALTHY_PROBE_INTERVAL: Duration = Duration::from_secs(3);
/// Longer than this a start does not take: why it does not serve is then worth saying.
const USUAL_START: Duration = Duration::from_secs(3);
/// So many failed questions in a row make a serving member unhealthy.
const FAILED_PROBES_MAX: u32 = 2;
/// Healthy for so long, and earlier failures are forgotten.
const HEALTHY_RESET: Duration = Duration::from_secs(60);
/// So many ends, with never [`HEALTHY_RESET`] of health in between, are a crash loop.
const CRASH_LOOP_FAILURES: u32 = 5;
/// So many of the last lines of the log go into an error.
const LOG_LINES: usize = 5;
/// Started as `sh -c GUARD PARENT etcd ARGUMENTS…`, with the parent's pid as `$0`.
const GUARD: &str = r#"test "$PPID" -eq "$0" || exit 125; exec "$@""#;

/// What to run and where.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) setpriv: PathBuf,
    pub(super) program: PathBuf,
    /// What the member has been started with so far never changes: etcd itself ignores what concerns bootstrapping later.
    pub(super) arguments: Vec<String>,
    /// Locked until the supervisor has ended: who takes it next finds no etcd on it.
    pub(super) data: DataDir,
    pub(super) client_url: String,
    pub(super) stop_deadline: Duration,
}

/// Where the supervisor reports to.
pub(super) struct Reports {
    pub(super) state: watch::Sender<MemberState>,
    pub(super) cluster: watch::Sender<Cluster>,
    pub(super) pid: watch::Sender<Option<u32>>,
}

/// Runs until `stop` is sent or dropped. Called on the member's own thread.
pub(super) async fn supervise(job: Job, reports: Reports, mut stop: oneshot::Receiver<()>) {
    let mut backoff = Backoff::default();
    loop {
        reports.state.send_replace(MemberState::Starting);
        let reason = match run_once(&job, &reports, &mut stop, &mut backoff).await {
            Ok(None) => break,
            Ok(Some(reason)) => reason,
            Err(error) => format!("cannot start {}: {error}", job.program.display()),
        };
        let wait = backoff.next_wait();
        let failures = backoff.failures();
        tracing::warn!(failures, ?wait, %reason, "etcd ended");
        reports.state.send_replace(if failures >= CRASH_LOOP_FAILURES {
            MemberState::Failed { failures, reason }
        } else {
            MemberState::Restarting { failures, wait, reason }
        });
        if timeout(wait, &mut stop).await.is_ok() {
            break;
        }
    }
    reports.pid.send_replace(None);
    reports.state.send_replace(MemberState::Stopped);
}

/// One life of etcd: `None` when it was stopped as asked, else why it ended.
async fn run_once(
    job: &Job,
    reports: &Reports,
    stop: &mut oneshot::Receiver<()>,
    backoff: &mut Backoff,
) -> io::Result<Option<String>> {
    job.data.set_unborn_aside().map_err(io::Error::other)?;
    let (mut log, stderr) = LogFile::open(&job.data.log_file())?;
    let mut child = spawn(job, stderr)?;
    let pid = child.id();
    reports.pid.send_replace(pid);
    if let Some(pid) = pid {
        std::fs::write(job.data.pid_file(), format!("{pid}\n"))?;
    }
    let end = {
        let watching = watch_health(job, reports, &mut log, backoff);
        tokio::pin!(watching);
        tokio::select! {
            status = child.wait() => Some(status?),
            _ = &mut *stop => None,
            never = &mut watching => match never {},
        }
    };
    let Some(status) = end else {
        stop_child(&mut child, job.stop_deadline).await?;
        remove_pid_file(job);
        return Ok(None);
    };
    reports.pid.send_replace(None);
    remove_pid_file(job);
    Ok(Some(describe_end(status, &log)))
}

fn spawn(job: &Job, stderr: std::fs::File) -> io::Result<Child> {
    let mut command = Command::new(&job.setpriv);
    command.args(["--pdeathsig", "KILL", "--", "/bin/sh", "-c", GUARD]);
    command.arg(std::process::id().to_string()).arg(&job.program).args(&job.arguments);
    for (name, _) in std::env::vars_os() {
        // etcd reads every flag from ETCD_… as well: what was meant for another etcd must not change ours. One of them is a
        // permission to run at all on some architectures.
        if name.to_string_lossy().starts_with("ETCD_") && name != "ETCD_UNSUPPORTED_ARCH" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    // A group of its own: Ctrl-C in a terminal reaches the server, which then stops etcd in order.
    command.process_group(0).kill_on_drop(true).spawn()
}

/// Keeps state and endpoints true for as long as etcd runs. Ends only by being dropped.
async fn watch_health(
    job: &Job,
    reports: &Reports,
    log: &mut LogFile,
    backoff: &mut Backoff,
) -> std::convert::Infallible {
    let mut prober = Prober::new(job.client_url.clone());
    loop {
        until_healthy(job, reports, &mut prober).await;
        let reason = while_healthy(job, reports, &mut prober, log, backoff).await;
        reports.state.send_replace(MemberState::Unhealthy { reason });
    }
}

async fn until_healthy(job: &Job, reports: &Reports, prober: &mut Prober) {
    let begin = Instant::now();
    loop {
        match prober.probe().await {
            Ok(role) => return announce(reports, role, prober, job).await,
            Err(Unhealthy(reason)) => {
                tracing::debug!(%reason, "etcd does not serve yet");
                if begin.elapsed() > USUAL_START {
                    let unhealthy = MemberState::Unhealthy { reason };
                    reports.state.send_if_modified(|current| {
                        std::mem::replace(current, unhealthy.clone()) != unhealthy
                    });
                }
                sleep(STARTING_PROBE_INTERVAL).await;
            }
        }
    }
}

/// Returns the last error when it has not served for [`FAILED_PROBES_MAX`] questions.
async fn while_healthy(
    job: &Job,
    reports: &Reports,
    prober: &mut Prober,
    log: &mut LogFile,
    backoff: &mut Backoff,
) -> String {
    let since = Instant::now();
    let mut ticks = interval(HEALTHY_PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut failed = 0;
    loop {
        ticks.tick().await;
        log.bound();
        match prober.probe().await {
            Ok(role) => {
                failed = 0;
                announce(reports, role, prober, job).await;
            }
            Err(Unhealthy(reason)) => {
                failed += 1;
                if failed >= FAILED_PROBES_MAX {
                    return reason;
                }
            }
        }
        if since.elapsed() > HEALTHY_RESET {
            backoff.reset();
        }
    }
}

/// Publishes what a successful probe found; receivers are woken only by a change.
async fn announce(reports: &Reports, role: Role, prober: &mut Prober, job: &Job) {
    if role == Role::Voter
        && let Ok(voters) = prober.voters().await
    {
        let mut others: Vec<String> = voters.urls.into_iter().filter(|url| *url != job.client_url).collect();
        others.sort();
        others.insert(0, job.client_url.clone());
        let seen = Cluster { endpoints: others, voters: voters.count };
        reports.cluster.send_if_modified(|current| std::mem::replace(current, seen.clone()) != seen);
    }
    let healthy = MemberState::Healthy { role };
    reports.state.send_if_modified(|current| std::mem::replace(current, healthy.clone()) != healthy);
}

/// SIGTERM, and SIGKILL to what is left at the deadline.
async fn stop_child(child: &mut Child, deadline: Duration) -> io::Result<()> {
    // An id is there only until the child has been waited for, which happens here alone: it cannot be another process.
    let Some(pid) = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) else {
        return Ok(());
    };
    kill_process(pid, Signal::TERM)?;
    if timeout(deadline, child.wait()).await.is_err() {
        tracing::info!(?deadline, "etcd did not end after SIGTERM: killing it");
        child.kill().await?;
    }
    Ok(())
}

fn remove_pid_file(job: &Job) {
    let path = job.data.pid_file();
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::debug!(path = %path.display(), %error, "cannot remove the pid file");
    }
}

fn describe_end(status: ExitStatus, log: &LogFile) -> String {
    let lines = log.last_lines(LOG_LINES);
    if lines.is_empty() {
        format!("etcd ended with {status} and wrote nothing")
    } else {
        format!("etcd ended with {status}; its last lines:\n  {}", lines.join("\n  "))
    }
}
