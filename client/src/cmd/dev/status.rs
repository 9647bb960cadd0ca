//! `shoal dev status`: the nodes of this machine and their processes.

use super::PlaceArgs;
use crate::cli::Done;
use crate::cli::args::Global;
use crate::dev::node::DevNode;
use crate::dev::ready;
use crate::exit::SHOAL_FAILED;
use crate::output::style::{DIM, GREEN, RED, YELLOW};
use crate::output::table::{Cell, Table};
use crate::output::{self, Form};
use serde::Serialize;
use std::time::Duration;

/// A node that serves answers at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// The JSON form of a node of this machine.
#[derive(Serialize)]
struct Row {
    name: String,
    state: &'static str,
    address: String,
    etcd_client_url: String,
    data_dir: String,
    shoald_pid: Option<i32>,
    etcd_pid: Option<i32>,
    runner_pid: Option<i32>,
}

#[derive(Serialize)]
struct Rows {
    nodes: Vec<Row>,
}

/// Shows the nodes. Leaves with 0 when all serve.
pub async fn run(args: &PlaceArgs, global: &Global) -> Done {
    let cluster = args.cluster()?;
    let rows = futures::future::join_all(cluster.nodes().iter().map(row)).await;
    let code = if rows.iter().all(|row| row.state == "ready") { 0 } else { SHOAL_FAILED };
    match global.output {
        Form::Json => output::json(&Rows { nodes: rows })?,
        Form::Jsonl => output::json_lines(rows)?,
        Form::Name => output::lines(rows.iter().map(|row| row.name.as_str()))?,
        Form::Table | Form::Wide => output::text(&table(&rows).render())?,
    }
    Ok(code)
}

async fn row(node: &DevNode) -> Row {
    let server = node.server();
    let state = match &server {
        None => "stopped",
        Some(server) if server.is_stopped() => "paused",
        Some(_) if ready::is_serving(&node.address(), ANSWER_LIMIT).await => "ready",
        Some(_) => "not ready",
    };
    Row {
        name: node.name.clone(),
        state,
        address: node.address().to_string(),
        etcd_client_url: node.client_url(),
        data_dir: node.data_dir.display().to_string(),
        shoald_pid: server.map(|process| process.pid),
        etcd_pid: node.etcd().map(|process| process.pid),
        runner_pid: node.runner().map(|process| process.pid),
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "ADDRESS", "ETCD", "SHOALD", "ETCD PID", "RUNNER", "DATA"]);
    let pid = |pid: Option<i32>| pid.map(|pid| pid.to_string()).unwrap_or_default();
    for row in rows {
        let style = match row.state {
            "ready" => GREEN,
            "paused" => YELLOW,
            "stopped" => DIM,
            _ => RED,
        };
        table.row(vec![
            row.name.as_str().into(),
            Cell::styled(row.state, style),
            row.address.as_str().into(),
            row.etcd_client_url.as_str().into(),
            pid(row.shoald_pid).into(),
            pid(row.etcd_pid).into(),
            pid(row.runner_pid).into(),
            row.data_dir.as_str().into(),
        ]);
    }
    table
}
