//! From a task's record to what the runner needs to start it.

use crate::config::{Config, RootSource};
use crate::lease;
use shoal_container::GANG_DIRECTORY;
use shoal_container::protocol::{Limits, Mount, Net, Root, Start, User};
use shoal_core::gang::Member;
use shoal_core::id::NodeId;
use shoal_core::image;
use shoal_core::resources::Resources;
use shoal_core::spec::{self, TaskSpec};
use shoal_core::task::Task;
use std::collections::BTreeMap;
use std::path::PathBuf;
use uuid::Uuid;

/// Where programs are looked for when the task does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What does not change from task to task.
#[derive(Clone, Debug)]
pub struct Launch {
    node_name: String,
    data_dir: PathBuf,
    roots: BTreeMap<String, RootSource>,
    log_bytes_max: u64,
    io_bytes_per_s_max: u64,
    resources: Resources,
}

impl Launch {
    /// Of this node's configuration.
    pub fn new(config: &Config) -> Launch {
        Launch {
            node_name: config.name.clone(),
            data_dir: config.data_dir.clone(),
            roots: config.roots.clone(),
            log_bytes_max: config.log_bytes_max,
            io_bytes_per_s_max: config.allow.io_bytes_per_s_max,
            resources: config.resources,
        }
    }

    /// The start of the task's present attempt. `fence` is the revision that gave the node the task.
    ///
    /// The attempt obeys the page of the identity that its record names, whatever identity the node has by now: a start that comes late, after
    /// the node has come back under a new one, finds a page that nobody advances any more, or none.
    pub fn start(&self, task: &Task, fence: i64) -> Start {
        let spec = &task.spec;
        let root = match self.roots.get(&spec.root) {
            Some(RootSource::Host) => Root::Host,
            Some(RootSource::Directory(dir)) => Root::Directory(dir.clone()),
            None if image::is_image(&spec.root) => {
                Root::Image(spec.root.trim_start_matches(image::PREFIX).to_owned())
            }
            // The plan gives this node only roots that it registered; a root taken away at a restart fails the launch by its path.
            None => Root::Directory(PathBuf::from("/nonexistent").join(&spec.root)),
        };
        Start {
            id: task.attempt_id().to_string(),
            command: spec.command.clone(),
            env: self.environment(task, fence),
            workdir: spec.workdir.clone(),
            root,
            hostname: self.node_name.clone(),
            user: spec.run_as.map_or(User::NOBODY, |asked| User { uid: asked.uid, gid: asked.gid }),
            net: net(spec.net),
            mounts: spec.mounts.iter().map(mount).collect(),
            gang: !task.members().is_empty(),
            limits: self.limits(spec),
            time_limit_ms: spec.time_limit_ms,
            kill_grace_ms: spec.kill_grace_ms,
            log_bytes_max: lower(spec.log_bytes_max, self.log_bytes_max),
            deadline_page: lease::page_path(&self.data_dir, self.identity_in(task)),
        }
    }

    /// Which identity of this node the attempt's record names: of several members, the one of this name.
    fn identity_in(&self, task: &Task) -> NodeId {
        let mine = task.members().iter().find(|member| member.node_name == self.node_name);
        mine.map(|member| member.node).or(task.node()).unwrap_or(NodeId(Uuid::nil()))
    }

    /// The task's own, and the node's where those are lower. (What a node gives at most of the others the plan has seen to.)
    fn limits(&self, spec: &TaskSpec) -> Limits {
        // Who has the node alone has all of it.
        let resources = if spec.exclusive { self.resources } else { spec.resources };
        Limits {
            open_files: spec.open_files_max,
            disk_bytes: spec.disk_bytes_max,
            io_bytes_per_s: lower(spec.io_bytes_per_s_max, self.io_bytes_per_s_max),
            ..Limits::new(resources.cpu_milli, resources.memory_bytes, spec.pids_max)
        }
    }

    fn environment(&self, task: &Task, fence: i64) -> BTreeMap<String, String> {
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), PATH.to_owned()),
            // Whoever the task is: the home that its root names for a user is read-only, or of another user.
            ("HOME".to_owned(), "/work".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        env.extend(task.spec.env.clone());
        env.insert("SHOAL_TASK".to_owned(), task.id.to_string());
        env.insert("SHOAL_ATTEMPT".to_owned(), task.attempt.to_string());
        env.insert("SHOAL_NODE_NAME".to_owned(), self.node_name.clone());
        env.insert("SHOAL_FENCE".to_owned(), fence.to_string());
        env.extend(task.spec.counts.0.iter().map(counted));
        env.extend(self.gang_environment(task.members()));
        env
    }
}

impl Launch {
    /// What a member of a task of several nodes knows of itself and the others, by rank.
    fn gang_environment(&self, members: &[Member]) -> Vec<(String, String)> {
        let Some(rank) = members.iter().position(|member| member.node_name == self.node_name) else {
            return Vec::new();
        };
        let list = |of: fn(&Member) -> &str| members.iter().map(of).collect::<Vec<_>>().join(",");
        let env = [
            ("SHOAL_RANK", rank.to_string()),
            ("SHOAL_NODES", members.len().to_string()),
            ("SHOAL_NODE_NAMES", list(|member| &member.node_name)),
            ("SHOAL_NODE_ADDRESSES", list(|member| &member.address)),
            ("SHOAL_GANG_DIR", GANG_DIRECTORY.to_owned()),
        ];
        env.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// How many it may use. Which ones they are nobody but the task and its node's operator knows.
fn counted((name, count): (&String, &u32)) -> (String, String) {
    (format!("SHOAL_RESOURCE_{}", name.to_ascii_uppercase().replace('-', "_")), count.to_string())
}

/// The lower of two limits; 0 is none.
fn lower(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, limit) | (limit, 0) => limit,
        (one, other) => one.min(other),
    }
}

fn net(asked: spec::Net) -> Net {
    match asked {
        spec::Net::Loopback => Net::Loopback,
        spec::Net::None => Net::None,
        spec::Net::Host => Net::Host,
    }
}

fn mount(asked: &spec::Mount) -> Mount {
    Mount { name: asked.name.clone(), target: asked.target.clone(), read_only: asked.read_only }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::clock::Tick;
    use shoal_core::id::TaskId;
    use shoal_core::task::TaskState;
    use shoal_core::time::WallMs;
    use shoal_core::transition::{Transition, apply};

    /// A task that chooses nothing beside `more`.
    fn task(more: serde_json::Value) -> Task {
        let mut spec = serde_json::json!({
            "command": ["true"], "root": "host", "resources": {"cpu_milli": 100, "memory_bytes": 1},
            "pids_max": 1, "workdir": "/work", "kill_grace_ms": 1, "max_attempts": 3,
        });
        let chosen = more.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(chosen);
        Task::new(TaskId(Uuid::from_u128(1)), serde_json::from_value(spec).unwrap(), (0, 1), WallMs(0))
    }

    fn launch() -> Launch {
        Launch {
            node_name: "n".to_owned(),
            data_dir: PathBuf::from("/data"),
            roots: BTreeMap::from([("host".to_owned(), RootSource::Host)]),
            log_bytes_max: 64 << 20,
            io_bytes_per_s_max: 8 << 20,
            resources: Resources { cpu_milli: 8_000, memory_bytes: 1 << 30 },
        }
    }

    #[test]
    fn a_task_that_chooses_nothing_gets_the_nodes_usual() {
        let start = launch().start(&task(serde_json::json!({})), 0);
        assert!(
            !start.gang && !start.env.contains_key("SHOAL_GANG_DIR"),
            "a task of one node shares nothing"
        );
        assert_eq!((start.user, start.net, start.mounts), (User::NOBODY, Net::Loopback, Vec::new()));
        assert_eq!(start.limits, Limits { io_bytes_per_s: 8 << 20, ..Limits::new(100, 1, 1) });
        assert_eq!(start.log_bytes_max, 64 << 20);
    }

    #[test]
    fn choices_reach_the_runner_and_only_tighten() {
        let chosen = serde_json::json!({
            "net": "none", "run_as": {"uid": 0, "gid": 7}, "open_files_max": 64, "disk_bytes_max": 4096,
            "mounts": [{"name": "data", "target": "/data", "read_only": true}],
            "io_bytes_per_s_max": 1 << 20, "log_bytes_max": 1 << 20,
        });
        let start = launch().start(&task(chosen), 0);
        assert_eq!((start.user, start.net), (User { uid: 0, gid: 7 }, Net::None));
        let data = Mount { name: "data".to_owned(), target: "/data".to_owned(), read_only: true };
        assert_eq!(start.mounts, [data]);
        let limits =
            Limits { open_files: 64, disk_bytes: 4096, io_bytes_per_s: 1 << 20, ..Limits::new(100, 1, 1) };
        assert_eq!((start.limits, start.log_bytes_max), (limits, 1 << 20));
        let greedy = serde_json::json!({"io_bytes_per_s_max": 1_u64 << 40, "log_bytes_max": 1_u64 << 40});
        let start = launch().start(&task(greedy), 0);
        assert_eq!((start.limits.io_bytes_per_s, start.log_bytes_max), (8 << 20, 64 << 20));
    }

    #[test]
    fn who_asks_for_a_node_alone_gets_all_of_it() {
        let start = launch().start(&task(serde_json::json!({"exclusive": true})), 0);
        assert_eq!((start.limits.cpu_milli, start.limits.memory_bytes), (8_000, 1 << 30));
    }

    #[test]
    fn what_is_counted_is_told_by_number() {
        let start = launch().start(&task(serde_json::json!({"counts": {"a100-80g": 2, "tape": 1}})), 0);
        let said = |name: &str| start.env[name].as_str();
        assert_eq!((said("SHOAL_RESOURCE_A100_80G"), said("SHOAL_RESOURCE_TAPE")), ("2", "1"));
    }

    #[test]
    fn a_member_knows_its_rank_and_obeys_the_page_of_its_own_identity() {
        let (queued, launch) = (task(serde_json::json!({"parts": [{"nodes": 2}]})), launch());
        let member = |n, name: &str| Member {
            node: NodeId(Uuid::from_u128(n)),
            node_name: name.to_owned(),
            address: format!("10.0.0.{n}"),
            end: None,
        };
        let members = vec![member(1, "m"), member(2, "n")];
        let node = members[0].node;
        let steal = Transition::Steal { node, node_name: "m".to_owned(), tick: Tick(0), members };
        let start = launch.start(&apply(&queued, &steal, WallMs(0)).unwrap(), 0);
        assert_eq!(start.deadline_page, lease::page_path(&launch.data_dir, NodeId(Uuid::from_u128(2))));
        let said = |name: &str| start.env[name].as_str();
        assert_eq!((said("SHOAL_RANK"), said("SHOAL_NODES")), ("1", "2"));
        assert!(start.gang && said("SHOAL_GANG_DIR") == "/run/shoal/gang");
        assert_eq!((said("SHOAL_NODE_NAMES"), said("SHOAL_NODE_ADDRESSES")), ("m,n", "10.0.0.1,10.0.0.2"));
    }

    #[test]
    fn an_attempt_obeys_the_page_of_the_identity_that_stole_it() {
        let (queued, launch) = (task(serde_json::json!({})), launch());
        let pages = [1, 2].map(|n| {
            let state = TaskState::Running { node: NodeId(Uuid::from_u128(n)), cancel: None, verdict: None };
            launch.start(&Task { state, ..queued.clone() }, 0).deadline_page
        });
        assert_ne!(pages[0], pages[1]);
        assert_eq!(pages[0], lease::page_path(&launch.data_dir, NodeId(Uuid::from_u128(1))));
    }
}
