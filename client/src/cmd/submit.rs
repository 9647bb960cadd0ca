//! `shoal submit`: queues one task from the arguments, or many from a file.

use super::task_options::TaskOptions;
use crate::cli::Done;
use crate::cli::context::{Context, stdin};
use crate::cli::report::{Report, Stop};
use crate::exit::{TIME_LIMIT, USAGE, exit_code_of_all};
use crate::output::{self, Form, json};
use crate::selector::short;
use crate::submit::{BATCH_TASKS_MAX, Partial, Submitted};
use crate::taskfile;
use clap::Args;
use shoal_proto::v1;
use uuid::Uuid;

const AFTER_HELP: &str = "\
Examples:
  shoal submit -- make world
  shoal submit --nodes 3 --resource gpu=2 -- sh -c 'train --rank $SHOAL_RANK --hosts $SHOAL_NODE_ADDRESSES'
  seq 1000 | sed 's/^/sleep /' | shoal submit --file - -q > ids
  echo '{\"command\": [\"make\"], \"cpus\": 2, \"root\": \"host\"}' | shoal submit --file -

A line of a file is a JSON object (names as in -o json, and cpus, memory, time_limit, grace) or plain
shell words; the task options are the defaults of each line.";

/// The options of `submit`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct SubmitArgs {
    /// Tasks from a file, one a line; - is stdin
    #[arg(short, long, value_name = "FILE", conflicts_with = "command")]
    pub file: Option<String>,
    /// Wait until all have ended, leave with the highest exit code
    #[arg(long)]
    pub wait: bool,
    /// Check only, queue nothing
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Queue also what no node that is known could ever run: it waits for a node that can
    #[arg(long, conflicts_with = "dry_run")]
    pub allow_impossible: bool,
    /// A UUID under which a retry names the same tasks [default: a new one]
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<Uuid>,
    /// The task.
    #[command(flatten)]
    pub task: TaskOptions,
    /// The command and its arguments
    #[arg(value_name = "CMD", required_unless_present = "file", trailing_var_arg = true)]
    pub command: Vec<String>,
}

/// Submits.
pub async fn run(context: &Context, args: SubmitArgs) -> Done {
    let tasks = tasks(context, &args).await?;
    if args.dry_run {
        return dry_run(context, tasks).await;
    }
    let request = args.request_id.unwrap_or_else(Uuid::now_v7);
    let submitted = if args.allow_impossible {
        context.client.submit_anyway(request, tasks).await
    } else {
        let ids = context.client.submit(request, tasks).await;
        ids.map(|ids| Submitted { ids, ..Submitted::default() })
    };
    let submitted = match submitted {
        Ok(submitted) => submitted,
        Err(partial) => return partly(context, request, &partial),
    };
    for why in &submitted.impossible {
        context.note(&format!("queued, but it can start nowhere as things are: {why}"));
    }
    print(context, &submitted)?;
    let ids = submitted.ids;
    if !args.wait {
        return Ok(0);
    }
    let tasks = super::wait::until_ended(context, &ids).await?;
    Ok(tasks.map_or(TIME_LIMIT, |tasks| exit_code_of_all(&tasks)))
}

async fn tasks(context: &Context, args: &SubmitArgs) -> Result<Vec<v1::TaskSpec>, Stop> {
    let base = args.task.spec(args.command.clone(), &context.user);
    let Some(file) = &args.file else { return Ok(vec![base]) };
    let (name, text) = match file.as_str() {
        "-" => ("stdin", stdin().await?),
        path => {
            let read = tokio::fs::read_to_string(path).await;
            (
                path,
                read.map_err(|error| {
                    Report::new(format!("cannot read {path}"), error.to_string(), format!("ls -l {path}"))
                        .code(USAGE)
                })?,
            )
        }
    };
    let tasks = taskfile::parse(name, &text, &base);
    let tasks = tasks.map_err(|bad| {
        Report::new(
            "cannot read the tasks, none was submitted",
            bad.to_string(),
            "shoal submit --help   (what a line may be)",
        )
        .code(USAGE)
    })?;
    if tasks.is_empty() {
        let why = format!("{name} has no task: only empty lines and comments");
        return Err(Report::new("nothing to submit", why, "one command a line").code(USAGE).into());
    }
    Ok(tasks)
}

/// Each batch is checked on its own, so that a large file is checked as it would be submitted.
async fn dry_run(context: &Context, tasks: Vec<v1::TaskSpec>) -> Done {
    let count = tasks.len();
    let checked = context.client.validate(tasks).await;
    checked.map_err(|error| Report::of(format!("would not be queued ({count} tasks)"), &error))?;
    context.note(&format!("{count} of {count} tasks would be queued"));
    if context.form == Form::Json {
        output::json(&json::Submitted { ids: Vec::new(), impossible: Vec::new() })?;
    }
    Ok(0)
}

fn print(context: &Context, submitted: &Submitted) -> std::io::Result<()> {
    let ids = &submitted.ids;
    match context.form {
        Form::Json => {
            output::json(&json::Submitted { ids: ids.clone(), impossible: submitted.impossible.clone() })
        }
        Form::Jsonl => output::json_lines(ids.iter().map(|id| serde_json::json!({ "id": id }))),
        Form::Name => output::lines(ids),
        Form::Table | Form::Wide if context.quiet => output::lines(ids),
        Form::Table => output::lines(ids.iter().map(|id| format!("{} queued", short(id)))),
        Form::Wide => output::lines(ids.iter().map(|id| format!("{id} queued"))),
    }
}

/// What was queued is told, so that nothing runs that nobody knows of.
fn partly(context: &Context, request: Uuid, partial: &Partial) -> Done {
    let mut report = Report::of("cannot submit", &partial.source);
    if !partial.ids.is_empty() {
        print(context, &Submitted { ids: partial.ids.clone(), ..Submitted::default() })?;
        report.what = format!("the first {} tasks are queued, the others are not", partial.ids.len());
    }
    if partial.source.is_transient() || !partial.ids.is_empty() {
        report.next = format!(
            "the same again with --request-id {request}: in batches of {BATCH_TASKS_MAX}, none is queued twice"
        );
    }
    Err(report.into())
}
