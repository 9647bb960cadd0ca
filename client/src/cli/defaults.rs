//! Every option has a default in the environment, by one rule: `SHOAL_<OPTION>` for global and task options,
//! `SHOAL_<COMMAND>_<OPTION>` for those of one command alone.

use super::args::{Cli, Global};
use crate::cmd::task_options::TaskOptions;
use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Args, Command, CommandFactory};
use std::collections::BTreeSet;

/// The command with its environment defaults.
pub fn command() -> Command {
    let shared = [Global::augment_args(Command::new("")), TaskOptions::augment_args(Command::new(""))];
    let shared = shared.iter().flat_map(Command::get_arguments).map(|arg| arg.get_id().to_string()).collect();
    with_defaults(Cli::command(), "", &shared)
}

fn with_defaults(command: Command, path: &str, shared: &BTreeSet<String>) -> Command {
    let command = command.mut_args(|arg| with_default(arg, path, shared));
    command.mut_subcommands(|sub| {
        let path = format!("{path}{}_", sub.get_name());
        with_defaults(sub, &path, shared)
    })
}

fn with_default(arg: Arg, path: &str, shared: &BTreeSet<String>) -> Arg {
    let Some(long) = arg.get_long() else { return arg };
    if matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    ) {
        return arg;
    }
    let path = if shared.contains(arg.get_id().as_str()) { "" } else { path };
    let name = format!("SHOAL_{path}{long}").to_ascii_uppercase().replace('-', "_");
    let arg = match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        _ => arg,
    };
    let arg = if arg.get_env().is_some() { arg } else { arg.env(name) };
    arg.hide_env_values(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_option_has_its_own_default_in_the_environment() {
        fn collect(command: &Command, path: &str, found: &mut Vec<(String, String)>) {
            for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
                let id = arg.get_id().as_str();
                if id != "help" && id != "version" {
                    let env = arg.get_env().unwrap_or_else(|| panic!("{path} --{id} has none"));
                    found.push((env.to_string_lossy().into_owned(), id.to_owned()));
                }
            }
            command.get_subcommands().for_each(|sub| collect(sub, sub.get_name(), found));
        }
        let mut found = Vec::new();
        collect(&command(), "shoal", &mut found);
        for (env, id) in &found {
            assert!(env.starts_with("SHOAL_"), "{env}");
            assert!(
                found.iter().filter(|(other, _)| other == env).all(|(_, other)| other == id),
                "{env} means two things"
            );
        }
        assert!(found.contains(&("SHOAL_CPUS".into(), "cpus".into())));
        assert!(found.contains(&("SHOAL_LIST_LIMIT".into(), "limit".into())));
        assert!(found.contains(&("SHOAL_DEV_UP_NODES".into(), "nodes".into())));
        assert!(!found.iter().any(|(env, _)| env == "SHOAL_NODES"), "a member's own number of nodes");
    }
}
