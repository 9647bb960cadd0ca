//! `shoal dev down`: stops all nodes, in order: servers, then what they left.

use crate::cli::Done;
use crate::cli::args::Global;
use crate::cli::report::{Report, Stop};
use crate::dev::Cluster;
use crate::dev::process::Process;
use crate::output::note;
use rustix::process::Signal;
use std::io;
use std::time::{Duration, Instant};

/// For a server to hand over and stop its etcd.
const SERVER_LIMIT: Duration = Duration::from_secs(20);
/// For an etcd that lost its server.
const ETCD_LIMIT: Duration = Duration::from_secs(10);
/// For a runner to kill its containers.
const RUNNER_LIMIT: Duration = Duration::from_secs(15);

/// Stops the cluster.
pub fn run(cluster: &Cluster, global: &Global) -> Done {
    let stopped = stop(cluster, global.quiet)?;
    if !global.quiet {
        let count = cluster.nodes().len();
        let before = if stopped == 0 {
            "nothing ran".to_owned()
        } else {
            format!("{stopped} of {count} nodes stopped")
        };
        note(&format!("{before}; data kept (shoal dev up to resume, shoal dev rm to delete)"));
    }
    Ok(0)
}

/// Stops everything that runs. Returns how many servers that were.
pub fn stop(cluster: &Cluster, quiet: bool) -> Result<usize, Stop> {
    let all = |process: fn(&crate::dev::node::DevNode) -> Option<Process>| -> Vec<(String, Process)> {
        let found = cluster.nodes().iter().filter_map(|node| Some((node.name.clone(), process(node)?)));
        found.collect()
    };
    let servers = all(|node| node.server());
    let stopped = servers.len();
    end_all("server", servers, SERVER_LIMIT, quiet)?;
    // A server stops its own etcd: one that is left lost its server earlier.
    end_all("etcd", all(|node| node.etcd()), ETCD_LIMIT, quiet)?;
    end_all("runner", all(|node| node.runner()), RUNNER_LIMIT, quiet)?;
    Ok(stopped)
}

/// All are told first, then all are waited for: voters that go one by one would wait for a majority that is gone.
fn end_all(what: &str, processes: Vec<(String, Process)>, limit: Duration, quiet: bool) -> Result<(), Stop> {
    let failed = |name: &str, error: io::Error| {
        Report::new(format!("cannot stop the {what} of {name}"), error.to_string(), "shoal dev status")
    };
    for (name, process) in &processes {
        let told = process.signal(Signal::TERM).and_then(|()| process.signal(Signal::CONT));
        told.map_err(|error| failed(name, error))?;
    }
    let until = Instant::now() + limit;
    for (name, process) in &processes {
        let left = until.saturating_duration_since(Instant::now());
        if process.ended_within(left).map_err(|error| failed(name, error))? {
            continue;
        }
        if !quiet {
            note(&format!(
                "the {what} of {name} did not stop within {}: killed",
                humantime::format_duration(limit)
            ));
        }
        process.end(Signal::KILL, limit).map_err(|error| failed(name, error))?;
    }
    Ok(())
}
