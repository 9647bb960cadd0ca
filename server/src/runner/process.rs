//! The runner's process: starts it where none answers. It is made to outlive this server, so a running one is taken over.

use super::RunnerConfig;
use super::link::Link;
use super::policy;
use crate::full_disk;
use anyhow::Context;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// How long a new runner may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Between tries to connect to a runner that is starting.
const CONNECT_RETRY: Duration = Duration::from_millis(5);
/// Between starts of a runner that ends at once.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// Between tries to start a runner on a full disk.
const ROOM_RETRY: Duration = Duration::from_secs(1);

/// Starts and reaps the runner.
pub(super) struct Process {
    config: RunnerConfig,
    child: Option<Child>,
    starts: u32,
}

impl Process {
    pub(super) fn new(config: RunnerConfig) -> Process {
        Process { config, child: None, starts: 0 }
    }

    /// Connects to the runner, starting it where nobody answers. Fails only when it cannot be started at all; a full disk is waited for.
    pub(super) async fn connect(&mut self) -> anyhow::Result<Link> {
        loop {
            match self.try_connect().await {
                Err(error) if full_disk::is_cause_of(&error) => {
                    tracing::error!("no runner: {error:#}");
                    tokio::time::sleep(ROOM_RETRY).await;
                }
                tried => {
                    // One that ended because another served already would stay a zombie; let go of, it is reaped when it ends.
                    self.child = None;
                    return tried;
                }
            }
        }
    }

    async fn try_connect(&mut self) -> anyhow::Result<Link> {
        let socket = self.config.state_dir.join("runner.sock");
        let Some(binary) = self.config.binary.clone() else { return Ok(wait_for(&socket).await) };
        loop {
            // Before it is greeted: it reads its policy again then.
            let written = self.write_policy();
            if let Ok(link) = Link::connect(&socket).await {
                if let Err(error) = written {
                    // It may be an administrator's own, with a policy of its own.
                    tracing::warn!("the runner that answers keeps the policy it has: {error:#}");
                }
                return Ok(link);
            }
            written?;
            if self.starts > 0 {
                tokio::time::sleep(RESTART_PAUSE).await;
            }
            self.spawn(&binary)?;
            let deadline = Instant::now() + START_PATIENCE;
            while Instant::now() < deadline && self.is_alive() {
                if let Ok(link) = Link::connect(&socket).await {
                    return Ok(link);
                }
                tokio::time::sleep(CONNECT_RETRY).await;
            }
            tracing::error!(starts = self.starts, log = %self.log_path().display(), "runner does not answer");
        }
    }

    fn policy_path(&self) -> std::path::PathBuf {
        self.config.state_dir.join("policy.json")
    }

    fn write_policy(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.config.state_dir)?;
        let path = self.policy_path();
        policy::write(&path, &self.config.policy).with_context(|| format!("writing {}", path.display()))
    }

    fn spawn(&mut self, binary: &Path) -> anyhow::Result<()> {
        self.starts += 1;
        let log = std::fs::File::options().create(true).append(true).open(self.log_path())?;
        let child = Command::new(binary)
            .arg("--state-dir")
            .arg(&self.config.state_dir)
            .arg("--attempts-dir")
            .arg(&self.config.attempts_dir)
            .arg("--policy")
            .arg(self.policy_path())
            .args(self.config.require_limits.then_some("--require-limits"))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        tracing::info!(pid = child.id(), "runner started");
        self.child = Some(child);
        Ok(())
    }

    /// Whether the child lives or has gone to the background properly (status 0: another process of it serves).
    fn is_alive(&mut self) -> bool {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(Some(status))) => status.success(),
            Some(Ok(None)) => true,
            Some(Err(_)) | None => false,
        }
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.config.state_dir.join("runner.log")
    }
}

/// Connects to a runner that an administrator has started, or is about to.
async fn wait_for(socket: &Path) -> Link {
    let mut told = false;
    loop {
        match Link::connect(socket).await {
            Ok(link) => return link,
            Err(error) if !told => {
                tracing::error!(%error, socket = %socket.display(), "no runner answers: an administrator starts it");
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}
