//! The JSON form of everything, in one place: what `-o json` prints and what a REST answer holds.
//!
//! Frozen for v1 in `docs/contract.md`: fields are added, never renamed or removed. Every field is always there; what does not
//! apply is null. States and kinds are lower-case words; times are milliseconds since 1970.

mod gang;
mod image;
mod lock;
mod people;

pub use gang::{Member, Part, gang_end_word};
pub use image::{Image, Images};
pub use lock::Lock;
pub use people::{LockedNode, LockedNodes, Moved, Reserve};

use serde::Serialize;
use shoal_proto::v1;
use shoal_proto::v1::exit::How;
use std::collections::BTreeMap;

/// A task.
#[derive(Clone, Debug, Serialize)]
pub struct Task {
    /// The full id.
    pub id: String,
    /// What was asked for.
    pub spec: Spec,
    /// `queued`, `running`, `complete`, `canceled` or `failed`.
    pub state: String,
    /// How its process ended; only when complete.
    pub exit: Option<Exit>,
    /// Why Shoal ended it; only when failed.
    pub failure: Option<Failure>,
    /// Who asked for its end; when canceled, or while that is under way.
    pub cancel: Option<Cancel>,
    /// Its present priority, 1 to 1000.
    pub priority: u32,
    /// Who holds it, while somebody does.
    pub hold: Option<Cancel>,
    /// Who has given it its place in the queue, and which; null where its priority and waiting do.
    pub moved: Option<Moved>,
    /// What it was expected to take when it was submitted; null where nothing was known.
    pub expected_ms: Option<u64>,
    /// How many completed runs of its name that was learned from.
    pub expected_from: Option<u64>,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it was submitted.
    pub submitted_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Of the store, at its last change.
    pub revision: i64,
}

/// What was asked for, with every default filled in.
#[derive(Clone, Debug, Serialize)]
pub struct Spec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// The root's name.
    pub root: String,
    /// Cores and memory.
    pub resources: Resources,
    /// Most processes and threads.
    pub pids_max: u32,
    /// For people.
    pub name: String,
    /// Who submitted it.
    pub user: String,
    /// Where the command starts.
    pub workdir: String,
    /// 0 is no limit.
    pub time_limit_ms: u64,
    /// From SIGTERM to SIGKILL.
    pub kill_grace_ms: u64,
    /// Attempts before it counts as poison.
    pub max_attempts: u32,
    /// `requeue` or `fail`.
    pub on_node_loss: String,
    /// `loopback`, `none` or `host`.
    pub net: String,
    /// Directories of the nodes that it sees.
    pub mounts: Vec<Mount>,
    /// Labels that its node must have.
    pub labels: Vec<String>,
    /// Who it is, inside; null is what its root says, else nobody.
    pub run_as: Option<RunAs>,
    /// Open files of each process; 0 is the node's usual.
    pub open_files_max: u32,
    /// Bytes of its private writable layer; 0 is half of its memory.
    pub disk_bytes_max: u64,
    /// Bytes a second to and from the node's disk; 0 is the node's usual.
    pub io_bytes_per_s_max: u64,
    /// Bytes kept of each attempt's log; 0 is the node's usual.
    pub log_bytes_max: u64,
    /// The priority that it was submitted with.
    pub priority: u32,
    /// The nodes that it runs on at once; empty is one.
    pub parts: Vec<Part>,
    /// `first_failure`, `all` or `lead`: when it is over, with several nodes.
    pub gang_end: String,
    /// Nothing else runs on its nodes meanwhile.
    pub exclusive: bool,
    /// What it takes of what is counted, on each of its nodes.
    pub counts: BTreeMap<String, u32>,
}

/// A directory of the nodes.
#[derive(Clone, Debug, Serialize)]
pub struct Mount {
    /// Its name in the nodes' configuration.
    pub name: String,
    /// Where the task sees it.
    pub target: String,
    /// Even where tasks may write to it.
    pub read_only: bool,
}

/// A user inside of the container.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RunAs {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Cores and memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: u32,
    /// Bytes.
    pub memory_bytes: u64,
}

/// A process's end: either `code` or `signal` is set.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Exit {
    /// It exited with this code.
    pub code: Option<i32>,
    /// This signal ended it.
    pub signal: Option<i32>,
    /// The kernel killed a process of it for lack of memory.
    pub oom_killed: bool,
}

/// Why Shoal ended a task.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// `not_found`, `not_executable`, `launch`, `time_limit`, `poison` or `lost`.
    pub kind: String,
    /// In words.
    pub message: String,
}

/// A request to end a task, or to hold it.
#[derive(Clone, Debug, Serialize)]
pub struct Cancel {
    /// Who asked.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at_ms: i64,
}

/// One attempt.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// The node's identity.
    pub node_id: String,
    /// The node's name.
    pub node_name: String,
    /// When it began.
    pub started_ms: i64,
    /// When its end was recorded.
    pub ended_ms: Option<i64>,
    /// How it ended, in words.
    pub end: Option<String>,
    /// Its nodes by rank, of a task of several; empty of others.
    pub members: Vec<Member>,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// Its present identity.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its API answers.
    pub address: String,
    /// What it offers.
    pub total: Resources,
    /// What of that is free.
    pub free: Resources,
    /// The roots it has.
    pub roots: Vec<String>,
    /// Of its program.
    pub version: String,
    /// It takes no new tasks.
    pub draining: bool,
    /// Why, if that is not by somebody's wish; empty otherwise.
    pub reason: String,
    /// Tasks that run on it.
    pub running: u32,
    /// It carries an etcd member.
    pub voter: bool,
    /// What tasks may need and not every node has: `net:host`, `mount:NAME`.
    pub offers: Vec<String>,
    /// The most that a task may ask for, by `pids`, `open_files`, `log_bytes`.
    pub offers_up_to: BTreeMap<String, u64>,
    /// Who keeps it from taking tasks, while somebody does.
    pub lock: Option<Lock>,
    /// It takes no tasks because it is kept for people.
    pub kept: bool,
    /// What it has of what is counted.
    pub counts: BTreeMap<String, u32>,
    /// What of that no task takes.
    pub counts_free: BTreeMap<String, u32>,
    /// What of its tasks' limits and walls it does not enforce, for lack of root.
    pub unenforced: Vec<String>,
}

/// Several tasks.
#[derive(Clone, Debug, Serialize)]
pub struct Tasks {
    /// The tasks.
    pub tasks: Vec<Task>,
}

/// One page of tasks.
#[derive(Clone, Debug, Serialize)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Where the next page begins; empty at the end.
    pub next_page_token: String,
    /// Of the store, at which the list was read.
    pub revision: i64,
}

/// The tasks that a submission queued.
#[derive(Clone, Debug, Serialize)]
pub struct Submitted {
    /// Full ids, in the order given.
    pub ids: Vec<String>,
    /// What no node that is known could ever run, and why; only with `--allow-impossible`.
    pub impossible: Vec<String>,
}

/// The nodes.
#[derive(Clone, Debug, Serialize)]
pub struct Nodes {
    /// By name.
    pub nodes: Vec<Node>,
}

/// Why a task waits.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    /// The task's state.
    pub state: String,
    /// One sentence.
    pub summary: String,
    /// Queued tasks before it.
    pub ahead: u64,
    /// What speaks against each node.
    pub nodes: Vec<NodeReason>,
    /// It starts in so long at the latest; null where nobody knows.
    pub start_in_ms: Option<u64>,
    /// When it probably starts.
    pub probably_in_ms: Option<u64>,
}

/// What speaks against a node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReason {
    /// The node's name.
    pub node_name: String,
    /// In words.
    pub reason: String,
}

/// Counts, and the cluster's state.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Tasks that wait.
    pub queued: u64,
    /// Tasks that run.
    pub running: u64,
    /// Tasks whose process ended.
    pub complete: u64,
    /// Canceled tasks.
    pub canceled: u64,
    /// Tasks that Shoal ended.
    pub failed: u64,
    /// Live nodes.
    pub nodes: u32,
    /// Members of the store.
    pub voters: u32,
    /// Those that answer.
    pub voters_healthy: u32,
    /// Who answered.
    pub node_name: String,
    /// Something to know; null when all is well.
    pub warning: Option<String>,
    /// Who has paused the queue, while somebody has.
    pub pause: Option<Lock>,
    /// How many nodes are kept for people; null of none.
    pub reserve: Option<Reserve>,
}

/// The lower-case word of a state.
pub fn state_word(state: v1::State) -> String {
    word(state.as_str_name(), "STATE_")
}

/// The lower-case word of what a task sees of the network.
pub fn net_word(net: v1::Net) -> String {
    match net {
        v1::Net::Unspecified => net_word(v1::Net::Loopback),
        v1::Net::Loopback | v1::Net::None | v1::Net::Host => word(net.as_str_name(), "NET_"),
    }
}

/// The lower-case word of a kind of failure.
pub fn kind_word(kind: v1::FailureKind) -> String {
    word(kind.as_str_name(), "FAILURE_KIND_")
}

fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

fn time(ms: i64) -> Option<i64> {
    (ms != 0).then_some(ms)
}

impl From<&v1::Task> for Task {
    fn from(task: &v1::Task) -> Task {
        Task {
            id: task.id.clone(),
            spec: Spec::from(&task.spec.clone().unwrap_or_default()),
            state: state_word(task.state()),
            exit: task.exit.as_ref().map(Exit::from),
            failure: task
                .failure
                .as_ref()
                .map(|failure| Failure { kind: kind_word(failure.kind()), message: failure.message.clone() }),
            priority: task.priority,
            hold: task.hold.as_ref().map(|hold| Cancel {
                by: hold.by.clone(),
                reason: hold.reason.clone(),
                at_ms: hold.at_ms,
            }),
            moved: task.moved.as_ref().map(Moved::from),
            expected_ms: (task.expected_ms != 0).then_some(task.expected_ms),
            expected_from: (task.expected_ms != 0).then_some(task.expected_from),
            cancel: task.cancel.as_ref().map(|cancel| Cancel {
                by: cancel.by.clone(),
                reason: cancel.reason.clone(),
                at_ms: cancel.at_ms,
            }),
            attempts: task.attempts.iter().map(Attempt::from).collect(),
            submitted_ms: task.submitted_ms,
            ended_ms: time(task.ended_ms),
            revision: task.revision,
        }
    }
}

impl From<&v1::TaskSpec> for Spec {
    fn from(spec: &v1::TaskSpec) -> Spec {
        let on_node_loss = match spec.on_node_loss() {
            v1::OnNodeLoss::Unspecified | v1::OnNodeLoss::Requeue => "requeue",
            v1::OnNodeLoss::Fail => "fail",
        };
        Spec {
            command: spec.command.clone(),
            env: spec.env.clone().into_iter().collect(),
            root: spec.root.clone(),
            resources: Resources::from(&spec.resources.unwrap_or_default()),
            pids_max: spec.pids_max,
            name: spec.name.clone(),
            user: spec.user.clone(),
            workdir: spec.workdir.clone(),
            time_limit_ms: spec.time_limit_ms,
            kill_grace_ms: spec.kill_grace_ms,
            max_attempts: spec.max_attempts,
            on_node_loss: on_node_loss.to_owned(),
            net: net_word(spec.net()),
            mounts: spec.mounts.iter().map(Mount::from).collect(),
            labels: spec.labels.clone(),
            run_as: spec.run_as.map(|v1::RunAs { uid, gid }| RunAs { uid, gid }),
            open_files_max: spec.open_files_max,
            disk_bytes_max: spec.disk_bytes_max,
            io_bytes_per_s_max: spec.io_bytes_per_s_max,
            log_bytes_max: spec.log_bytes_max,
            priority: spec.priority,
            parts: spec.parts.iter().map(Part::from).collect(),
            gang_end: gang_end_word(spec.gang_end()),
            exclusive: spec.exclusive,
            counts: spec.counts.clone().into_iter().collect(),
        }
    }
}

impl From<&v1::Mount> for Mount {
    fn from(mount: &v1::Mount) -> Mount {
        Mount { name: mount.name.clone(), target: mount.target.clone(), read_only: mount.read_only }
    }
}

impl From<&v1::Resources> for Resources {
    fn from(resources: &v1::Resources) -> Resources {
        Resources { cpu_milli: resources.cpu_milli, memory_bytes: resources.memory_bytes }
    }
}

impl From<&v1::Exit> for Exit {
    fn from(exit: &v1::Exit) -> Exit {
        let (code, signal) = match exit.how {
            Some(How::Code(code)) => (Some(code), None),
            Some(How::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        Exit { code, signal, oom_killed: exit.oom_killed }
    }
}

impl From<&v1::Attempt> for Attempt {
    fn from(attempt: &v1::Attempt) -> Attempt {
        Attempt {
            number: attempt.number,
            node_id: attempt.node_id.clone(),
            node_name: attempt.node_name.clone(),
            started_ms: attempt.started_ms,
            ended_ms: time(attempt.ended_ms),
            end: (!attempt.end.is_empty()).then(|| attempt.end.clone()),
            members: (0..).zip(&attempt.members).map(Member::of).collect(),
        }
    }
}

impl From<&v1::Node> for Node {
    fn from(node: &v1::Node) -> Node {
        Node {
            id: node.id.clone(),
            name: node.name.clone(),
            address: node.address.clone(),
            total: Resources::from(&node.total.unwrap_or_default()),
            free: Resources::from(&node.free.unwrap_or_default()),
            roots: node.roots.clone(),
            version: node.version.clone(),
            draining: node.draining,
            reason: node.reason.clone(),
            running: node.running,
            voter: node.voter,
            offers: node.offers.clone(),
            offers_up_to: node.offers_up_to.clone().into_iter().collect(),
            lock: node.lock.as_ref().map(Lock::from),
            kept: node.kept,
            counts: node.counts.clone().into_iter().collect(),
            counts_free: node.counts_free.clone().into_iter().collect(),
            unenforced: node.unenforced.clone(),
        }
    }
}

impl From<&v1::ListResponse> for TaskPage {
    fn from(page: &v1::ListResponse) -> TaskPage {
        TaskPage {
            tasks: page.tasks.iter().map(Task::from).collect(),
            next_page_token: page.next_page_token.clone(),
            revision: page.revision,
        }
    }
}

impl From<&v1::WhyResponse> for Why {
    fn from(why: &v1::WhyResponse) -> Why {
        let reason = |node: &v1::NodeReason| NodeReason {
            node_name: node.node_name.clone(),
            reason: node.reason.clone(),
        };
        Why {
            state: state_word(why.state()),
            summary: why.summary.clone(),
            ahead: why.ahead,
            nodes: why.nodes.iter().map(reason).collect(),
            start_in_ms: why.start_in_ms,
            probably_in_ms: why.probably_in_ms,
        }
    }
}

impl From<&v1::StatusResponse> for Status {
    fn from(status: &v1::StatusResponse) -> Status {
        Status {
            queued: status.queued,
            running: status.running,
            complete: status.complete,
            canceled: status.canceled,
            failed: status.failed,
            nodes: status.nodes,
            voters: status.voters,
            voters_healthy: status.voters_healthy,
            node_name: status.node_name.clone(),
            warning: (!status.warning.is_empty()).then(|| status.warning.clone()),
            pause: status.pause.as_ref().map(Lock::from),
            reserve: status.reserve.as_ref().map(Reserve::from),
        }
    }
}
