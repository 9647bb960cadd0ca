//! `shoal node drain`, `lock`, `resume` and `unlock`; `shoal queue pause` and `resume`: what people keep from taking tasks.

use super::{lock_any, reserve};
use crate::cli::Done;
use crate::cli::context::Context;
use crate::cli::report::Report;
use crate::exit::TIME_LIMIT;
use crate::output::{self, Form, json};
use crate::values::{self, age_text};
use clap::{Args, Subcommand};
use shoal_proto::v1;

const DRAIN_HELP: &str = "\
Examples:
  shoal node drain n2 --reason 'a new disk' --wait
  shoal node resume n2

What runs there goes on; --wait leaves when nothing does any more, and nothing can start there any more.";

const LOCK_HELP: &str = "\
Examples:
  shoal node lock n2 --for 2h --reason 'looking at a crash'
  shoal node lock --any --label type=smithi --for 2h
  shoal node unlock n2

A lock ends by itself. What runs there goes on; new tasks go elsewhere. --any takes nodes that do nothing first, and of these those that
are kept for people (shoal queue reserve), and prints their names.";

/// The options of `node drain`.
#[derive(Clone, Debug, Args)]
#[command(after_help = DRAIN_HELP)]
pub struct DrainArgs {
    /// The node's name
    #[arg(value_name = "NODE")]
    pub name: String,
    /// Why; shown with the node and with tasks that wait for it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Leave only when no task runs there any more
    #[arg(long)]
    pub wait: bool,
    /// Also one that somebody else has locked, or that is not live
    #[arg(long)]
    pub force: bool,
}

/// The options of `node lock`.
#[derive(Clone, Debug, Args)]
#[command(after_help = LOCK_HELP)]
pub struct LockArgs {
    /// The node's name
    #[arg(value_name = "NODE", required_unless_present = "any", conflicts_with = "any")]
    pub name: Option<String>,
    /// Any node that takes tasks or is kept for people
    #[arg(long)]
    pub any: bool,
    /// So many of them, or none
    #[arg(long, value_name = "NODES", default_value_t = 1, requires = "any", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
    /// Only of those with this label
    #[arg(id = "of_label", long = "label", value_name = "LABEL", default_value = "", requires = "any")]
    pub label: String,
    /// How long: 30m, 2h, 3days
    #[arg(long = "for", value_name = "TIME", value_parser = values::duration_ms)]
    pub for_ms: u64,
    /// Why; shown with the node and with tasks that wait for it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Also one that somebody else has locked, or that is not live
    #[arg(long, conflicts_with = "any")]
    pub force: bool,
}

/// The options of `node resume` and `node unlock`.
#[derive(Clone, Debug, Args)]
pub struct UnlockArgs {
    /// The node's name
    #[arg(value_name = "NODE")]
    pub name: String,
    /// Also one that somebody else has locked
    #[arg(long)]
    pub force: bool,
}

/// The commands of `queue`.
#[derive(Clone, Debug, Subcommand)]
pub enum QueueCommand {
    /// Keep all queued tasks from starting; what runs goes on
    Pause {
        /// Why; shown with the status and with each task that waits
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// How long [default: until it is resumed]
        #[arg(long = "for", value_name = "TIME", value_parser = values::duration_ms)]
        for_ms: Option<u64>,
    },
    /// Let queued tasks start again
    Resume,
    /// Keep nodes free for people: they take no new tasks
    Reserve(reserve::ReserveArgs),
}

/// Who, for how long, and why.
pub fn lock_text(lock: &v1::LockInfo) -> String {
    let left = if lock.left_ms == 0 { String::new() } else { format!(" for {}", age_text(lock.left_ms)) };
    let reason = if lock.reason.is_empty() { String::new() } else { format!(": {}", lock.reason) };
    format!("by {}{left}{reason}", lock.by)
}

/// Keeps a node from taking tasks until it is resumed.
pub async fn drain(context: &Context, args: &DrainArgs) -> Done {
    let DrainArgs { name: node, reason, wait, force } = args.clone();
    lock_for(
        context,
        v1::LockNodeRequest { node, by: context.user.clone(), reason, for_ms: 0, force },
        "drained",
    )
    .await?;
    if wait { drained(context, &args.name).await } else { Ok(0) }
}

/// Keeps a node from taking tasks for a time.
pub async fn lock(context: &Context, args: &LockArgs) -> Done {
    let LockArgs { name: Some(node), for_ms, reason, force, .. } = args.clone() else {
        return lock_any::run(context, args).await;
    };
    lock_for(context, v1::LockNodeRequest { node, by: context.user.clone(), reason, for_ms, force }, "locked")
        .await
}

async fn lock_for(context: &Context, request: v1::LockNodeRequest, said: &str) -> Done {
    let node = request.node.clone();
    let lock = context.client.lock_node(request).await;
    let lock = lock.map_err(|error| Report::of(format!("cannot lock node {node}"), &error))?;
    print(context, &node, &format!("{node} {said} {}", lock_text(&lock)), &lock)?;
    Ok(0)
}

/// What was locked: in words, by its name, or as the lock itself.
fn print(context: &Context, name: &str, words: &str, lock: &v1::LockInfo) -> std::io::Result<()> {
    match context.form {
        Form::Json => output::json(&json::Lock::from(lock)),
        Form::Jsonl => output::json_lines([json::Lock::from(lock)]),
        Form::Table | Form::Wide if !context.quiet => output::lines([words]),
        Form::Table | Form::Wide | Form::Name => output::lines([name]),
    }
}

/// That nothing is locked any more: in words, or by its name; there is no document about nothing.
pub(super) fn print_free(context: &Context, name: &str, words: &str) -> std::io::Result<()> {
    match context.form {
        Form::Json | Form::Jsonl => Ok(()),
        Form::Table | Form::Wide if !context.quiet => output::lines([words]),
        Form::Table | Form::Wide | Form::Name => output::lines([name]),
    }
}

/// Waits until nothing runs on the node, and nothing can start there any more. One that is gone runs nothing; one that somebody has resumed meanwhile is not
/// drained.
async fn drained(context: &Context, name: &str) -> Done {
    let Some(waited) = context.within(context.client.wait_drained(name)).await else {
        context
            .note(&format!("--timeout has passed; {name} takes no tasks, and something may still run there"));
        return Ok(TIME_LIMIT);
    };
    waited.map_err(|error| match error.reason().as_deref() {
        Some("NODE_NOT_LOCKED") => {
            let why = "somebody has let it take tasks again".to_owned();
            Report::new(format!("node {name} is not drained"), why, format!("shoal node drain {name}"))
        }
        _ => Report::of(format!("cannot wait for node {name}; it takes no tasks"), &error),
    })?;
    Ok(0)
}

/// Lets a node take tasks again.
pub async fn unlock(context: &Context, args: &UnlockArgs) -> Done {
    let UnlockArgs { name: node, force } = args.clone();
    let request = v1::UnlockNodeRequest { node: node.clone(), by: context.user.clone(), force };
    let done = context.client.unlock_node(request).await;
    done.map_err(|error| Report::of(format!("cannot unlock node {node}"), &error))?;
    print_free(context, &node, &format!("{node} takes tasks again"))?;
    Ok(0)
}

/// Runs a command of `queue`.
pub async fn queue(context: &Context, command: &QueueCommand) -> Done {
    match command {
        QueueCommand::Pause { reason, for_ms } => {
            let (by, reason, for_ms) = (context.user.clone(), reason.clone(), for_ms.unwrap_or(0));
            let pause = context.client.pause_queue(v1::PauseQueueRequest { by, reason, for_ms }).await;
            let pause = pause.map_err(|error| Report::of("cannot pause the queue", &error))?;
            print(context, "queue", &format!("queue paused {}", lock_text(&pause)), &pause)?;
        }
        QueueCommand::Reserve(args) => return reserve::run(context, args).await,
        QueueCommand::Resume => {
            let done = context.client.resume_queue().await;
            done.map_err(|error| Report::of("cannot resume the queue", &error))?;
            print_free(context, "queue", "queue resumed")?;
        }
    }
    Ok(0)
}
