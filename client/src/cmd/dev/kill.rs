//! `shoal dev kill`, `pause`, `resume`: what may happen to a node.

use super::{PlaceArgs, node};
use crate::cli::Done;
use crate::cli::report::{Report, Stop};
use crate::dev::process::Process;
use crate::output::note;
use clap::Args;
use rustix::process::Signal;
use std::time::Duration;

/// For a process to be gone after SIGKILL.
const GONE_LIMIT: Duration = Duration::from_secs(10);

const KILL_AFTER_HELP: &str = "\
By default the server and its etcd are killed, as when a program crashes: its containers die at their
deadline, before their tasks start elsewhere. With --all they are killed too, as when a machine loses power.";

/// The options of `dev kill`.
#[derive(Clone, Debug, Args)]
#[command(after_help = KILL_AFTER_HELP)]
pub struct KillArgs {
    /// The node: node-2, or 2
    #[arg(value_name = "NODE")]
    pub name: String,
    /// The runner and the containers too
    #[arg(long)]
    pub all: bool,
    /// Where the cluster is.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// The options of `dev pause` and `dev resume`.
#[derive(Clone, Debug, Args)]
pub struct PauseArgs {
    /// The node: node-2, or 2
    #[arg(value_name = "NODE")]
    pub name: String,
    /// The node's etcd too
    #[arg(long)]
    pub etcd: bool,
    /// Where the cluster is.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Kills a node.
pub fn kill(args: &KillArgs) -> Done {
    let cluster = args.place.cluster()?;
    let node = node(&cluster, &args.name)?;
    let (server, etcd, runner) = (node.server(), node.etcd(), node.runner());
    if server.is_none() && etcd.is_none() && !(args.all && runner.is_some()) {
        return Err(not_running(&node.name));
    }
    for process in [&server, &etcd].into_iter().flatten() {
        signal(process, Signal::KILL)?;
    }
    for process in [&server, &etcd].into_iter().flatten() {
        process.ended_within(GONE_LIMIT).map_err(|error| failed(&node.name, &error))?;
    }
    if let Some(runner) = runner.filter(|_| args.all) {
        // Its end by SIGTERM takes all its containers with it, which SIGKILL does not.
        runner.end(Signal::TERM, GONE_LIMIT).map_err(|error| failed(&node.name, &error))?;
    }
    let left = if args.all { "with all its containers" } else { "its containers die at their deadline" };
    note(&format!("{} killed; {left}     shoal dev up (starts it again)", node.name));
    Ok(0)
}

/// Stops a node's server from running.
pub fn pause(args: &PauseArgs) -> Done {
    send(args, Signal::STOP, "paused     shoal dev resume (lets it go on)")
}

/// Lets a paused node go on.
pub fn resume(args: &PauseArgs) -> Done {
    send(args, Signal::CONT, "goes on")
}

fn send(args: &PauseArgs, sent: Signal, said: &str) -> Done {
    let cluster = args.place.cluster()?;
    let node = node(&cluster, &args.name)?;
    let server = node.server().ok_or_else(|| not_running(&node.name))?;
    signal(&server, sent)?;
    if let Some(etcd) = node.etcd().filter(|_| args.etcd) {
        signal(&etcd, sent)?;
    }
    note(&format!("{} {said}", node.name));
    Ok(0)
}

fn signal(process: &Process, signal: Signal) -> Result<(), Stop> {
    Ok(process.signal(signal).map_err(|error| failed(&format!("process {}", process.pid), &error))?)
}

fn failed(name: &str, error: &std::io::Error) -> Report {
    Report::new(format!("cannot signal {name}"), error.to_string(), "shoal dev status")
}

fn not_running(name: &str) -> Stop {
    Report::new(format!("{name} does not run"), "it has no live process", "shoal dev up").into()
}
