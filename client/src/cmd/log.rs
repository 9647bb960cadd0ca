//! `shoal log`: what a task wrote, from any node.

use super::events;
use crate::cli::Done;
use crate::cli::args::OneTask;
use crate::cli::context::Context;
use crate::cli::report::Report;
use crate::error::Error;
use crate::exit::{TIME_LIMIT, is_terminal};
use crate::follow::Event;
use clap::Args;
use futures::TryStreamExt;
use shoal_proto::v1;
use std::io::{self, Write};

const AFTER_HELP: &str = "\
Examples:
  shoal log -n 100 1a2b3c4d
  shoal log -f @last          follows to the end, leaves with the task's exit code";

/// The options of `log`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct LogArgs {
    /// Which.
    #[command(flatten)]
    pub one: OneTask,
    /// Wait for more until the task has ended, leave with its exit code
    #[arg(short, long)]
    pub follow: bool,
    /// Begin so many lines before the end
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<u64>,
    /// The log of this attempt [default: the latest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub attempt: Option<u32>,
}

/// Shows the log.
pub async fn run(context: &Context, args: &LogArgs) -> Done {
    let id = context.resolve_one(&args.one.task).await?;
    let shown = match (args.follow, args.attempt) {
        (false, _) if args.lines == Some(0) => return Ok(0),
        (false, _) => return show(context, args, &id).await,
        (true, Some(attempt)) => context.within(follow_attempt(context, args, &id, attempt)).await,
        (true, None) => context.within(follow(context, args, &id)).await,
    };
    shown.unwrap_or(Ok(TIME_LIMIT))
}

/// One attempt's log: to where it is now or, when it is followed, to its end.
async fn show(context: &Context, args: &LogArgs, id: &str) -> Done {
    let request = v1::LogRequest {
        task: id.to_owned(),
        attempt: args.attempt.unwrap_or(0),
        follow: args.follow,
        tail_lines: args.lines.unwrap_or(0),
        ..v1::LogRequest::default()
    };
    let mut chunks = context.client.log(request);
    let failed = |error| Report::of(format!("cannot read the log of task {id}"), &error);
    while let Some(chunk) = chunks.try_next().await.map_err(failed)? {
        let mut out = io::stdout().lock();
        out.write_all(&chunk.data)?;
        out.flush()?;
        if chunk.truncated {
            context.note("the log reached its cap; what came after was dropped");
        }
    }
    Ok(0)
}

/// Leaves with the task's exit code when that attempt was its last.
async fn follow_attempt(context: &Context, args: &LogArgs, id: &str, attempt: u32) -> Done {
    show(context, args, id).await?;
    let task = context.client.get(id).await.map_err(|error| lost(id, &error))?;
    let last = task.attempts.last().is_some_and(|last| last.number == attempt);
    if last && is_terminal(task.state()) { Ok(events::ended(context, &task)) } else { Ok(0) }
}

/// Follows attempt after attempt until the task has ended.
async fn follow(context: &Context, args: &LogArgs, id: &str) -> Done {
    let mut follow = context.client.follow_tail(id, args.lines.unwrap_or(0));
    while let Some(event) = follow.next().await.map_err(|error| lost(id, &error))? {
        match event {
            Event::Ended(task) => return Ok(events::ended(context, &task)),
            event => events::show(context, event)?,
        }
    }
    Err(lost(id, &Error::Protocol("the task's end was not told")).into())
}

fn lost(id: &str, error: &Error) -> Report {
    Report::of(format!("lost sight of task {id}; it may go on"), error)
}
