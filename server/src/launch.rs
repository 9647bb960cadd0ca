//! From a task's record to what the runner needs to start it.

use crate::config::{Config, RootSource};
use shoal_container::protocol::{Limits, Root, Start};
use shoal_core::task::Task;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where programs are looked for when the task does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What does not change from task to task.
#[derive(Clone, Debug)]
pub struct Launch {
    node_name: String,
    roots: BTreeMap<String, RootSource>,
    log_bytes_max: u64,
}

impl Launch {
    /// Of this node's configuration.
    pub fn new(config: &Config) -> Launch {
        Launch {
            node_name: config.name.clone(),
            roots: config.roots.clone(),
            log_bytes_max: config.log_bytes_max,
        }
    }

    /// The start of the task's present attempt. `fence` is the revision that gave the node the task.
    pub fn start(&self, task: &Task, deadline_page: &Path, fence: i64) -> Start {
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
            limits: Limits {
                cpu_milli: spec.resources.cpu_milli,
                memory_bytes: spec.resources.memory_bytes,
                pids_max: spec.pids_max,
            },
            time_limit_ms: spec.time_limit_ms,
            kill_grace_ms: spec.kill_grace_ms,
            log_bytes_max: self.log_bytes_max,
            deadline_page: deadline_page.to_owned(),
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
