//! The runner's command line. Written out by hand: the runner is forked for each task, so it carries no argument parser.

use super::RunnerError;
use super::rootless::Rootless;
use super::server_user::ServerUser;
use crate::policy::Policy;
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
    /// Who asks, when it is not the runner's own user.
    pub server_user: Option<ServerUser>,
    /// Not to run where memory, processor time or processes cannot be limited.
    pub require_limits: bool,
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
    /// Nobody, or root.
    #[error("--server-user must be an ordinary user (NAME, UID or UID:GID), not {0:?}")]
    User(OsString),
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
    /// The policy as it stands now. One that a server which is another user could change, or that names a root or a mount which it could make
    /// to mean something else, is none. Without root, the ids of containers are those that there are.
    pub(super) fn read_policy(&self, rootless: Option<&Rootless>) -> Result<Policy, RunnerError> {
        if let Some(server) = self.server_user {
            server.cannot_write(&self.policy)?;
        }
        let mut policy = Policy::read(&self.policy)?;
        policy.exposes_none_of(&[&self.state_dir, &self.attempts_dir, &self.policy])?;
        if let Some(rootless) = rootless {
            policy.users = rootless.users;
        }
        if let Some(server) = self.server_user {
            let mounts = policy.mounts.values().map(|mount| &mount.path);
            policy.roots.iter().chain(mounts).try_for_each(|path| server.cannot_change(path))?;
            policy.images_dir.iter().try_for_each(|path| server.cannot_fill(path))?;
        }
        Ok(policy)
    }

    /// Printed by `--help`.
    pub const USAGE: &str = "\
shoal-runner --state-dir DIR --attempts-dir DIR --policy FILE [--server-user USER] [--require-limits]
             [--idle-seconds N]
Starts containers on behalf of a shoald, which starts it. Without root it makes a user namespace for itself, and enforces
what can be enforced there.
  --state-dir DIR     where runner.sock and runner.pid are made
  --attempts-dir DIR  where each attempt's directory with its log is made
  --policy FILE       what tasks may have: roots, mounts, networks, user ids (JSON)
  --server-user USER  the user (NAME, UID or UID:GID) whose shoald may ask, when the runner is started
                      by an administrator; the policy and all directories must be out of its reach
  --require-limits    do not run where memory, cpu or processes cannot be limited
  --idle-seconds N    end when there is no server and no task for so long (30)";

    /// Reads the arguments behind the program's name; `None` when help was asked for.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, OptionsError> {
        let mut arguments = arguments.into_iter();
        let (mut state_dir, mut attempts_dir) = (None, None);
        let (mut policy, mut server_user, mut require_limits, mut idle_s) = (None, None, false, IDLE_S);
        while let Some(argument) = arguments.next() {
            let mut value = |name| arguments.next().ok_or(OptionsError::NoValue(name));
            match argument.to_str() {
                Some("--help" | "-h") => return Ok(None),
                Some("--state-dir") => state_dir = Some(PathBuf::from(value("--state-dir")?)),
                Some("--attempts-dir") => attempts_dir = Some(PathBuf::from(value("--attempts-dir")?)),
                Some("--policy") => policy = Some(PathBuf::from(value("--policy")?)),
                Some("--server-user") => server_user = Some(user(value("--server-user")?)?),
                Some("--require-limits") => require_limits = true,
                Some("--idle-seconds") => idle_s = number("--idle-seconds", value("--idle-seconds")?)?,
                _ => return Err(OptionsError::Unknown(argument)),
            }
        }
        let state_dir = state_dir.ok_or(OptionsError::Missing("--state-dir"))?;
        let attempts_dir = attempts_dir.ok_or(OptionsError::Missing("--attempts-dir"))?;
        let policy = policy.ok_or(OptionsError::Missing("--policy"))?;
        let idle_ms = u64::from(idle_s) * 1000;
        Ok(Some(Options { state_dir, attempts_dir, policy, server_user, require_limits, idle_ms }))
    }
}

fn user(value: OsString) -> Result<ServerUser, OptionsError> {
    value.to_str().and_then(ServerUser::parse).ok_or(OptionsError::User(value))
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
    fn the_server_is_an_ordinary_user() {
        let with =
            |user| parse(&format!("--state-dir /s --attempts-dir /a --policy /p --server-user {user}"));
        let options = with("12:34").unwrap().unwrap();
        assert_eq!(options.server_user, Some(ServerUser { uid: 12, gid: 34 }));
        assert_eq!(with("0:0"), Err(OptionsError::User("0:0".into())));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(parse("--state-dir /s"), Err(OptionsError::Missing("--attempts-dir")));
        assert_eq!(parse("--state-dir /s --attempts-dir /a"), Err(OptionsError::Missing("--policy")));
        assert_eq!(parse("--state-dir"), Err(OptionsError::NoValue("--state-dir")));
        assert_eq!(parse("--frob"), Err(OptionsError::Unknown("--frob".into())));
    }
}
