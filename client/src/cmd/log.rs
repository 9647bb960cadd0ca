//! `shoal log`: what a task wrote, from any node.

use super::events;
use crate::cli::Done;
use crate::cli::args::OneTask;
use crate::cli::context::Context;
use crate::cli::report::Report;
use crate::error::Error;
use crate::exit::{TIME_LIMIT, is_terminal};
use crate::follow::Event;
use crate::output::log::LogOutput;
use crate::output::tasks::{nodes_wanted, now_ms};
use crate::values;
use clap::Args;
use futures::TryStreamExt;
use shoal_proto::v1;

const AFTER_HELP: &str = "\
Examples:
  shoal log -n 100 1a2b3c4d
  shoal log -t --since 5m @last
  shoal log @last             of a task of several nodes, line by line with the rank of each
  shoal log --rank 2 @last    of its third node alone, byte by byte
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
    /// Begin with what came since then: so long ago (90s, 5m), or a time (2026-11-21T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<i64>,
    /// A time before each line: when its first bytes came, right to 50 ms in the first minutes and to 1/2700 of the log's age later
    #[arg(short, long)]
    pub timestamps: bool,
    /// Every byte as it is, on a terminal too, where a log can do whatever a terminal can be told to
    #[arg(long)]
    pub raw: bool,
    /// The log of this attempt [default: the latest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub attempt: Option<u32>,
    /// The log of this member of a task of several nodes alone, as it is [default: of all, each line with its rank]
    #[arg(long, value_name = "N")]
    pub rank: Option<u32>,
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

/// How many members' logs are meant.
async fn members(context: &Context, args: &LogArgs, id: &str) -> Result<u32, Report> {
    if args.rank.is_some() {
        return Ok(1);
    }
    let task = context.client.get(id).await;
    let task = task.map_err(|error| Report::of(format!("cannot read the log of task {id}"), &error))?;
    Ok(task.spec.as_ref().map_or(1, nodes_wanted))
}

/// One attempt's log to where it is now or, when it is followed, to its end; those of several members one after the other.
async fn show(context: &Context, args: &LogArgs, id: &str) -> Done {
    let members = members(context, args, id).await?;
    let mut out = LogOutput::new(args.raw, args.timestamps);
    if members > 1 {
        out.label();
    }
    let failed = |error| Report::of(format!("cannot read the log of task {id}"), &error);
    for rank in (0..members).map(|member| args.rank.unwrap_or(member)) {
        let (task, attempt, follow) = (id.to_owned(), args.attempt.unwrap_or(0), args.follow);
        let mut chunks = context.client.log(v1::LogRequest { task, attempt, rank, follow, ..begin(args) });
        while let Some(chunk) = chunks.try_next().await.map_err(failed)? {
            out.show_of(rank, &chunk.data, chunk.offset, &chunk.times)?;
            if chunk.truncated {
                out.finish()?;
                context.note("the log reached its cap; what came after was dropped");
            }
        }
        out.finish()?;
    }
    Ok(0)
}

/// Where the log begins, and whether times are wanted.
fn begin(args: &LogArgs) -> v1::LogRequest {
    v1::LogRequest {
        tail_lines: args.lines.unwrap_or(0),
        since_ms: args.since.unwrap_or(0),
        timestamps: args.timestamps,
        rank: args.rank.unwrap_or(0),
        ..v1::LogRequest::default()
    }
}

/// A point in time, in milliseconds since 1970: how long ago, or when.
fn since(text: &str) -> Result<i64, String> {
    let at = match (text.parse::<jiff::Timestamp>(), values::duration(text)) {
        (Ok(at), _) => at.as_millisecond(),
        (_, Ok(ago)) => now_ms().saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)),
        _ => return Err("a duration like 90s or 5m, or a time like 2026-11-21T12:00:00Z".to_owned()),
    };
    // 0 would mean from the start, which is what anything before 1970 means.
    Ok(at.max(1))
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
    let several = members(context, args, id).await? > 1;
    let client = &context.client;
    let mut follow =
        if several { client.follow_all_from(id, begin(args)) } else { client.follow_from(id, begin(args)) };
    let mut out = LogOutput::new(args.raw, args.timestamps);
    if several {
        out.label();
    }
    while let Some(event) = follow.next().await.map_err(|error| lost(id, &error))? {
        match event {
            Event::Ended(task) => {
                out.finish()?;
                return Ok(events::ended(context, &task));
            }
            event => events::show(context, &mut out, event)?,
        }
    }
    Err(lost(id, &Error::Protocol("the task's end was not told")).into())
}

fn lost(id: &str, error: &Error) -> Report {
    Report::of(format!("lost sight of task {id}; it may go on"), error)
}
