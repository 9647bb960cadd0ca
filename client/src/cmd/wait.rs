//! `shoal wait`: until tasks have ended; leaves with the highest of their exit codes.

use super::events::ending;
use crate::cli::Done;
use crate::cli::args::Selection;
use crate::cli::context::Context;
use crate::cli::report::{Report, Stop};
use crate::exit::{TIME_LIMIT, exit_code, exit_code_of_all, is_terminal};
use crate::output::{Form, tasks};
use clap::Args;
use shoal_proto::v1;
use std::collections::HashSet;
use std::io::{IsTerminal, Write};

/// Failed tasks that are told of one by one.
const TOLD_MAX: usize = 10;

const AFTER_HELP: &str = "\
Examples:
  shoal wait @last --timeout 10m
  shoal submit -q -- make | shoal wait -

Prints nothing but with -o. Leaves with the highest exit code of the tasks; 124 when --timeout passed.";

/// The options of `wait`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct WaitArgs {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
}

/// Waits.
pub async fn run(context: &Context, args: &WaitArgs) -> Done {
    let ids = context.resolve(&args.selection.tasks).await?;
    let Some(ended) = until_ended(context, &ids).await? else { return Ok(TIME_LIMIT) };
    if context.form != Form::Table {
        tasks::print(context.form, &ended)?;
    }
    Ok(exit_code_of_all(&ended))
}

/// Waits for the tasks with these full ids, and tells of those that ended badly; `None` when `--timeout` passed first.
pub async fn until_ended(context: &Context, ids: &[String]) -> Result<Option<Vec<v1::Task>>, Stop> {
    let mut progress = Progress::new(context, ids.len());
    let waited = context.within(context.client.wait(ids, |task| progress.seen(task))).await;
    progress.clear();
    let Some(ended) = waited else {
        context.note(&format!(
            "--timeout has passed; {} of {} tasks have ended",
            progress.ended.len(),
            ids.len()
        ));
        return Ok(None);
    };
    let ended = ended.map_err(|error| {
        let mut report = Report::of("cannot wait for the tasks; they go on", &error);
        if error.is_transient() {
            report.next = "the same again: to wait changes nothing".to_owned();
        }
        report
    })?;
    let bad: Vec<&v1::Task> = ended.iter().filter(|task| exit_code(task) != 0).collect();
    for task in bad.iter().take(TOLD_MAX) {
        context.note(&ending(task));
    }
    if bad.len() > TOLD_MAX {
        context.note(&format!("and {} more of {}", bad.len() - TOLD_MAX, ended.len()));
    }
    Ok(Some(ended))
}

/// A line on stderr that is overwritten, on a terminal only.
struct Progress {
    shown: bool,
    count: usize,
    ended: HashSet<String>,
}

impl Progress {
    fn new(context: &Context, count: usize) -> Progress {
        let shown = !context.quiet && count > 1 && std::io::stderr().is_terminal();
        Progress { shown, count, ended: HashSet::new() }
    }

    fn seen(&mut self, task: &v1::Task) {
        if is_terminal(task.state()) && self.ended.insert(task.id.clone()) && self.shown {
            let _ = write!(std::io::stderr(), "\r{}/{} ended", self.ended.len(), self.count);
        }
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
