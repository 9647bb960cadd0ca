//! crun and runc, called once for each start (`run`), with a bundle that gives a task the same as Shoal does: root, mounts, masks, namespaces, user
//! ids, limits, no capabilities, no_new_privs, and a seccomp profile of the same allow-list. Each start makes its own control group, as Shoal's does.

mod bundle;

use super::Result;
use super::processes::{self, idle_command};
use super::variant::Variant;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// A runtime with its bundles.
pub struct Oci {
    program: String,
    /// Holds `run` and `idle`, the bundles, and the runtime's own state.
    dir: PathBuf,
    /// Containers so far.
    containers: usize,
    idle: Vec<(String, Child)>,
}

impl Oci {
    /// Writes the bundles for the runtime `program`, for tasks in `root`.
    pub fn open(program: &str, dir: &Path, root: &Path) -> Result<Oci> {
        let dir = dir.join(program);
        let once = vec!["/bin/true".to_owned()];
        for (name, command) in [("run", once), ("idle", idle_command("/bin"))] {
            std::fs::create_dir_all(dir.join(name))?;
            let config = bundle::config(root, &command);
            std::fs::write(dir.join(name).join("config.json"), serde_json::to_vec_pretty(&config)?)?;
        }
        Ok(Oci { program: program.to_owned(), dir, containers: 0, idle: Vec::new() })
    }

    fn runtime(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.dir.join("state"));
        command
    }

    fn container(&self, bundle: &str, number: usize) -> Command {
        let mut command = self.runtime();
        command.arg("run").arg("--bundle").arg(self.dir.join(bundle)).arg(self.id(number));
        command
    }

    /// Of a container; names its control group as well, since the bundle, which all share, names none.
    fn id(&self, number: usize) -> String {
        format!("shoal-bench-{}-{number}", self.program)
    }
}

impl Variant for Oci {
    fn name(&self) -> &str {
        &self.program
    }

    fn run(&mut self, starts: usize, in_flight: usize) -> Result<Vec<Duration>> {
        let first = self.containers;
        self.containers += starts;
        processes::run(starts, in_flight, first, |number| self.container("run", number))
            .map_err(|error| format!("{}: {error}", self.program).into())
    }

    fn servant(&self) -> Option<u32> {
        None
    }

    fn start_idle(&mut self, count: usize) -> Result<()> {
        let numbers = self.containers..self.containers + count;
        self.containers += count;
        let children = processes::start_idle(numbers.clone().map(|number| self.container("idle", number)))?;
        self.idle = numbers.map(|number| self.id(number)).zip(children).collect();
        Ok(())
    }

    fn end_idle(&mut self) -> Result<()> {
        for (id, mut child) in std::mem::take(&mut self.idle) {
            let killed = self.runtime().args(["kill", &id, "KILL"]).status()?;
            if !killed.success() {
                return Err(format!("{} kill {id}: {killed}", self.program).into());
            }
            child.wait()?;
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
