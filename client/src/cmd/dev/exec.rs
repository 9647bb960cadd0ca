//! `shoal dev exec-detached`: makes a session of its own, so that no terminal's end reaches the program, and becomes that program.

use crate::cli::Done;
use crate::cli::report::Report;
use clap::Args;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;

/// What to become.
#[derive(Clone, Debug, Args)]
pub struct ExecArgs {
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// Does not return when it succeeds.
pub fn run(args: &ExecArgs) -> Done {
    let failed = |what: String, error: std::io::Error| {
        Report::new(what, error.to_string(), "shoal dev up --shoald PATH")
    };
    rustix::process::setsid().map_err(|error| failed("cannot make a session".to_owned(), error.into()))?;
    let (program, rest) = args.command.split_first().expect("clap requires a command");
    let error = std::process::Command::new(program).args(rest).exec();
    Err(failed(format!("cannot start {}", program.display()), error).into())
}
