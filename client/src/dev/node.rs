//! One node of a dev cluster: its ports, its files, the command that starts it.

use super::process::Process;
use super::{Cluster, DevError, at};
use crate::address::Address;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Ports of a node: API, etcd for clients, etcd for members.
pub const PORTS: usize = 3;
/// Bytes at the end of a log in which its last lines are looked for.
const TAIL_BYTES: u64 = 16 * 1024;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevNode {
    /// `node-1` and so on.
    pub name: String,
    /// Everything it keeps.
    pub data_dir: PathBuf,
    /// Of its API.
    pub api_port: u16,
    /// Of its etcd member, for clients.
    pub etcd_client_port: u16,
    /// Of its etcd member, for other members.
    pub etcd_peer_port: u16,
}

impl DevNode {
    /// Node `number`, counted from 1, in `dir`.
    pub fn new(dir: &Path, number: usize, ports: &[u16]) -> DevNode {
        let name = format!("node-{number}");
        let data_dir = dir.join(&name);
        DevNode { name, data_dir, api_port: ports[0], etcd_client_port: ports[1], etcd_peer_port: ports[2] }
    }

    /// Where its API answers.
    pub fn address(&self) -> Address {
        Address::Tcp { host: "127.0.0.1".to_owned(), port: self.api_port }
    }

    /// Where its etcd member answers clients.
    pub fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_client_port)
    }

    /// Where its etcd member answers other members.
    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_peer_port)
    }

    /// What it and its etcd write.
    pub fn log_path(&self) -> PathBuf {
        self.data_dir.join("shoald.log")
    }

    /// Its server, if it runs.
    pub fn server(&self) -> Option<Process> {
        Process::of_pid_file(&self.data_dir.join("shoald.pid"), &self.data_dir)
    }

    /// Its etcd member, if it runs.
    pub fn etcd(&self) -> Option<Process> {
        Process::of_pid_file(&self.data_dir.join("etcd.pid"), &self.data_dir)
    }

    /// Its runner, if it runs.
    pub fn runner(&self) -> Option<Process> {
        Process::of_pid_file(&self.data_dir.join("runner/runner.pid"), &self.data_dir)
    }

    /// Starts its server in a session of its own, with everything it writes going to its log. `shoal` is this program: it makes the
    /// session and then becomes the server, under the same process id.
    pub fn start(&self, cluster: &Cluster, shoal: &Path, shoald: &Path) -> Result<Child, DevError> {
        std::fs::create_dir_all(&self.data_dir).map_err(at(&self.data_dir))?;
        let path = self.log_path();
        let log = OpenOptions::new().create(true).append(true).open(&path).map_err(at(&path))?;
        let errors = log.try_clone().map_err(at(&path))?;
        let mut command = Command::new(shoal);
        command.args(["dev", "exec-detached"]).arg(shoald);
        command.arg("--name").arg(&self.name).arg("--data-dir").arg(&self.data_dir);
        command.arg("--listen").arg(self.address().to_string());
        command.arg("--etcd-client-url").arg(self.client_url());
        command.arg("--etcd-peer-url").arg(self.peer_url());
        command.arg("--initial-cluster").arg(cluster.initial_cluster());
        command.args(cluster.flags());
        command.current_dir(&self.data_dir).stdin(Stdio::null()).stdout(log).stderr(errors);
        command.spawn().map_err(at(shoal))
    }

    /// The last `count` lines of its log.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let Ok(mut log) = File::open(self.log_path()) else { return Vec::new() };
        let len = log.metadata().map_or(0, |metadata| metadata.len());
        let mut bytes = Vec::new();
        let from = SeekFrom::Start(len.saturating_sub(TAIL_BYTES));
        if log.seek(from).and_then(|_| log.read_to_end(&mut bytes)).is_err() {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
    }
}
