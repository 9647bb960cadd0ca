//! `shoal node lock --any`: nodes for oneself, whichever they are.

use super::lock::{LockArgs, lock_text};
use crate::cli::Done;
use crate::cli::context::Context;
use crate::cli::report::Report;
use crate::output::{self, Form, json};
use shoal_proto::v1;
use uuid::Uuid;

/// Locks so many and says which.
pub async fn run(context: &Context, args: &LockArgs) -> Done {
    let request = v1::LockAnyRequest {
        request_id: Uuid::now_v7().to_string(),
        nodes: args.count,
        label: args.label.clone(),
        by: context.user.clone(),
        reason: args.reason.clone(),
        for_ms: args.for_ms,
    };
    let locked = context.client.lock_any(request).await;
    let locked = locked.map_err(|error| Report::of("cannot lock so many nodes", &error))?;
    match context.form {
        Form::Json => output::json(&json::LockedNodes::from(locked.as_slice()))?,
        Form::Jsonl => output::json_lines(locked.iter().map(json::LockedNode::from))?,
        Form::Table | Form::Wide if !context.quiet => output::lines(locked.iter().map(text))?,
        Form::Table | Form::Wide | Form::Name => output::lines(locked.iter().map(|it| it.node.as_str()))?,
    }
    Ok(0)
}

fn text(locked: &v1::LockedNode) -> String {
    let lock = locked.lock.as_ref().map(lock_text).unwrap_or_default();
    let busy = match locked.running {
        0 => String::new(),
        1 => "; a task still runs there".to_owned(),
        running => format!("; {running} tasks still run there"),
    };
    format!("{} locked {lock}{busy}", locked.node)
}
