//! `shoal queue reserve`: keeps nodes free for people.

use super::lock;
use crate::cli::Done;
use crate::cli::context::Context;
use crate::cli::report::Report;
use crate::output::{self, Form, json};
use clap::Args;
use shoal_proto::v1;

const AFTER_HELP: &str = "\
Examples:
  shoal queue reserve 2 --label type=smithi
  shoal node lock --any --label type=smithi --for 2h
  shoal queue reserve 0

They finish what runs there and take no new tasks. Nodes that people have locked for a time (shoal node lock) count among them; drained
nodes do not. There is one reserve: another one replaces it.";

/// The options of `queue reserve`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ReserveArgs {
    /// How many nodes; 0 is none any more
    #[arg(value_name = "NODES")]
    pub count: u32,
    /// Only of those with this label
    #[arg(id = "of_label", long = "label", value_name = "LABEL", default_value = "")]
    pub label: String,
}

/// How many, which, and who says so.
pub fn reserve_text(reserve: &v1::ReserveInfo) -> String {
    let nodes = if reserve.nodes == 1 { "node" } else { "nodes" };
    let with = if reserve.label.is_empty() { String::new() } else { format!(" with {}", reserve.label) };
    format!("{} {nodes}{with} by {}", reserve.nodes, reserve.by)
}

/// Keeps so many.
pub async fn run(context: &Context, args: &ReserveArgs) -> Done {
    let (nodes, label, by) = (args.count, args.label.clone(), context.user.clone());
    let kept = context.client.reserve(v1::ReserveRequest { nodes, label, by }).await;
    let kept = kept.map_err(|error| Report::of("cannot keep nodes for people", &error))?;
    let Some(kept) = kept else {
        lock::print_free(context, "reserve", "no nodes are kept for people any more")?;
        return Ok(0);
    };
    match context.form {
        Form::Json => output::json(&json::Reserve::from(&kept))?,
        Form::Jsonl => output::json_lines([json::Reserve::from(&kept)])?,
        Form::Table | Form::Wide if !context.quiet => {
            output::lines([format!("kept for people: {}", reserve_text(&kept))])?;
        }
        Form::Table | Form::Wide | Form::Name => output::lines(["reserve"])?,
    }
    Ok(0)
}
