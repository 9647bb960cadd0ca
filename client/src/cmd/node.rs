//! `shoal node`: the nodes of the cluster.

use crate::cli::Done;
use crate::cli::context::Context;
use crate::cli::report::Report;
use crate::output::style::{GREEN, RED, YELLOW, paint};
use crate::output::table::{Cell, Table};
use crate::output::{self, Form, json};
use crate::values::{bytes_text, cpus_text};
use clap::Subcommand;
use shoal_proto::v1;

/// The commands of `node`.
#[derive(Clone, Debug, Subcommand)]
pub enum NodeCommand {
    /// The live nodes and what is free on them
    #[command(visible_alias = "list")]
    Ls,
}

/// Runs a command of `node`.
pub async fn run(context: &Context, command: &NodeCommand) -> Done {
    match command {
        NodeCommand::Ls => ls(context).await,
    }
}

async fn ls(context: &Context) -> Done {
    let nodes = context.client.nodes().await.map_err(|error| Report::of("cannot list the nodes", &error))?;
    match context.form {
        Form::Table | Form::Wide => {
            let mut text = table(context.form, &nodes).render();
            for node in nodes.iter().filter(|node| !node.reason.is_empty()) {
                text.push_str(&format!("{} {}: {}\n", paint(RED, "unfit:"), node.name, node.reason));
            }
            output::text(&text)?;
        }
        Form::Json => output::json(&json::Nodes { nodes: nodes.iter().map(json::Node::from).collect() })?,
        Form::Jsonl => output::json_lines(nodes.iter().map(json::Node::from))?,
        Form::Name => output::lines(nodes.iter().map(|node| node.name.as_str()))?,
    }
    Ok(0)
}

fn table(form: Form, nodes: &[v1::Node]) -> Table {
    let wide = form == Form::Wide;
    let mut headings =
        vec!["NAME", "STATE", "ADDRESS", "CPUS FREE", "MEMORY FREE", "TASKS", "VOTER", "ROOTS"];
    if wide {
        headings.extend(["OFFERS", "VERSION", "ID"]);
    }
    let mut table = Table::new(&headings);
    for node in nodes {
        let (free, total) = (node.free.unwrap_or_default(), node.total.unwrap_or_default());
        let state = match (node.draining, node.reason.as_str()) {
            (false, _) => Cell::styled("ready", GREEN),
            (true, "") => Cell::styled("draining", YELLOW),
            (true, _) => Cell::styled("unfit", RED),
        };
        let mut row: Vec<Cell> = vec![
            node.name.as_str().into(),
            state,
            node.address.as_str().into(),
            format!("{}/{}", cpus_text(free.cpu_milli), cpus_text(total.cpu_milli)).into(),
            format!("{}/{}", bytes_text(free.memory_bytes), bytes_text(total.memory_bytes)).into(),
            node.running.to_string().into(),
            if node.voter { "yes" } else { "no" }.into(),
            node.roots.join(",").into(),
        ];
        if wide {
            row.extend([node.offers.join(",").into(), node.version.as_str().into(), node.id.as_str().into()]);
        }
        table.row(row);
    }
    table
}
