//! `shoal list`: tasks, newest first, page after page.

use crate::cli::Done;
use crate::cli::context::Context;
use crate::cli::report::Report;
use crate::output::{self, Form, json, tasks};
use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use shoal_proto::v1;
use shoal_proto::v1::State;
use std::collections::HashMap;

/// Tasks of one page, unless fewer are wanted.
const PAGE_SIZE: usize = 500;

const AFTER_HELP: &str = "\
Examples:
  shoal list --state failed,canceled --limit 100
  shoal list --user ann -o jsonl --limit 0 | jq .id";

/// The options of `list`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ListArgs {
    /// Only tasks in these states
    #[arg(short, long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<StateArg>,
    /// Only this user's tasks
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// At most so many; 0 is all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    /// Oldest first
    #[arg(long)]
    pub oldest_first: bool,
    /// Go on where an earlier list ended (its next_page_token)
    #[arg(long, value_name = "TOKEN")]
    pub page_token: Option<String>,
}

/// A state, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateArg {
    /// Waits for a node
    Queued,
    /// A node has it
    Running,
    /// Its process ended
    Complete,
    /// Somebody ended it
    Canceled,
    /// Shoal or a limit ended it
    Failed,
}

impl StateArg {
    fn wire(self) -> State {
        match self {
            StateArg::Queued => State::Queued,
            StateArg::Running => State::Running,
            StateArg::Complete => State::Complete,
            StateArg::Canceled => State::Canceled,
            StateArg::Failed => State::Failed,
        }
    }
}

/// Lists.
pub async fn run(context: &Context, args: &ListArgs) -> Done {
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let request = v1::ListRequest {
        states: args.state.iter().map(|state| state.wire().into()).collect(),
        user: args.user.clone().unwrap_or_default(),
        page_size: u32::try_from(limit.min(PAGE_SIZE)).unwrap_or(u32::MAX),
        page_token: args.page_token.clone().unwrap_or_default(),
        newest_first: !args.oldest_first,
    };
    let mut whole = v1::ListResponse::default();
    let mut left = limit;
    let mut at = Some(request);
    while let Some(request) = at.take().filter(|_| left > 0) {
        // The last page is asked for at its size, so that its token continues exactly behind what is shown.
        let request =
            v1::ListRequest { page_size: u32::try_from(left.min(PAGE_SIZE)).unwrap_or(u32::MAX), ..request };
        let page = context.client.list(request.clone()).await;
        let page = page.map_err(|error| Report::of("cannot list the tasks", &error))?;
        left = left.saturating_sub(page.tasks.len());
        whole.revision = page.revision;
        whole.next_page_token.clone_from(&page.next_page_token);
        if streams(context.form) {
            print_part(context.form, &page.tasks)?;
        } else {
            whole.tasks.extend(page.tasks);
        }
        at = (!page.next_page_token.is_empty())
            .then_some(v1::ListRequest { page_token: page.next_page_token, ..request });
    }
    if !streams(context.form) {
        print_whole(context, &whole)?;
    }
    if !whole.next_page_token.is_empty() && context.form != Form::Json {
        context.note("there are more: --limit 0 shows all");
    }
    Ok(0)
}

/// Whether pages are printed as they come: a line stands alone in these forms.
fn streams(form: Form) -> bool {
    matches!(form, Form::Jsonl | Form::Name)
}

fn print_part(form: Form, part: &[v1::Task]) -> std::io::Result<()> {
    if form == Form::Name {
        return output::lines(part.iter().map(|task| task.id.as_str()));
    }
    output::json_lines(part.iter().map(json::Task::from))
}

fn print_whole(context: &Context, whole: &v1::ListResponse) -> std::io::Result<()> {
    if context.form == Form::Json {
        return output::json(&json::TaskPage::from(whole));
    }
    if whole.tasks.is_empty() {
        context.note("no tasks");
        return Ok(());
    }
    output::text(&tasks::table(context.form, &whole.tasks, &HashMap::new()).render())
}

/// Tasks by full ids, in order.
pub async fn by_ids(context: &Context, ids: &[String], what: &str) -> Result<Vec<v1::Task>, Report> {
    use futures::StreamExt;
    let gets = ids.iter().map(|id| async move { context.client.get(id).await });
    let tasks = futures::stream::iter(gets).buffered(16).try_collect().await;
    tasks.map_err(|error| Report::of(what, &error))
}
