//! `shoal why`: why tasks wait, node by node.

use crate::cli::Done;
use crate::cli::args::Selection;
use crate::cli::context::Context;
use crate::cli::report::Report;
use crate::output::{self, Form, json};
use crate::selector::short;
use clap::Args;
use serde::Serialize;
use shoal_proto::v1;

/// The options of `why`.
#[derive(Clone, Debug, Args)]
pub struct WhyArgs {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
}

/// One task's answer among several.
#[derive(Serialize)]
struct Line {
    id: String,
    #[serde(flatten)]
    why: json::Why,
}

/// Several tasks' answers.
#[derive(Serialize)]
struct Lines {
    tasks: Vec<Line>,
}

/// Says why.
pub async fn run(context: &Context, args: &WhyArgs) -> Done {
    let ids = context.resolve(&args.selection.tasks).await?;
    let mut answers = Vec::new();
    for id in ids {
        let why = context.client.why(&id).await;
        let why = why.map_err(|error| Report::of(format!("cannot say why task {id} waits"), &error))?;
        answers.push((id, why));
    }
    let lines = answers.iter().map(|(id, why)| Line { id: id.clone(), why: json::Why::from(why) });
    match context.form {
        Form::Table | Form::Wide => {
            output::text(&answers.iter().map(|(id, why)| page(id, why)).collect::<String>())?
        }
        Form::Json => match answers.as_slice() {
            [(_, why)] => output::json(&json::Why::from(why))?,
            _ => output::json(&Lines { tasks: lines.collect() })?,
        },
        Form::Jsonl => output::json_lines(lines)?,
        Form::Name => output::lines(answers.iter().map(|(id, _)| id.as_str()))?,
    }
    Ok(0)
}

fn page(id: &str, why: &v1::WhyResponse) -> String {
    let mut text = format!("{} {}: {}\n", short(id), json::state_word(why.state()), why.summary);
    if why.state() == v1::State::Queued && why.ahead > 0 {
        text.push_str(&format!("  {} queued before it\n", why.ahead));
    }
    for node in &why.nodes {
        text.push_str(&format!("  {}: {}\n", node.node_name, node.reason));
    }
    text
}
