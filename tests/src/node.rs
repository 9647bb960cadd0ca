//! One real node: a `shoald` process with its data directory, and what a fault does to it.

use crate::address::{API_PORT, ETCD_CLIENT_PORT, ETCD_PEER_PORT};
use crate::api::Api;
use crate::machines::Machine;
use crate::{host, wait};
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;
use std::fs::{File, OpenOptions};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An orderly end of the server, etcd's included.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// The end of a runner whose containers are killed.
const RUNNER_LIMIT: Duration = Duration::from_secs(10);

/// How a node comes to its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Founds it, with the others of `name=peer-url,…`.
    Founds(String),
    /// Joins it through these client URLs.
    Joins(String),
    /// Uses the members at these client URLs and carries none.
    Uses(String),
}

impl Origin {
    fn flag(&self) -> [&str; 2] {
        match self {
            Origin::Founds(cluster) => ["--initial-cluster", cluster],
            Origin::Joins(urls) => ["--join", urls],
            Origin::Uses(urls) => ["--etcd-endpoints", urls],
        }
    }
}

/// How to start a node.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name.
    pub name: String,
    /// Its address.
    pub host: Ipv4Addr,
    /// Everything it keeps.
    pub data_dir: PathBuf,
    /// How it comes to its store.
    pub origin: Origin,
    /// The machine that it runs on; this one when there is none.
    pub machine: Option<Arc<Machine>>,
    /// More flags.
    pub flags: Vec<String>,
    /// More environment.
    pub variables: Vec<(String, String)>,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    setup: Setup,
    server: Mutex<Option<Child>>,
    api: Api,
}

impl Node {
    /// A node that is not started yet.
    pub fn new(setup: Setup) -> Result<Node> {
        let api = match &setup.machine {
            // A socket in the file system is reached from outside the machine's network too, cut off or not.
            Some(_) => Api::at_socket(&socket_of(&setup.data_dir)),
            None => Api::at(&format!("{}:{API_PORT}", setup.host))?,
        };
        Ok(Node { setup, server: Mutex::new(None), api })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.setup.name
    }
    /// Everything it keeps.
    pub fn data_dir(&self) -> &Path {
        &self.setup.data_dir
    }
    /// Its address.
    pub fn host(&self) -> Ipv4Addr {
        self.setup.host
    }
    /// The machine that it runs on; this one when there is none.
    pub fn machine(&self) -> Option<&Machine> {
        self.setup.machine.as_deref()
    }
    /// Whether it was started and has not been ended by the test.
    pub fn is_started(&self) -> bool {
        self.server().is_some()
    }
    /// Its API.
    pub fn api(&self) -> &Api {
        &self.api
    }
    /// Where its output goes.
    pub fn output(&self) -> PathBuf {
        self.setup.data_dir.with_extension("out")
    }

    /// The command that runs it, without its output set up.
    pub fn command(&self) -> Result<Command> {
        self.command_of(&crate::programs::built("shoald")?)
    }

    fn command_of(&self, shoald: &Path) -> Result<Command> {
        let mut command = match &self.setup.machine {
            Some(machine) => machine.command(shoald),
            None => Command::new(shoald),
        };
        let host = self.setup.host;
        command
            .args(["--name", &self.setup.name])
            .arg("--data-dir")
            .arg(&self.setup.data_dir)
            .args(["--listen", &format!("{host}:{API_PORT}")])
            .args(["--etcd-client-url", &format!("http://{host}:{ETCD_CLIENT_PORT}")])
            .args(["--etcd-peer-url", &format!("http://{host}:{ETCD_PEER_PORT}")])
            .args(self.setup.origin.flag())
            .arg("--etcd-binary")
            .arg(crate::programs::etcd()?)
            .args(&self.setup.flags)
            .envs(self.setup.variables.iter().cloned())
            .stdin(Stdio::null());
        if self.setup.machine.is_some() {
            command.arg("--listen").arg(format!("unix:{}", socket_of(&self.setup.data_dir).display()));
        }
        Ok(command)
    }

    /// Starts the server. Its output is appended to [`Node::output`].
    pub fn start(&self) -> Result<()> {
        self.start_as(&crate::programs::built("shoald")?)
    }

    /// The same with this program, another build of the server.
    pub fn start_as(&self, shoald: &Path) -> Result<()> {
        let mut server = self.server();
        if server.is_some() {
            bail!("{} runs already", self.setup.name);
        }
        let output = OpenOptions::new().create(true).append(true).open(self.output())?;
        let mut command = self.command_of(shoald)?;
        command.stdout(output.try_clone()?).stderr(output);
        *server = Some(command.spawn().context("start shoald")?);
        Ok(())
    }

    /// Waits until it serves; fails at once when its process has ended.
    pub async fn ready(&self, limit: Duration) -> Result<()> {
        wait::until(&format!("{} to serve", self.name()), limit, async || {
            if let Some(status) = self.exited()? {
                return Ok(Err(anyhow!("{} ended with {status}", self.name())));
            }
            self.api.serving().await.map(Ok)
        })
        .await?
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exited(&self) -> Result<Option<std::process::ExitStatus>> {
        match self.server().as_mut() {
            Some(child) => Ok(child.try_wait()?),
            None => bail!("{} was not started", self.name()),
        }
    }

    /// The server's pid.
    pub fn server_pid(&self) -> Result<i32> {
        let id = self.server().as_ref().map(Child::id);
        Ok(id.with_context(|| format!("{} does not run", self.setup.name))? as i32)
    }
    /// The pid of its etcd member.
    pub fn etcd_pid(&self) -> Result<i32> {
        host::pid_of(&self.data_dir().join("etcd.pid"), self.data_dir())
    }
    /// The pid of its runner.
    pub fn runner_pid(&self) -> Result<i32> {
        host::pid_of(&self.data_dir().join("runner/runner.pid"), self.data_dir())
    }

    /// Sends a signal to the server process alone.
    pub fn signal_server(&self, signal: Signal) -> Result<()> {
        host::signal(self.server_pid()?, signal)
    }

    /// SIGKILL to the server and its etcd member at once, as a crash of the node's software; the runner and its containers are left.
    pub fn crash(&self) -> Result<()> {
        let etcd = self.etcd_pid()?;
        self.signal_server(Signal::KILL)?;
        // The server's death may have ended it already.
        let _ = host::signal(etcd, Signal::KILL);
        self.reap()
    }

    /// SIGKILL to the server process alone.
    pub fn kill_server(&self) -> Result<()> {
        self.signal_server(Signal::KILL)?;
        self.reap()
    }

    fn reap(&self) -> Result<()> {
        if let Some(mut child) = self.server().take() {
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for the orderly end of the server.
    pub async fn stop(&self) -> Result<()> {
        self.signal_server(Signal::TERM)?;
        let status = wait::until(&format!("the orderly end of {}", self.name()), STOP_LIMIT, async || {
            self.exited()?.context("it runs")
        })
        .await?;
        self.server().take();
        if !status.success() {
            bail!("{} ended with {status} after SIGTERM", self.name());
        }
        Ok(())
    }

    /// Ends whatever is left of the node and returns what could not be ended, or what should not have been there, in words.
    pub async fn clear(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.server().is_some() {
            // A stopped process hears SIGTERM only when it goes on.
            let _ = self.signal_server(Signal::CONT);
            if let Err(why) = self.stop().await {
                wrong.push(format!("{why:#}"));
                let _ = self.kill_server();
            }
        }
        if let Ok(pid) = self.runner_pid() {
            let _ = host::signal(pid, Signal::TERM);
        }
        let what = format!("{} to leave nothing", self.name());
        let gone = wait::until(&what, RUNNER_LIMIT, async || {
            let left = host::leftovers(self.data_dir());
            if left.is_empty() { Ok(()) } else { Err(anyhow!("{}", left.join("; "))) }
        });
        if let Err(why) = gone.await {
            wrong.push(format!("{why:#}"));
            for pid in host::processes_naming(self.data_dir()) {
                let _ = host::signal(pid, Signal::KILL);
            }
        }
        wrong
    }

    /// The last lines of its output.
    pub fn output_tail(&self, lines: usize) -> String {
        let text = File::open(self.output()).and_then(std::io::read_to_string).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

fn socket_of(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("sock")
}

impl Drop for Node {
    /// For a test that was broken off: nothing waits here, and a node that was cleared has nothing left.
    fn drop(&mut self) {
        let child = self.server.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Ok(pid) = self.runner_pid() {
            let _ = host::signal(pid, Signal::TERM);
        }
    }
}
