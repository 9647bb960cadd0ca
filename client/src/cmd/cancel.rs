//! `shoal cancel`: ends tasks for good.

use super::each;
use crate::cli::Done;
use crate::cli::args::Selection;
use crate::cli::context::Context;
use crate::output::json;
use clap::Args;
use shoal_proto::v1;

const AFTER_HELP: &str = "\
Examples:
  shoal cancel 1a2b3c4d --reason 'wrong branch'
  shoal cancel @queued

A queued task is canceled at once; a running one is sent SIGTERM, and SIGKILL after its --grace. Final
once it is answered; shoal wait waits for the end.";

/// The options of `cancel`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CancelArgs {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// Why; kept with the task
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// Cancels.
pub async fn run(context: &Context, args: &CancelArgs) -> Done {
    let ask = |task| {
        let request = v1::CancelRequest { task, reason: args.reason.clone(), by: context.user.clone() };
        context.client.cancel(request)
    };
    each::run(context, &args.selection.tasks, "cancel", ask, said).await
}

fn said(task: &v1::Task) -> String {
    match task.state() {
        v1::State::Running => "being canceled".to_owned(),
        state => json::state_word(state),
    }
}
