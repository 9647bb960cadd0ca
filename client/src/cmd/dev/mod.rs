//! `shoal dev`: a cluster on this machine.

mod down;
mod exec;
mod kill;
mod rm;
mod status;
mod up;

use crate::cli::Done;
use crate::cli::args::Global;
use crate::cli::report::{Report, Stop};
use crate::dev::node::DevNode;
use crate::dev::{self, Cluster, DevError};
use crate::exit::USAGE;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The commands of `dev`.
#[derive(Clone, Debug, Subcommand)]
pub enum DevCommand {
    /// Start a cluster on this machine, or the nodes of it that do not run
    Up(up::UpArgs),
    /// Stop all nodes; data is kept
    Down(PlaceArgs),
    /// Kill a node without warning (SIGKILL)
    Kill(kill::KillArgs),
    /// Stop a node's server from running (SIGSTOP), as a machine that hangs
    Pause(kill::PauseArgs),
    /// Let a paused node go on (SIGCONT)
    Resume(kill::PauseArgs),
    /// Delete the cluster with its data
    Rm(rm::RmArgs),
    /// The nodes and their processes
    Status(PlaceArgs),
    /// Become another program in a session of its own; what `up` starts nodes with
    #[command(hide = true)]
    ExecDetached(exec::ExecArgs),
}

/// Where the cluster is.
#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// The cluster's directory [default: $XDG_RUNTIME_DIR/shoal-dev, else ~/.local/state/shoal/dev]
    #[arg(long, value_name = "DIR", env = "SHOAL_DEV_DIR")]
    pub dir: Option<PathBuf>,
}

impl PlaceArgs {
    fn dir(&self) -> Result<PathBuf, DevError> {
        match &self.dir {
            Some(dir) => std::path::absolute(dir).map_err(dev::at(dir)),
            None => dev::default_dir(),
        }
    }

    /// The cluster that is there, if any.
    fn find(&self) -> Result<Option<Cluster>, Stop> {
        let found = self.dir().and_then(|dir| Cluster::load(&dir));
        Ok(found.map_err(|error| failed("cannot read the dev cluster", &error))?)
    }

    /// The cluster that must be there.
    fn cluster(&self) -> Result<Cluster, Stop> {
        let cluster = self.find()?;
        Ok(cluster.ok_or_else(|| {
            let place = self.dir().map(|dir| dir.display().to_string()).unwrap_or_default();
            Report::new("there is no dev cluster", format!("{place} holds none"), "shoal dev up")
        })?)
    }
}

/// The node that is named, of the cluster.
fn node<'a>(cluster: &'a Cluster, name: &str) -> Result<&'a DevNode, Stop> {
    Ok(cluster.node(name).ok_or_else(|| {
        let names: Vec<&str> = cluster.nodes().iter().map(|node| node.name.as_str()).collect();
        Report::new(
            format!("there is no node {name}"),
            format!("the nodes are {}", names.join(", ")),
            "shoal dev status",
        )
        .code(USAGE)
    })?)
}

fn failed(what: &str, error: &dyn std::error::Error) -> Report {
    Report::new(what, error.to_string(), "shoal dev status, or another --dir")
}

/// Runs a command of `dev`.
pub async fn run(command: DevCommand, global: &Global) -> Done {
    match command {
        DevCommand::Up(args) => up::run(&args, global).await,
        DevCommand::Down(args) => down::run(&args.cluster()?, global),
        DevCommand::Kill(args) => kill::kill(&args),
        DevCommand::Pause(args) => kill::pause(&args),
        DevCommand::Resume(args) => kill::resume(&args),
        DevCommand::Rm(args) => rm::run(&args, global),
        DevCommand::Status(args) => status::run(&args, global).await,
        DevCommand::ExecDetached(args) => exec::run(&args),
    }
}
