//! Draws up the account of a run from outside: the ids that were accepted, the records by the API, and what the tasks themselves wrote into
//! their logs on the nodes' disks (`start T`, `beat T`, `end T` with T of /proc/uptime). Ends with status 1 when a promise was broken.

use anyhow::{Context, Result};
use clap::Parser;
use shoal_tests::account::Account;
use shoal_tests::api::Api;
use shoal_tests::witness::read_lives;
use std::path::PathBuf;
use std::process::ExitCode;

/// Checks what became of submitted tasks
#[derive(Debug, Parser)]
#[command(name = "shoal-check")]
struct Arguments {
    /// A node's API
    #[arg(long, value_name = "HOST:PORT")]
    node: String,
    /// A file with the ids that submit printed, one a line
    #[arg(long, value_name = "FILE")]
    ids: PathBuf,
    /// A node's name and data directory (repeatable; all nodes, the dead ones too)
    #[arg(long, value_name = "NAME=DIR", value_parser = name_and_dir)]
    data: Vec<(String, PathBuf)>,
}

fn name_and_dir(text: &str) -> Result<(String, PathBuf), String> {
    let (name, dir) = text.split_once('=').ok_or("NAME=DIR is needed")?;
    if PathBuf::from(dir).is_dir() {
        Ok((name.to_owned(), PathBuf::from(dir)))
    } else {
        Err(format!("{dir} is no directory"))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match check(Arguments::parse()).await {
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

async fn check(arguments: Arguments) -> Result<Account> {
    let text = std::fs::read_to_string(&arguments.ids)
        .with_context(|| format!("read {}", arguments.ids.display()))?;
    let api = Api::at(&arguments.node)?;
    let tasks = api.list().await.context("list the tasks")?;
    let mut ids = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        // submit may print short forms; the record has the whole id.
        let whole = tasks.iter().find(|task| task.id.ends_with(line)).map_or(line, |task| &task.id);
        ids.push(whole.to_owned());
    }
    let lives = read_lives(arguments.data)?;
    Ok(Account::draw_up(&ids, &tasks, &lives))
}
