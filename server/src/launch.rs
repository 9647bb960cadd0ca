//! From a task's record to what the runner needs to start it.

use crate::config::{Config, RootSource};
use crate::lease;
use shoal_container::protocol::{Limits, Net, Root, Start, User};
use shoal_core::id::NodeId;
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
}

impl Launch {
    /// Of this node's configuration.
    pub fn new(config: &Config) -> Launch {
        Launch {
            node_name: config.name.clone(),
            data_dir: config.data_dir.clone(),
            roots: config.roots.clone(),
            log_bytes_max: config.log_bytes_max,
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
            user: User::NOBODY,
            net: Net::Loopback,
            mounts: Vec::new(),
            limits: Limits::new(spec.resources.cpu_milli, spec.resources.memory_bytes, spec.pids_max),
            time_limit_ms: spec.time_limit_ms,
            kill_grace_ms: spec.kill_grace_ms,
            log_bytes_max: self.log_bytes_max,
            deadline_page: lease::page_path(&self.data_dir, task.node().unwrap_or(NodeId(Uuid::nil()))),
        }
    }

    fn environment(&self, task: &Task, fence: i64) -> BTreeMap<String, String> {
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), PATH.to_owned()),
            ("HOME".to_owned(), "/work".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        env.extend(task.spec.env.clone());
        env.insert("SHOAL_TASK".to_owned(), task.id.to_string());
        env.insert("SHOAL_ATTEMPT".to_owned(), task.attempt.to_string());
        env.insert("SHOAL_NODE_NAME".to_owned(), self.node_name.clone());
        env.insert("SHOAL_FENCE".to_owned(), fence.to_string());
        env
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::id::TaskId;
    use shoal_core::task::TaskState;
    use shoal_core::time::WallMs;

    #[test]
    fn an_attempt_obeys_the_page_of_the_identity_that_stole_it() {
        let spec = serde_json::from_value(serde_json::json!({
            "command": ["true"], "root": "host", "resources": {"cpu_milli": 100, "memory_bytes": 1},
            "pids_max": 1, "workdir": "/work", "kill_grace_ms": 1, "max_attempts": 3,
        }));
        let queued = Task::new(TaskId(Uuid::from_u128(1)), spec.unwrap(), (0, 1), WallMs(0));
        let launch = Launch {
            node_name: "n".to_owned(),
            data_dir: PathBuf::from("/data"),
            roots: BTreeMap::new(),
            log_bytes_max: 0,
        };
        let pages = [1, 2].map(|n| {
            let state = TaskState::Running { node: NodeId(Uuid::from_u128(n)), cancel: None };
            launch.start(&Task { state, ..queued.clone() }, 0).deadline_page
        });
        assert_ne!(pages[0], pages[1]);
        assert_eq!(pages[0], lease::page_path(&launch.data_dir, NodeId(Uuid::from_u128(1))));
    }
}
