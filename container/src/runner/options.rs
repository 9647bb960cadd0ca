//! The runner's command line. Written out by hand: the runner is forked for each task, so it carries no argument parser.

use std::ffi::OsString;
use std::path::PathBuf;

/// The customary user `nobody`: owns nothing on the host.
const NOBODY: u32 = 65534;

/// Long enough for a server to restart.
const IDLE_S: u32 = 30;

/// What the runner is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Holds `runner.sock` and `runner.pid`.
    pub state_dir: PathBuf,
    /// Holds one directory for each attempt.
    pub attempts_dir: PathBuf,
    /// The user that tasks run as.
    pub task_uid: u32,
    /// The group that tasks run as.
    pub task_gid: u32,
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
    /// Not a number, or 0: a task as root could reach into its stub.
    #[error("{name} must be a number above 0, not {value:?}")]
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
shoal-runner --state-dir DIR --attempts-dir DIR [--task-uid UID] [--task-gid GID] [--idle-seconds N]
Starts containers on behalf of a shoald, which starts it. Needs root.
  --state-dir DIR     where runner.sock and runner.pid are made
  --attempts-dir DIR  where each attempt's directory with its log is made
  --task-uid UID      user that tasks run as (65534)
  --task-gid GID      group that tasks run as (65534)
  --idle-seconds N    end when there is no server and no task for so long (30)";

    /// Reads the arguments behind the program's name; `None` when help was asked for.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, OptionsError> {
        let mut arguments = arguments.into_iter();
        let (mut state_dir, mut attempts_dir) = (None, None);
        let (mut task_uid, mut task_gid, mut idle_s) = (NOBODY, NOBODY, IDLE_S);
        while let Some(argument) = arguments.next() {
            let mut value = |name| arguments.next().ok_or(OptionsError::NoValue(name));
            match argument.to_str() {
                Some("--help" | "-h") => return Ok(None),
                Some("--state-dir") => state_dir = Some(PathBuf::from(value("--state-dir")?)),
                Some("--attempts-dir") => attempts_dir = Some(PathBuf::from(value("--attempts-dir")?)),
                Some("--task-uid") => task_uid = number("--task-uid", value("--task-uid")?)?,
                Some("--task-gid") => task_gid = number("--task-gid", value("--task-gid")?)?,
                Some("--idle-seconds") => idle_s = number("--idle-seconds", value("--idle-seconds")?)?,
                _ => return Err(OptionsError::Unknown(argument)),
            }
        }
        let state_dir = state_dir.ok_or(OptionsError::Missing("--state-dir"))?;
        let attempts_dir = attempts_dir.ok_or(OptionsError::Missing("--attempts-dir"))?;
        let idle_ms = u64::from(idle_s) * 1000;
        Ok(Some(Options { state_dir, attempts_dir, task_uid, task_gid, idle_ms }))
    }
}

fn number(name: &'static str, value: OsString) -> Result<u32, OptionsError> {
    match value.to_str().and_then(|text| text.parse().ok()) {
        // As an id, the last value means "unchanged" to the kernel.
        Some(number) if number != 0 && number != u32::MAX => Ok(number),
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
    fn tasks_never_run_as_root() {
        assert!(matches!(parse("--task-uid 0"), Err(OptionsError::Number { .. })));
        let options = parse("--state-dir /s --attempts-dir /a").unwrap().unwrap();
        assert_eq!((options.task_uid, options.task_gid), (NOBODY, NOBODY));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(parse("--state-dir /s"), Err(OptionsError::Missing("--attempts-dir")));
        assert_eq!(parse("--state-dir"), Err(OptionsError::NoValue("--state-dir")));
        assert_eq!(parse("--frob"), Err(OptionsError::Unknown("--frob".into())));
    }
}
