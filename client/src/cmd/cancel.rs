//! `shoal cancel`: ends tasks for good.

use crate::cli::Done;
use crate::cli::args::Selection;
use crate::cli::context::Context;
use crate::cli::report::Report;
use crate::exit::SHOAL_FAILED;
use crate::output::{self, Form, json, tasks};
use crate::selector::short;
use clap::Args;
use futures::StreamExt;
use shoal_proto::v1;

/// Requests under way at once.
const AT_ONCE: usize = 32;

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

/// Cancels. Each task is tried; the first that could not be canceled is the error.
pub async fn run(context: &Context, args: &CancelArgs) -> Done {
    let ids = context.resolve(&args.selection.tasks).await?;
    let cancels = ids.iter().map(|id| async move {
        let request =
            v1::CancelRequest { task: id.clone(), reason: args.reason.clone(), by: context.user.clone() };
        (id, context.client.cancel(request).await)
    });
    let mut answers = futures::stream::iter(cancels).buffered(AT_ONCE);
    let (mut done, mut code) = (Vec::new(), 0);
    while let Some((id, answer)) = answers.next().await {
        match answer {
            Ok(task) => done.push(task),
            Err(error) => {
                Report::of(format!("cannot cancel task {id}"), &error).print();
                code = SHOAL_FAILED;
            }
        }
    }
    print(context, &done)?;
    Ok(code)
}

fn print(context: &Context, done: &[v1::Task]) -> std::io::Result<()> {
    match context.form {
        Form::Table | Form::Wide if context.quiet => output::lines(done.iter().map(|task| task.id.as_str())),
        Form::Table => output::lines(done.iter().map(|task| line(short(&task.id), task))),
        Form::Wide => output::lines(done.iter().map(|task| line(&task.id, task))),
        Form::Json if done.is_empty() => Ok(()),
        form => tasks::print(form, done),
    }
}

fn line(id: &str, task: &v1::Task) -> String {
    match task.state() {
        v1::State::Running => format!("{id} being canceled"),
        state => format!("{id} {}", json::state_word(state)),
    }
}
