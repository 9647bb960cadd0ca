//! `shoal hold` and `shoal release`: keep queued tasks from starting, and let them start.

use super::each;
use crate::cli::Done;
use crate::cli::args::Selection;
use crate::cli::context::Context;
use crate::output::json::state_word;
use clap::Args;
use shoal_proto::v1;

const HOLD_HELP: &str = "\
Examples:
  shoal hold @queued --reason 'the mirror is down'
  shoal release @held

A held task keeps its place in the queue and goes on gaining by its waiting. What runs cannot be held.";

/// The options of `hold`.
#[derive(Clone, Debug, Args)]
#[command(after_help = HOLD_HELP)]
pub struct HoldArgs {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// Why; shown with the task
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// The options of `release`.
#[derive(Clone, Debug, Args)]
pub struct ReleaseArgs {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
}

/// Holds tasks.
pub async fn hold(context: &Context, args: &HoldArgs) -> Done {
    let ask = |task| {
        let request = v1::HoldRequest { task, reason: args.reason.clone(), by: context.user.clone() };
        context.client.hold(request)
    };
    each::run(context, &args.selection.tasks, "hold", ask, |_| "held".to_owned()).await
}

/// Releases tasks.
pub async fn release(context: &Context, args: &ReleaseArgs) -> Done {
    let ask = |task| context.client.release(v1::ReleaseRequest { task });
    each::run(context, &args.selection.tasks, "release", ask, |task| state_word(task.state())).await
}
