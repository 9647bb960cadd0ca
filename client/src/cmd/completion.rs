//! `shoal completion`: a script for a shell, on stdout.

use crate::cli::{Done, defaults};
use clap::Args;
use clap_complete::Shell;
use std::io::Write;

const AFTER_HELP: &str = "\
Examples:
  shoal completion bash > ~/.local/share/bash-completion/completions/shoal
  shoal completion zsh > ~/.zfunc/_shoal
  shoal completion fish > ~/.config/fish/completions/shoal.fish";

/// The options of `completion`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CompletionArgs {
    /// The shell
    pub shell: Shell,
}

/// Prints the script.
pub fn run(args: &CompletionArgs) -> Done {
    // Into memory first: the generator does not expect its reader to go away.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut defaults::command(), "shoal", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(0)
}
