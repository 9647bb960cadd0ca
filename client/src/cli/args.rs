//! All commands and their options. Each command's own options stand in its own file.

use crate::address::Address;
use crate::cmd;
use crate::output::Form;
use crate::values;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::time::Duration;

const AFTER_HELP: &str = "\
Examples:
  shoal dev up                              three nodes on this machine
  shoal run -- sh -c 'echo hello; exit 3'   runs, shows the log, leaves with 3
  seq 100 | sed 's/^/echo /' | shoal submit --file - -q | shoal wait -
  shoal log -f @last                        shoal why @queued

Exit codes: the task's own; 128+N signal N; 124 time limit; 125 Shoal failed; 126/127 cannot
execute / not found; 130 canceled; 2 wrong usage. Tasks: ID, 4 to 8 digits of a short id, @last,
@mine, @failed, @running, @queued, @held, a comma list, - for ids on stdin.";

/// Run work on a cluster
#[derive(Debug, Parser)]
#[command(name = "shoal", version, about, after_help = AFTER_HELP, disable_help_subcommand = false)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do; the status when nothing is given.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of all commands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Nodes to talk to, tried in turn: host:port or unix:/path [default: the dev cluster, else 127.0.0.1:7400]
    #[arg(short = 'N', long, global = true, value_name = "ADDR", value_delimiter = ',')]
    pub node: Vec<Address>,
    /// Form of data on stdout
    #[arg(short, long, global = true, value_name = "FORM", default_value = "table")]
    pub output: Form,
    /// Give up after this long [default: 30s for an answer; never for run, wait and log -f]
    #[arg(long, global = true, value_name = "TIME", value_parser = values::duration)]
    pub timeout: Option<Duration>,
    /// Colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Ids only, and no notes on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR says otherwise
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command on the cluster, show its output, leave with its exit code
    Run(Box<cmd::run::RunArgs>),
    /// Queue one task, or many from a file
    Submit(Box<cmd::submit::SubmitArgs>),
    /// The cluster, and what runs and waits
    Status(cmd::status::StatusArgs),
    /// List tasks
    #[command(visible_alias = "ls")]
    List(cmd::list::ListArgs),
    /// Everything about tasks
    Show(cmd::show::ShowArgs),
    /// What a task wrote
    Log(cmd::log::LogArgs),
    /// Wait until tasks have ended, leave with their exit code
    Wait(cmd::wait::WaitArgs),
    /// End tasks for good
    #[command(visible_alias = "kill")]
    Cancel(cmd::cancel::CancelArgs),
    /// Change how tasks wait: their priority
    Edit(cmd::edit::EditArgs),
    /// Give queued tasks another place in the queue
    Move(cmd::move_task::MoveArgs),
    /// Keep queued tasks from starting
    Hold(cmd::hold::HoldArgs),
    /// Let held tasks start
    Release(cmd::hold::ReleaseArgs),
    /// Why a task waits
    Why(cmd::why::WhyArgs),
    /// Nodes of the cluster
    #[command(subcommand)]
    Node(cmd::node::NodeCommand),
    /// All that waits
    #[command(subcommand)]
    Queue(cmd::lock::QueueCommand),
    /// Root file systems that tasks can run in
    #[command(subcommand)]
    Image(cmd::image::ImageCommand),
    /// A cluster on this machine
    #[command(subcommand)]
    Dev(cmd::dev::DevCommand),
    /// Compare scheduling policies on simulated nodes; needs no cluster
    Sim(Box<cmd::sim::SimArgs>),
    /// Completions for a shell
    Completion(cmd::completion::CompletionArgs),
    /// The version of this program
    Version,
}

/// Which tasks.
#[derive(Clone, Debug, Args)]
pub struct Selection {
    /// Tasks: ID, short ID, @last, @mine, @failed, @running, @queued, @held, A,B,… or - for stdin
    #[arg(value_name = "TASK", required = true)]
    pub tasks: Vec<String>,
}

/// Which task.
#[derive(Clone, Debug, Args)]
pub struct OneTask {
    /// The task: ID, short ID, or @last
    #[arg(value_name = "TASK")]
    pub task: String,
}
