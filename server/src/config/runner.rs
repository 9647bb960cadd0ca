//! Which runner this server has: one of its own, or one that an administrator has started.

use super::{ConfigError, bad};
use clap::Args;
use clap::builder::BoolishValueParser;
use std::path::{Path, PathBuf};

/// The flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "The runner")]
pub struct RunnerFlags {
    /// The runner program [default: shoal-runner next to shoald]
    #[arg(long, env = "SHOALD_RUNNER_BINARY", value_name = "PATH")]
    pub runner_binary: Option<PathBuf>,
    /// Ask the runner that an administrator has started with this --state-dir, and start none
    #[arg(
        long,
        env = "SHOALD_RUNNER_DIR",
        value_name = "DIR",
        requires = "attempts_dir",
        conflicts_with = "runner_binary"
    )]
    pub runner_dir: Option<PathBuf>,
    /// The --attempts-dir of that runner
    #[arg(long, env = "SHOALD_ATTEMPTS_DIR", value_name = "DIR", requires = "runner_dir")]
    pub attempts_dir: Option<PathBuf>,
    /// End rather than run tasks whose memory, cpu and processes the runner cannot limit (as without root it may be)
    #[arg(long, env = "SHOALD_REQUIRE_LIMITS", value_parser = BoolishValueParser::new())]
    pub require_limits: bool,
}

/// The runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerChoice {
    /// The program, for a runner of this server's own.
    pub binary: Option<PathBuf>,
    /// Holds its socket.
    pub state_dir: PathBuf,
    /// Holds the attempts' directories.
    pub attempts_dir: PathBuf,
    /// Whether a runner that cannot limit tasks is of no use.
    pub require_limits: bool,
}

impl RunnerFlags {
    pub(super) fn validate(self, data_dir: &Path) -> Result<RunnerChoice, ConfigError> {
        let require_limits = self.require_limits;
        let absolute = |path: PathBuf| {
            std::path::absolute(path)
                .map_err(|source| ConfigError::Machine { what: "the current directory", source })
        };
        if let (Some(state_dir), Some(attempts_dir)) = (self.runner_dir, self.attempts_dir) {
            let (state_dir, attempts_dir) = (absolute(state_dir)?, absolute(attempts_dir)?);
            return Ok(RunnerChoice { binary: None, state_dir, attempts_dir, require_limits });
        }
        let binary = Some(binary(self.runner_binary)?);
        let (state_dir, attempts_dir) = (data_dir.join("runner"), data_dir.join("attempts"));
        Ok(RunnerChoice { binary, state_dir, attempts_dir, require_limits })
    }
}

fn binary(given: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let path = match given {
        Some(path) => path,
        None => std::env::current_exe()
            .map_err(|source| ConfigError::Machine { what: "the path of shoald", source })?
            .with_file_name("shoal-runner"),
    };
    match path.is_file() {
        true => Ok(path),
        false => Err(bad("--runner-binary", "must be an existing program", path.display().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Flags;
    use clap::Parser;
    use std::path::PathBuf;

    #[test]
    fn a_runner_is_this_servers_own_or_an_administrators() {
        let parse = |args: &[&str]| Flags::try_parse_from(["shoald", "--name", "n1"].iter().chain(args));
        let program = std::env::current_exe().unwrap();
        let program = program.to_str().unwrap();
        let own = parse(&["--runner-binary", program]).unwrap().validate().unwrap().runner;
        assert_eq!(
            (own.binary, own.state_dir),
            (Some(program.into()), PathBuf::from("/var/lib/shoal/runner"))
        );
        let given = ["--runner-dir", "/run/r", "--attempts-dir", "/srv/a"];
        let other = parse(&given).unwrap().validate().unwrap().runner;
        assert_eq!((other.binary, other.attempts_dir), (None, PathBuf::from("/srv/a")));
        assert!(parse(&given[..2]).is_err() && parse(&given[2..]).is_err());
        assert!(parse(&[&given[..], &["--runner-binary", program]].concat()).is_err());
    }
}
