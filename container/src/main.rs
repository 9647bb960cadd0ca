//! `shoal-runner`: see [`shoal_container::runner`].

use shoal_container::runner::{Options, Runner};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Also maps the plan: the stubs, forked from here, have it from birth.
    shoal_container::failpoint!("runner.begun");
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            let _ = writeln!(std::io::stdout(), "{}", Options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&error),
    };
    match Runner::open(options).and_then(Runner::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Says why on standard error, which may be gone (so no `eprintln!`, which panics then).
fn fail(error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "shoal-runner: {error}");
    ExitCode::FAILURE
}
