//! A real etcd as a child of the test: in a directory of its own, on free loopback ports, killed by its process id at the end.

// Each test binary uses its own part of the helpers.
#![allow(dead_code)]

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A stopped process stops at once, on a machine that is not busy.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// Another process may take a port between our finding it free and etcd's taking it.
const TRIES: usize = 5;
const START_DEADLINE: Duration = Duration::from_secs(30);

pub struct Etcd {
    pub url: String,
    peer_url: String,
    child: Child,
    dir: tempfile::TempDir,
    more: &'static [&'static str],
}

impl Etcd {
    pub fn start() -> Etcd {
        Etcd::start_with(&[])
    }

    /// With more arguments.
    pub fn start_with(more: &'static [&'static str]) -> Etcd {
        let mut complaints = String::new();
        for _ in 0..TRIES {
            let dir = tempfile::tempdir().expect("temporary directory");
            let (url, peer_url) =
                (format!("http://{}", free_address()), format!("http://{}", free_address()));
            match spawn_ready(dir.path(), &url, &peer_url, more) {
                Ok(child) => return Etcd { url, peer_url, child, dir, more },
                Err(complaint) => complaints = complaint,
            }
        }
        panic!("etcd did not become ready in {TRIES} tries; the last one said:\n{complaints}");
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Starts it again on what it had.
    pub fn start_again(&mut self) {
        let child = spawn_ready(self.dir.path(), &self.url, &self.peer_url, self.more);
        self.child = child.unwrap_or_else(|said| panic!("etcd did not start again; it said:\n{said}"));
    }

    /// SIGSTOP, and the moment until the last of its threads has heard of it: its connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let deadline = Instant::now() + STOPPED_WITHIN;
        while !self.is_stopped() {
            assert!(Instant::now() < deadline, "etcd does not stop");
            std::thread::yield_now();
        }
    }

    fn is_stopped(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("our own child");
        threads.flatten().all(|thread| {
            // One that has ended meanwhile does nothing either.
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts etcd and returns when it is ready; else what it said.
fn spawn_ready(dir: &Path, client: &str, peer: &str, more: &[&str]) -> Result<Child, String> {
    // The kernel kills it when the test dies, however that happens.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(binary())
        .args(["--name", "test", "--data-dir"])
        .arg(dir)
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("test={peer}")])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv (util-linux) starts etcd");
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let (tell, told) = mpsc::channel();
    // Reads on after etcd is ready, so that it never blocks on a full pipe.
    std::thread::spawn(move || {
        let mut said = String::new();
        for line in stderr.lines().map_while(Result::ok) {
            if line.contains("ready to serve client requests") {
                let _ = tell.send(Ok(()));
            }
            said.push_str(&line);
            said.push('\n');
        }
        let _ = tell.send(Err(said));
    });
    let ready = told.recv_timeout(START_DEADLINE).unwrap_or_else(|_| Err("nothing in time".to_owned()));
    if ready.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    ready.map(|()| child)
}

pub fn free_address() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
    listener.local_addr().expect("bound")
}

/// SHOAL_ETCD, else PATH, else where `make` unpacks it.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SHOAL_ETCD") {
        return path.into();
    }
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/etcd");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).map(|dir| dir.join("etcd"));
    let found = dirs.chain([PathBuf::from(unpacked)]).find(|path| path.is_file());
    found
        .expect("no etcd: set SHOAL_ETCD to the binary, or run `make`, which unpacks it to target/tools/etcd")
}
