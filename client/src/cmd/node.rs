//! `shoal node`: the nodes of the cluster.

use super::lock;
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
    /// Keep a node from taking tasks until it is resumed
    Drain(lock::DrainArgs),
    /// Let a node take tasks again
    Resume(lock::UnlockArgs),
    /// Keep a node from taking tasks for a time: for yourself
    Lock(lock::LockArgs),
    /// End a lock
    Unlock(lock::UnlockArgs),
}

/// Runs a command of `node`.
pub async fn run(context: &Context, command: &NodeCommand) -> Done {
    match command {
        NodeCommand::Ls => ls(context).await,
        NodeCommand::Drain(args) => lock::drain(context, args).await,
        NodeCommand::Lock(args) => lock::lock(context, args).await,
        NodeCommand::Resume(args) | NodeCommand::Unlock(args) => lock::unlock(context, args).await,
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
            for node in nodes.iter().filter(|node| !node.unenforced.is_empty()) {
                let word = paint(YELLOW, "not enforced, for lack of root:");
                text.push_str(&format!("{word} {} {}\n", node.name, node.unenforced.join(", ")));
            }
            for (node, lock) in nodes.iter().filter_map(|node| Some((node, node.lock.as_ref()?))) {
                let word = paint(YELLOW, &format!("{}:", locked_word(lock)));
                text.push_str(&format!("{word} {} {}\n", node.name, lock::lock_text(lock)));
            }
            let kept: Vec<&str> =
                nodes.iter().filter(|node| node.kept).map(|node| node.name.as_str()).collect();
            if !kept.is_empty() {
                text.push_str(&format!("{} {}\n", paint(YELLOW, "kept for people:"), kept.join(", ")));
            }
            output::text(&text)?;
        }
        Form::Json => output::json(&json::Nodes { nodes: nodes.iter().map(json::Node::from).collect() })?,
        Form::Jsonl => output::json_lines(nodes.iter().map(json::Node::from))?,
        Form::Name => output::lines(nodes.iter().map(|node| node.name.as_str()))?,
    }
    Ok(0)
}

/// A lock with an end is somebody's, one without means that something is wrong with the node.
fn locked_word(lock: &v1::LockInfo) -> &'static str {
    if lock.left_ms == 0 { "drained" } else { "locked" }
}

fn table(form: Form, nodes: &[v1::Node]) -> Table {
    let wide = form == Form::Wide;
    // Where nothing is counted there is nothing to show.
    let counted = nodes.iter().any(|node| !node.counts.is_empty());
    let mut headings = vec!["NAME", "STATE", "ADDRESS", "CPUS FREE", "MEMORY FREE"];
    headings.extend(counted.then_some("COUNTED FREE"));
    headings.extend(["TASKS", "VOTER", "ROOTS"]);
    if wide {
        headings.extend(["OFFERS", "VERSION", "ID"]);
    }
    let mut table = Table::new(&headings);
    for node in nodes {
        let (free, total) = (node.free.unwrap_or_default(), node.total.unwrap_or_default());
        let state = match (node.draining, node.reason.as_str(), &node.lock) {
            (false, _, None) if node.kept => Cell::styled("kept", YELLOW),
            (false, _, None) => Cell::styled("ready", GREEN),
            (false, _, Some(lock)) => Cell::styled(locked_word(lock), YELLOW),
            (true, "", _) => Cell::styled("draining", YELLOW),
            (true, _, _) => Cell::styled("unfit", RED),
        };
        let mut row: Vec<Cell> = vec![
            node.name.as_str().into(),
            state,
            node.address.as_str().into(),
            format!("{}/{}", cpus_text(free.cpu_milli), cpus_text(total.cpu_milli)).into(),
            format!("{}/{}", bytes_text(free.memory_bytes), bytes_text(total.memory_bytes)).into(),
        ];
        row.extend(counted.then(|| counts(node).into()));
        row.extend::<[Cell; 3]>([
            node.running.to_string().into(),
            if node.voter { "yes" } else { "no" }.into(),
            node.roots.join(",").into(),
        ]);
        if wide {
            row.extend([node.offers.join(",").into(), node.version.as_str().into(), node.id.as_str().into()]);
        }
        table.row(row);
    }
    table
}

/// `gpu 1/2, tape 0/1`: free of all.
fn counts(node: &v1::Node) -> String {
    let mut names: Vec<_> = node.counts.iter().collect();
    names.sort_unstable();
    let free = |name: &str| node.counts_free.get(name).copied().unwrap_or(0);
    let texts = names.iter().map(|(name, count)| format!("{name} {}/{count}", free(name)));
    texts.collect::<Vec<_>>().join(", ")
}
