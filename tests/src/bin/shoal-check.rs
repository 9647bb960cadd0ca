//! Draws up the account of a run from outside: the ids that were accepted, the records by the API, and what the tasks themselves wrote into
//! their logs on the nodes' disks (`start T`, `beat T`, `end T` with T of /proc/uptime). Ends with status 1 when a promise was broken.

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use serde::Deserialize;
use shoal_proto::v1::Task;
use shoal_tests::account::Account;
use shoal_tests::api::Api;
use shoal_tests::witness::read_lives;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Checks what became of tasks on a cluster of `shoal dev`
#[derive(Debug, Parser)]
#[command(name = "shoal-check")]
struct Arguments {
    /// The directory of the cluster
    #[arg(long, value_name = "DIR", env = "SHOAL_DEV_DIR")]
    dev: PathBuf,
    /// A file with the ids that submit printed, one a line
    #[arg(long, value_name = "FILE")]
    ids: PathBuf,
}

/// What we read of `dev.json`.
#[derive(Debug, Deserialize)]
struct Dev {
    nodes: Vec<DevNode>,
}

#[derive(Debug, Deserialize)]
struct DevNode {
    name: String,
    data_dir: PathBuf,
    api_port: u16,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match check(&Arguments::parse()).await {
        Ok(account) => {
            print!("{account}");
            if account.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::from(2)
        }
    }
}

async fn check(arguments: &Arguments) -> Result<Account> {
    let dev: Dev = serde_json::from_str(&read(&arguments.dev.join("dev.json"))?).context("parse dev.json")?;
    let tasks = records(&dev.nodes).await?;
    let text = read(&arguments.ids)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    // submit may print short forms; the record has the whole id.
    let whole = |line: &str| {
        tasks.iter().find(|task| task.id.contains(line)).map_or(line, |task| &task.id).to_owned()
    };
    let ids: Vec<String> = lines.map(whole).collect();
    let lives = read_lives(dev.nodes.into_iter().map(|node| (node.name, node.data_dir)))?;
    Ok(Account::draw_up(&ids, &tasks, &lives))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// All records, from the first node that answers.
async fn records(nodes: &[DevNode]) -> Result<Vec<Task>> {
    let mut last = anyhow!("the cluster has no nodes");
    for node in nodes {
        match Api::at(&format!("127.0.0.1:{}", node.api_port))?.list().await {
            Ok(tasks) => return Ok(tasks),
            Err(why) => last = why.context(format!("list the tasks by {}", node.name)),
        }
    }
    Err(last)
}
