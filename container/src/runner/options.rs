//! The runner's command line. Written out by hand: the runner is forked for each task, so it carries no argument parser.

use std::ffi::OsString;
use std::path::PathBuf;

/// Long enough for a server to restart.
const IDLE_S: u32 = 30;

/// What the runner is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Holds `runner.sock` and `runner.pid`.
    pub state_dir: PathBuf,
    /// Holds one directory for each attempt.
    pub attempts_dir: PathBuf,
    /// What tasks may have (see [`crate::policy`]).
    pub policy: PathBuf,
    /// Without a connection and without a live attempt for so long, the runner ends by itself.
    pub idle_ms: u64,
}

/// A command line that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionsError {
    /// Not one of ours.
    #[error("unknown argument {0:?}; try --help")]
    Unknown(OsString),
    /// No value behind it.
    #[error("{0} needs a value")]
    NoValue(&'static str),
    /// Not given.
    #[error("{0} is required; try --help")]
    Missing(&'static str),
    /// Not a number of seconds.
    #[error("{name} must be a number, not {value:?}")]
    Number {
        /// The flag.
        name: &'static str,
        /// What was given.
        value: OsString,
    },
}

impl Options {
    /// Printed by `--help`.
    pub const USAGE: &str = "\
shoal-runner --state-dir DIR --attempts-dir DIR --policy FILE [--idle-seconds N]
Starts containers on behalf of a shoald, which starts it. Needs root.
  --state-dir DIR     where runner.sock and runner.pid are made
  --attempts-dir DIR  where each attempt's directory with its log is made
  --policy FILE       what tasks may have: roots, mounts, networks, user ids (JSON)
  --idle-seconds N    end when there is no server and no task for so long (30)";

    /// Reads the arguments behind the program's name; `None` when help was asked for.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, OptionsError> {
        let mut arguments = arguments.into_iter();
        let (mut state_dir, mut attempts_dir) = (None, None);
        let (mut policy, mut idle_s) = (None, IDLE_S);
        while let Some(argument) = arguments.next() {
            let mut value = |name| arguments.next().ok_or(OptionsError::NoValue(name));
            match argument.to_str() {
                Some("--help" | "-h") => return Ok(None),
                Some("--state-dir") => state_dir = Some(PathBuf::from(value("--state-dir")?)),
                Some("--attempts-dir") => attempts_dir = Some(PathBuf::from(value("--attempts-dir")?)),
                Some("--policy") => policy = Some(PathBuf::from(value("--policy")?)),
                Some("--idle-seconds") => idle_s = number("--idle-seconds", value("--idle-seconds")?)?,
                _ => return Err(OptionsError::Unknown(argument)),
            }
        }
        let state_dir = state_dir.ok_or(OptionsError::Missing("--state-dir"))?;
        let attempts_dir = attempts_dir.ok_or(OptionsError::Missing("--attempts-dir"))?;
        let policy = policy.ok_or(OptionsError::Missing("--policy"))?;
        let idle_ms = u64::from(idle_s) * 1000;
        Ok(Some(Options { state_dir, attempts_dir, policy, idle_ms }))
    }
}

fn number(name: &'static str, value: OsString) -> Result<u32, OptionsError> {
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(number) => Ok(number),
        _ => Err(OptionsError::Number { name, value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, OptionsError> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_number_is_a_number() {
        assert!(matches!(parse("--idle-seconds soon"), Err(OptionsError::Number { .. })));
        let options =
            parse("--state-dir /s --attempts-dir /a --policy /p --idle-seconds 7").unwrap().unwrap();
        assert_eq!(options.idle_ms, 7000);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(parse("--state-dir /s"), Err(OptionsError::Missing("--attempts-dir")));
        assert_eq!(parse("--state-dir /s --attempts-dir /a"), Err(OptionsError::Missing("--policy")));
        assert_eq!(parse("--state-dir"), Err(OptionsError::NoValue("--state-dir")));
        assert_eq!(parse("--frob"), Err(OptionsError::Unknown("--frob".into())));
    }
}
