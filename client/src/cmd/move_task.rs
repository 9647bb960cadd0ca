//! `shoal move`: gives queued tasks another place in the queue.

use super::each;
use crate::cli::Done;
use crate::cli::args::Selection;
use crate::cli::context::Context;
use crate::cli::report::Report;
use crate::exit::SHOAL_FAILED;
use clap::{ArgGroup, Args};
use shoal_proto::v1::{self, move_task_request::To};

const AFTER_HELP: &str = "\
Examples:
  shoal move 1a2b3c4d --first
  shoal move 1a2b3c4d 5e6f7a8b --before 9c0d1e2f

Several stand in the order in which they are given. A moved task keeps its place, whatever its priority and waiting say,
until its priority is changed (shoal edit). Right before an urgent task it is in the urgent class as well; --first is before
all urgent ones. What runs cannot be moved; a held task can, and still waits.";

/// The options of `move`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP, group = ArgGroup::new("to").required(true))]
pub struct MoveArgs {
    /// Which, in the order that they are to have.
    #[command(flatten)]
    pub selection: Selection,
    /// Right before this queued task
    #[arg(long, value_name = "OTHER", group = "to")]
    pub before: Option<String>,
    /// Right behind this queued task
    #[arg(long, value_name = "OTHER", group = "to")]
    pub behind: Option<String>,
    /// Before all that are queued
    #[arg(long, group = "to")]
    pub first: bool,
    /// Behind all that are queued
    #[arg(long, group = "to")]
    pub last: bool,
}

/// Moves tasks, one after the other: each to the one that was moved before it, so that they stand together. What cannot be moved is left out.
pub async fn run(context: &Context, args: &MoveArgs) -> Done {
    let mut ids = context.resolve(&args.selection.tasks).await?;
    let mut to = match (&args.before, &args.behind) {
        (Some(other), _) => To::Before(context.resolve_one(other).await?),
        (_, Some(other)) => To::Behind(context.resolve_one(other).await?),
        (None, None) if args.first => To::First(true),
        (None, None) => To::Last(true),
    };
    let goes_before = matches!(to, To::Before(_) | To::First(_));
    if goes_before {
        ids.reverse();
    }
    let (mut done, mut code) = (Vec::new(), 0);
    for id in ids {
        let (by, wanted) = (context.user.clone(), Some(to.clone()));
        match context.client.move_task(v1::MoveTaskRequest { task: id.clone(), to: wanted, by }).await {
            Ok(task) => {
                to = if goes_before { To::Before(task.id.clone()) } else { To::Behind(task.id.clone()) };
                done.push(task);
            }
            Err(error) => {
                Report::of(format!("cannot move task {id}"), &error).print();
                code = SHOAL_FAILED;
            }
        }
    }
    if goes_before {
        done.reverse();
    }
    each::print(context, &done, |task| format!("moved {}", task.moved.clone().unwrap_or_default().to))?;
    Ok(code)
}
