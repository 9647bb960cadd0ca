//! A whole node without etcd and without an API: the real loop, keeper, proposer, journal and runner process over a store in memory, put
//! together as `run.rs` does. It can be stopped and built again on the same directory, as a server that restarts.

use clap::Parser;
use shoal_container::protocol::Cause;
use shoal_container::record::{AttemptDir, StatusRecord, lock_holder};
use shoal_core::entry::{NodeEntry, NodeState};
use shoal_core::id::{AttemptId, NodeId, TaskId};
use shoal_core::node::{Node, NodeConfig};
use shoal_core::spec::Net;
use shoal_core::task::{Cancel, Task};
use shoal_core::time::WallMs;
use shoal_core::transition::{Transition, apply};
use shoal_server::config::{Config, Flags};
use shoal_server::data_dir::DataDir;
use shoal_server::durations::Durations;
use shoal_server::durations::gather::Pace;
use shoal_server::journal::{self, Journal};
use shoal_server::launch::Launch;
use shoal_server::lease::{Condition, Keeper};
use shoal_server::node_loop::{Ask, Ears, NodeLoop, Ports};
use shoal_server::propose::Proposer;
use shoal_server::runner::{Runner, RunnerConfig};
use shoal_store::fault::FaultyStore;
use shoal_store::key::{self, Key};
use shoal_store::list_watch::Follow;
use shoal_store::memory::MemoryStore;
use shoal_store::moves::{Guard, Move};
use shoal_store::port::{KeyRange, Store, WatchItem};
use shoal_store::record;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long any wait may take before it says what it waited for.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// Long, so that a loaded machine loses no lease by itself; the model's leases end when a test says so.
pub const TTL: Duration = Duration::from_secs(60);

/// The store and the directory, which outlive the server.
pub struct World {
    pub memory: MemoryStore,
    pub store: Arc<FaultyStore<MemoryStore>>,
    dir: tempfile::TempDir,
}

/// A running server.
pub struct Server {
    pub identity: watch::Receiver<Option<(NodeId, i64)>>,
    stop: CancellationToken,
    work: JoinSet<anyhow::Result<()>>,
    _asks: mpsc::Sender<Ask>,
    _dir: DataDir,
}

impl World {
    pub fn new() -> World {
        assert!(rustix::process::geteuid().is_root(), "these tests start containers and need root");
        let memory = MemoryStore::new();
        let store = Arc::new(FaultyStore::new(Arc::new(memory.clone())));
        World { memory, store, dir: tempfile::tempdir().expect("a temporary directory") }
    }

    fn config(&self, more: &[&str]) -> Config {
        let dir = self.dir.path().to_str().expect("a plain path");
        let runner = runner_binary();
        let runner = runner.to_str().expect("a plain path");
        let line = ["shoald", "--name", "n1", "--data-dir", dir, "--runner-binary", runner, "--cpus", "4"];
        let flags = Flags::try_parse_from(line.iter().chain(more)).expect("flags").validate();
        Config { lease_ttl: TTL, ..flags.expect("a valid configuration") }
    }

    /// Starts a server on the directory; the runner of the one before, if it lives, is taken over.
    pub fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// The same with more flags.
    pub fn serve_with(&self, more: &[&str]) -> Server {
        let config = self.config(more);
        let dir = DataDir::open(&config.data_dir).expect("the directory is free");
        let stop = CancellationToken::new();
        let mut work = JoinSet::new();
        let (identity, identity_seen) = watch::channel(None);
        let (fenced, fenced_seen) = watch::channel(None);
        let (condition, condition_seen) = watch::channel(Condition::default());
        let (events, events_inbox) = mpsc::channel(64);
        let (said, said_inbox) = mpsc::unbounded_channel();
        let (safe, safe_inbox) = mpsc::unbounded_channel();
        let (asks, asks_inbox) = mpsc::channel(64);
        let attempts_dir = self.attempts_dir();
        let runner_config = RunnerConfig {
            binary: config.runner.binary.clone(),
            require_limits: false,
            state_dir: dir.join("runner"),
            attempts_dir: attempts_dir.clone(),
            policy: config.policy(),
            quiet: shoal_server::runner::QUIET,
        };
        let (runner, client) = Runner::new(runner_config, said, mpsc::unbounded_channel().0, stop.clone());
        work.spawn(client);
        let (journal, journaled) =
            Journal::open(&dir.join("journal.jsonl"), &attempts_dir).expect("a journal");
        let (entries, entries_inbox) = journal::inbox();
        work.spawn(journal.run(entries_inbox, safe, stop.clone()));
        let (proposer, proposer_work) =
            Proposer::new(self.store.clone(), identity_seen.clone(), stop.clone());
        work.spawn(proposer_work);
        let (durations, learning) = Durations::new(self.store.clone(), Pace::default(), stop.clone());
        work.spawn(learning);
        let ports = Ports {
            store: self.store.clone(),
            proposer,
            runner: runner.clone(),
            journal: entries,
            launch: Launch::new(&config),
            images: None,
            durations,
            fenced,
            ended: mpsc::channel(1).0,
            condition,
            folded: watch::channel(0).0,
            changes: broadcast::channel(1024).0,
            ready: watch::channel(false).0,
        };
        let ears = Ears { events: events_inbox, said: said_inbox, safe: safe_inbox, asks: asks_inbox };
        let node =
            Node::new(NodeConfig { name: "n1".to_owned(), requeue_wait_ms: 0, requeue_stagger_ms: 100 });
        let follow = Follow::new(self.store.clone(), vec![key::statuses(), key::nodes(), key::durations()]);
        work.spawn(NodeLoop::new(node, ports, journaled).run(follow, ears, stop.clone()));
        let keeper = Keeper {
            store: self.store.clone(),
            runner,
            entry: entry(&config),
            ttl: config.lease_ttl,
            data_dir: config.data_dir.clone(),
            identity,
            fenced: fenced_seen,
            condition: condition_seen,
            events,
            stop: stop.clone(),
        };
        work.spawn(keeper.run());
        Server { identity: identity_seen, stop, work, _asks: asks, _dir: dir }
    }

    /// Submits a shell script for the host's root.
    pub async fn submit(&self, n: u128, script: &str) -> TaskId {
        self.submit_with(n, script, &[]).await
    }

    /// The same that sees this of the network.
    pub async fn submit_with_net(&self, n: u128, script: &str, net: Net) -> TaskId {
        self.submit_with(n, script, &[("net", serde_json::json!(net))]).await
    }

    /// The same with more fields of its specification.
    pub async fn submit_with(&self, n: u128, script: &str, more: &[(&str, serde_json::Value)]) -> TaskId {
        let mut spec = serde_json::json!({
            "command": ["/bin/sh", "-c", script], "root": "host",
            "resources": {"cpu_milli": 100, "memory_bytes": 32 << 20},
            "pids_max": 16, "workdir": "/tmp", "kill_grace_ms": 100, "max_attempts": 3,
        });
        more.iter().for_each(|(field, value)| spec[*field] = value.clone());
        let spec = serde_json::from_value(spec).expect("a specification");
        let task = Task::new(TaskId(Uuid::from_u128(n)), spec, (0, 1), WallMs(0));
        let submit = Move { old: None, new: task.clone(), guard: Guard::None };
        let reply = self.memory.txn(submit.to_txn()).await.expect("the model answers");
        assert!(reply.succeeded, "task {n} exists");
        task.id
    }

    /// Cancels as any other node would.
    pub async fn cancel(&self, id: TaskId) {
        let (kv, _) = self.memory.get(&Key::Task(id).to_string()).await.expect("the model answers");
        let old = record::decode_kv::<Task>(&kv.expect("it was submitted")).expect("it can be read");
        let cancel = Cancel { by: "ann".to_owned(), reason: "enough".to_owned(), at: WallMs(1) };
        let new = apply(&old.value, &Transition::Cancel(cancel), WallMs(1)).expect("it has not ended");
        let cancel = Move { old: Some(old), new, guard: Guard::None };
        assert!(self.memory.txn(cancel.to_txn()).await.expect("the model answers").succeeded);
    }

    pub async fn task(&self, id: TaskId) -> Task {
        let (kv, _) = self.memory.get(&Key::Task(id).to_string()).await.expect("the model answers");
        record::decode_kv(&kv.expect("it was submitted")).expect("it can be read").value
    }

    /// Waits until the task's record is so.
    pub async fn task_when(&self, what: &str, id: TaskId, so: impl Fn(&Task) -> bool) -> Task {
        let key = Key::Task(id).to_string();
        let range = KeyRange::prefix(&key);
        let from = self.memory.revision() + 1;
        let mut changes = self.memory.watch(vec![range], from).await.expect("the model watches");
        let wait = async {
            loop {
                let task = self.task(id).await;
                if so(&task) {
                    return task;
                }
                assert!(!matches!(changes.next().await, WatchItem::Lost(_)), "the test's own watch is lost");
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(task) => task,
            Err(_) => panic!("waited {PATIENCE:?} until {what}; it is {:#?}", self.task(id).await),
        }
    }

    pub fn attempts_dir(&self) -> PathBuf {
        self.dir.path().join("attempts")
    }

    pub fn log(&self, attempt: AttemptId) -> String {
        std::fs::read_to_string(self.attempts_dir().join(attempt.to_string()).join("log")).unwrap_or_default()
    }

    /// Waits until the attempt has written this.
    pub async fn log_when(&self, attempt: AttemptId, text: &str) {
        self.when(&format!("{attempt} writes {text:?}"), || self.log(attempt).contains(text)).await;
    }

    /// Waits until the attempt's end is on this machine's disk, whatever the store knows.
    pub async fn ended_here(&self, attempt: AttemptId) {
        let dir = AttemptDir::at(&self.attempts_dir(), &attempt.to_string());
        let code = || {
            let status = dir.open_status().ok()?;
            StatusRecord::read(status.as_fd()).filter(|r| matches!(r.cause, Cause::Code(_)))
        };
        self.when(&format!("{attempt} has ended"), || code().is_some()).await;
    }

    /// Waits until `so`.
    pub async fn when(&self, what: &str, so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so() {
            assert!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Where the runner says which process it is.
    pub fn runner_pid_file(&self) -> PathBuf {
        self.dir.path().join("runner/runner.pid")
    }

    /// SIGKILL to the runner alone.
    pub fn kill_runner(&self) {
        let pid = std::fs::read_to_string(self.runner_pid_file()).expect("a runner runs");
        let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
    }

    /// The names of the attempts that were ever started.
    pub fn started(&self) -> Vec<String> {
        let dir = std::fs::read_dir(self.attempts_dir()).expect("it exists");
        let mut names: Vec<String> =
            dir.map(|e| e.expect("an entry").file_name().into_string().expect("plain")).collect();
        names.sort();
        names
    }
}

impl Server {
    /// Waits until the node has an identity for which `so`.
    pub async fn identity_when(&mut self, what: &str, so: impl Fn(NodeId) -> bool) -> NodeId {
        let wait = self.identity.wait_for(|now| now.is_some_and(|(node, _)| so(node)));
        let now = tokio::time::timeout(PATIENCE, wait).await;
        let now = now.unwrap_or_else(|_| panic!("waited {PATIENCE:?} until {what}"));
        now.expect("the keeper lives").expect("just looked at").0
    }

    /// Ends the server as SIGTERM does; its runner and its containers go on.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // What ends because others have ended is no failure; a panic is.
        while let Some(ended) = self.work.join_next().await {
            let _ = ended.expect("no panic");
        }
    }
}

/// Whether a stub of this attempt lives: it holds a lock for as long as it does.
pub fn lives(attempts_dir: &Path, attempt: AttemptId) -> bool {
    let status = AttemptDir::at(attempts_dir, &attempt.to_string()).open_status().expect("it was started");
    lock_holder(&status).expect("a lock can be asked for").is_some()
}

/// The program of the same build.
fn runner_binary() -> PathBuf {
    let own = std::env::current_exe().expect("this program's path");
    let folder = own.parent().and_then(Path::parent).expect("a test lies in PROFILE/deps");
    let runner = folder.join("shoal-runner");
    assert!(
        runner.is_file(),
        "{} is not built; run: cargo build -p shoal-container --bins",
        runner.display()
    );
    runner
}

fn entry(config: &Config) -> NodeEntry {
    NodeEntry {
        name: config.name.clone(),
        address: config.advertise.clone(),
        resources: config.resources,
        counts: config.counts.clone(),
        roots: config.roots.keys().cloned().collect(),
        offers: config.offers(),
        version: "test".to_owned(),
        state: NodeState::Ready,
        reason: String::new(),
        lock_seen: None,
        unenforced: Vec::new(),
        leases_trusted: true,
        voter: false,
        unknown: Default::default(),
    }
}

impl Drop for World {
    /// Ends the runner, and with it all containers, before the directory goes.
    fn drop(&mut self) {
        let pid_file = self.dir.path().join("runner/runner.pid");
        let pid = || std::fs::read_to_string(&pid_file).ok()?.trim().parse().ok();
        if let Some(pid) = pid().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while pid().is_some() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}
