//! `shoald`: one node of a Shoal cluster. Everything is in the library; this reads flags and says why it ended.

use anyhow::Context;
use clap::Parser;
use shoal_server::config::Flags;
use shoal_server::run;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    shoal_container::failpoint!("server.begun");
    let flags = Flags::parse();
    let filter = EnvFilter::try_from_env("SHOALD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match serve(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: Flags) -> anyhow::Result<()> {
    let print_policy = flags.print_policy;
    let config = flags.validate()?;
    if print_policy {
        println!("{}", serde_json::to_string_pretty(&config.policy())?);
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("shoald")
        .build()
        .context("starting the runtime")?;
    runtime.block_on(run::run(config))
}
