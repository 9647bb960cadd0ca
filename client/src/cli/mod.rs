//! The command line: parse, run one command, leave with its exit code.

pub mod args;
pub mod context;
pub mod defaults;
pub mod report;

use crate::cmd;
use crate::exit;
use args::{Cli, Color, Command};
use clap::FromArgMatches;
use context::Context;
use report::{Report, Stop};
use std::process::ExitCode;

/// The exit code of a command, or why it ended early.
pub type Done = Result<u8, Stop>;

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let matches = match defaults::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.global.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    ExitCode::from(code_of(run(cli)))
}

/// Help and version go to stdout with 0, wrong usage to stderr with 2. A closed pipe is no error here.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
}

fn code_of(done: Done) -> u8 {
    match done {
        Ok(code) => code,
        Err(Stop::BrokenPipe) => exit::BROKEN_PIPE,
        Err(Stop::Report(report)) => {
            report.print();
            report.code
        }
    }
}

fn run(cli: Cli) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Report::new("cannot start", error.to_string(), "ulimit -n   (are there file descriptors left?)")
    })?;
    let done = runtime.block_on(dispatch(cli));
    // A read of stdin that nobody waits for must not hold up the end.
    runtime.shutdown_background();
    done
}

async fn dispatch(cli: Cli) -> Done {
    let global = cli.global;
    let Some(command) = cli.command else { return cmd::status::bare(&Context::new(&global)?).await };
    match command {
        Command::Completion(args) => cmd::completion::run(&args),
        Command::Sim(args) => cmd::sim::run(&global, &args),
        Command::Version => cmd::version::run(&global).await,
        Command::Dev(command) => cmd::dev::run(command, &global).await,
        Command::Run(args) => cmd::run::run(&Context::new(&global)?, *args).await,
        Command::Submit(args) => cmd::submit::run(&Context::new(&global)?, *args).await,
        Command::Status(args) => cmd::status::run(&Context::new(&global)?, &args).await,
        Command::List(args) => cmd::list::run(&Context::new(&global)?, &args).await,
        Command::Show(args) => cmd::show::run(&Context::new(&global)?, &args).await,
        Command::Log(args) => cmd::log::run(&Context::new(&global)?, &args).await,
        Command::Wait(args) => cmd::wait::run(&Context::new(&global)?, &args).await,
        Command::Cancel(args) => cmd::cancel::run(&Context::new(&global)?, &args).await,
        Command::Edit(args) => cmd::edit::run(&Context::new(&global)?, &args).await,
        Command::Move(args) => cmd::move_task::run(&Context::new(&global)?, &args).await,
        Command::Hold(args) => cmd::hold::hold(&Context::new(&global)?, &args).await,
        Command::Release(args) => cmd::hold::release(&Context::new(&global)?, &args).await,
        Command::Why(args) => cmd::why::run(&Context::new(&global)?, &args).await,
        Command::Queue(command) => cmd::lock::queue(&Context::new(&global)?, &command).await,
        Command::Image(command) => cmd::image::run(&Context::new(&global)?, &command).await,
        Command::Node(command) => cmd::node::run(&Context::new(&global)?, &command).await,
    }
}
