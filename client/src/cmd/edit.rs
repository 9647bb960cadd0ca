//! `shoal edit`: changes how tasks wait.

use super::each;
use crate::cli::Done;
use crate::cli::args::Selection;
use crate::cli::context::Context;
use crate::output::json::state_word;
use crate::values;
use clap::Args;
use shoal_proto::convert::priority;
use shoal_proto::v1;

const AFTER_HELP: &str = "\
Examples:
  shoal edit 1a2b3c4d --priority high
  shoal edit @queued --priority 620

Higher is sooner: low 250, normal 500, high 750, urgent 900. An hour in the queue counts for 100, but never makes a task urgent.
A running task keeps the priority for the case that it is queued again.";

/// The options of `edit`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct EditArgs {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// The new priority: low, normal, high, urgent, or 1 to 1000
    #[arg(short, long, value_name = "P", value_parser = values::priority)]
    pub priority: u32,
}

/// Changes tasks.
pub async fn run(context: &Context, args: &EditArgs) -> Done {
    let ask = |task| context.client.reprioritize(v1::ReprioritizeRequest { task, priority: args.priority });
    let said =
        |task: &v1::Task| format!("{}, priority {}", state_word(task.state()), priority::text(task.priority));
    each::run(context, &args.selection.tasks, "edit", ask, said).await
}
