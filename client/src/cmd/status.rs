//! `shoal status`: the cluster, what runs, and what waits with the reason.

use super::lock::lock_text;
use super::reserve::reserve_text;
use crate::cli::Done;
use crate::cli::context::Context;
use crate::cli::defaults;
use crate::cli::report::Report;
use crate::error::Error;
use crate::output::style::{GREEN, RED, YELLOW, paint};
use crate::output::{self, Form, json, tasks};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use shoal_proto::v1;
use shoal_proto::v1::State;
use std::collections::HashMap;

/// Reasons that are asked for at once.
const WHYS_AT_ONCE: usize = 8;

/// The options of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Most running, and most waiting, tasks to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: u32,
}

/// `shoal` alone: the status when a cluster answers, else the help.
pub async fn bare(context: &Context) -> Done {
    match context.client.status().await {
        Err(Error::Unreachable { .. }) => {
            output::text(&defaults::command().render_help().to_string())?;
            Ok(0)
        }
        _ => run(context, &StatusArgs { limit: 10 }).await,
    }
}

/// Shows the status.
pub async fn run(context: &Context, args: &StatusArgs) -> Done {
    let status =
        context.client.status().await.map_err(|error| Report::of("cannot read the status", &error))?;
    match context.form {
        Form::Json => output::json(&json::Status::from(&status))?,
        Form::Jsonl => output::json_lines([json::Status::from(&status)])?,
        Form::Name => output::lines([&status.node_name])?,
        Form::Table | Form::Wide => {
            let shown = shown(context, args.limit)
                .await
                .map_err(|error| Report::of("cannot list the tasks", &error))?;
            let reasons = reasons(context, &shown).await;
            let table = tasks::table(context.form, &shown, &reasons);
            let mut text = headline(&status);
            if !table.is_empty() {
                text.push_str(&table.render());
            }
            output::text(&text)?;
        }
    }
    Ok(0)
}

fn headline(status: &v1::StatusResponse) -> String {
    let quorum = match status.voters_healthy {
        healthy if healthy == status.voters => paint(GREEN, "all voters ok"),
        healthy if healthy * 2 > status.voters => {
            paint(YELLOW, &format!("{healthy}/{} voters ok", status.voters))
        }
        healthy => paint(RED, &format!("{healthy}/{} voters ok: no majority", status.voters)),
    };
    let mut text = format!(
        "{} nodes  {quorum}  queued {}  running {}  complete {}  canceled {}  failed {}   (says {})\n",
        status.nodes,
        status.queued,
        status.running,
        status.complete,
        status.canceled,
        status.failed,
        status.node_name
    );
    if !status.warning.is_empty() {
        text.push_str(&format!("{} {}\n", paint(YELLOW, "warning:"), status.warning));
    }
    if let Some(pause) = &status.pause {
        text.push_str(&format!("{} {}\n", paint(YELLOW, "queue paused"), lock_text(pause)));
    }
    if let Some(reserve) = &status.reserve {
        text.push_str(&format!("{} {}\n", paint(YELLOW, "kept for people:"), reserve_text(reserve)));
    }
    text
}

async fn shown(context: &Context, limit: u32) -> Result<Vec<v1::Task>, Error> {
    let mut found = Vec::new();
    for state in [State::Running, State::Queued] {
        let request = v1::ListRequest {
            states: vec![state.into()],
            page_size: limit.clamp(1, 1000),
            ..v1::ListRequest::default()
        };
        let tasks = context.client.tasks(request).take(limit as usize);
        found.extend(tasks.try_collect::<Vec<_>>().await?);
    }
    Ok(found)
}

/// Why each queued task waits. A task that has left the queue meanwhile has no reason.
async fn reasons(context: &Context, shown: &[v1::Task]) -> HashMap<String, String> {
    let queued: Vec<String> =
        shown.iter().filter(|task| task.state() == State::Queued).map(|task| task.id.clone()).collect();
    let whys = queued.into_iter().map(|id| async move {
        let why = context.client.why(&id).await.ok()?;
        (why.state() == State::Queued).then_some((id, why.summary))
    });
    stream::iter(whys).buffered(WHYS_AT_ONCE).filter_map(std::future::ready).collect().await
}
