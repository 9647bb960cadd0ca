//! The state of a cluster in memory. A task runs as soon as it is submitted; its command says how:
//! `echo WORDS` writes and exits with 0, `exit N`, `signal N`, `oom`, `missing`, `noexec`, `slow` (time limit) end so; `hold` runs until the
//! test, or a cancel, ends it; `queue` stays queued.

use shoal_client::exit::is_terminal;
use shoal_proto::v1;
use shoal_proto::v1::exit::How;
use shoal_proto::v1::{FailureKind, State};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// The log of one attempt.
#[derive(Clone, Default)]
pub struct AttemptLog {
    pub bytes: Vec<u8>,
    pub ended: bool,
    pub truncated: bool,
}

/// All there is.
#[derive(Default)]
pub struct World {
    pub tasks: Vec<v1::Task>,
    pub logs: HashMap<(String, u32), AttemptLog>,
    pub requests: HashMap<String, Vec<String>>,
    /// Submit requests as they came, for tests that count them.
    pub submits: Vec<v1::SubmitRequest>,
    /// So many submits are carried out, and then answered as if the node had gone away.
    pub lose_answers: u32,
    /// A running task that is canceled goes on.
    pub stubborn: bool,
    /// Locks of nodes, by name; the empty name is the queue.
    pub locks: HashMap<String, v1::LockInfo>,
    /// What a submit with `allow_impossible` is told.
    pub impossible: Vec<String>,
    /// Of the first node: how many there are, how many are free.
    pub counts: HashMap<String, (u32, u32)>,
    /// In how long a waiting task starts.
    pub start_in_ms: Option<u64>,
    /// Moves as they came.
    pub moves: Vec<v1::MoveTaskRequest>,
    /// How often somebody has waited for an empty node.
    pub waits: u32,
    /// Nodes that are kept for people.
    pub reserve: Option<v1::ReserveInfo>,
    /// What nodes do not enforce, by name.
    pub unenforced: BTreeMap<String, Vec<String>>,
    /// The ranks of log requests as they came.
    pub ranks: Vec<u32>,
    pub revision: i64,
}

/// Shared by the nodes of one cluster, and by the test.
#[derive(Clone)]
pub struct Shared {
    world: Arc<Mutex<World>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Shared {
    pub fn new() -> Shared {
        Shared { world: Arc::default(), changed: Arc::new(watch::Sender::new(0)) }
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Changes the world and tells all streams.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let value = change(&mut self.lock());
        self.changed.send_modify(|version| *version += 1);
        value
    }

    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits until the world is so; a test that waits longer than a minute has failed.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&World) -> Option<T>) -> T {
        let mut changed = self.subscribe();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let found = runtime.block_on(async {
            let look = async {
                loop {
                    if let Some(found) = look(&self.lock()) {
                        return found;
                    }
                    changed.changed().await.unwrap();
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(60), look).await
        });
        found.unwrap_or_else(|_| panic!("waited a minute for: {what}"))
    }

    /// The id of the first task, once there is one.
    pub fn first_task(&self) -> String {
        self.until("a first task", |world| world.tasks.first().map(|task| task.id.clone()))
    }
}

impl World {
    pub fn task(&self, id: &str) -> Option<&v1::Task> {
        self.tasks.iter().find(|task| task.id == id)
    }

    pub fn update(&mut self, id: &str, change: impl FnOnce(&mut v1::Task)) {
        self.revision += 1;
        let revision = self.revision;
        let task = self.tasks.iter_mut().find(|task| task.id == id).unwrap();
        change(task);
        task.revision = revision;
    }

    pub fn queue(&mut self, id: &str, spec: v1::TaskSpec) {
        let words = spec.command.clone();
        self.tasks.push(v1::Task {
            id: id.to_owned(),
            spec: Some(spec),
            state: State::Queued.into(),
            submitted_ms: 1_700_000_000_000,
            ..v1::Task::default()
        });
        self.update(id, |_| {});
        self.carry_out(id, &words);
    }

    fn carry_out(&mut self, id: &str, words: &[String]) {
        if words[0] == "queue" {
            return;
        }
        self.start(id, "node-1");
        let number = || words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        match words[0].as_str() {
            "hold" => {}
            "echo" => {
                self.write(id, format!("{}\n", words[1..].join(" ")).as_bytes());
                self.exit(id, How::Code(0), false);
            }
            "exit" => self.exit(id, How::Code(number()), false),
            "signal" => self.exit(id, How::Signal(number()), false),
            "oom" => self.exit(id, How::Signal(9), true),
            "missing" => self.fail(id, FailureKind::NotFound, "missing: not found in the root"),
            "noexec" => self.fail(id, FailureKind::NotExecutable, "noexec: permission denied"),
            "slow" => self.fail(id, FailureKind::TimeLimit, "ran past its time limit of 1000 ms"),
            other => panic!("the fake node does not know the command {other:?}"),
        }
    }

    pub fn start(&mut self, id: &str, node: &str) {
        self.update(id, |task| {
            task.state = State::Running.into();
            let number = u32::try_from(task.attempts.len()).unwrap() + 1;
            let attempt = v1::Attempt {
                number,
                node_id: format!("{node}-id"),
                node_name: node.to_owned(),
                started_ms: 1_700_000_000_100,
                ..v1::Attempt::default()
            };
            task.attempts.push(attempt);
        });
        self.log(id);
    }

    fn log(&mut self, id: &str) -> &mut AttemptLog {
        let number = self.task(id).unwrap().attempts.last().unwrap().number;
        self.logs.entry((id.to_owned(), number)).or_default()
    }

    pub fn write(&mut self, id: &str, bytes: &[u8]) {
        self.log(id).bytes.extend(bytes);
    }

    pub fn exit(&mut self, id: &str, how: How, oom_killed: bool) {
        self.end(id, "exited", |task| {
            task.state = State::Complete.into();
            task.exit = Some(v1::Exit { how: Some(how), oom_killed });
        });
    }

    pub fn fail(&mut self, id: &str, kind: FailureKind, message: &str) {
        self.end(id, message, |task| {
            task.state = State::Failed.into();
            task.failure = Some(v1::Failure { kind: kind.into(), message: message.to_owned() });
        });
    }

    fn end(&mut self, id: &str, words: &str, change: impl FnOnce(&mut v1::Task)) {
        if !self.task(id).unwrap().attempts.is_empty() {
            self.log(id).ended = true;
        }
        self.update(id, |task| {
            change(task);
            task.ended_ms = 1_700_000_000_200;
            if let Some(last) = task.attempts.last_mut() {
                (last.ended_ms, last.end) = (task.ended_ms, words.to_owned());
            }
        });
    }

    /// Its node is lost: it is queued again.
    pub fn lose(&mut self, id: &str) {
        self.update(id, |task| {
            task.state = State::Queued.into();
            let last = task.attempts.last_mut().unwrap();
            (last.ended_ms, last.end) = (1_700_000_000_150, "node lost".to_owned());
        });
    }

    /// Returns whether it was there to be canceled.
    pub fn cancel(&mut self, request: &v1::CancelRequest) -> bool {
        let id = request.task.clone();
        let state = self.task(&id).unwrap().state();
        let info = v1::CancelInfo {
            by: request.by.clone(),
            reason: request.reason.clone(),
            at_ms: 1_700_000_000_180,
        };
        if is_terminal(state) {
            return state == State::Canceled;
        }
        if self.stubborn && state == State::Running {
            self.update(&id, |task| task.cancel = Some(info));
            return true;
        }
        self.end(&id, "canceled", |task| {
            task.state = State::Canceled.into();
            task.cancel = Some(info);
        });
        true
    }
}
