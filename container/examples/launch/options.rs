//! The command line of this bench.

use super::Result;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// All variants, in the order of the table.
const ALL: [&str; 4] = ["bare", "shoal", "crun", "runc"];

/// What to measure.
#[derive(Debug)]
pub struct Options {
    /// The runner's program.
    pub runner: PathBuf,
    /// Where all files are made.
    pub dir: PathBuf,
    /// Which variants.
    pub only: Vec<String>,
    /// Of each variant, for each number in flight.
    pub starts: usize,
    /// Into which the starts are divided.
    pub rounds: usize,
    /// How many at once.
    pub in_flight: Vec<usize>,
    /// Idle tasks for the measurement of memory; 0 leaves it out.
    pub idle: usize,
    /// Printed with the figures.
    pub commit: String,
}

impl Options {
    /// Printed by `--help`.
    pub const USAGE: &str = "\
launch --runner PROGRAM [--dir DIR] [--only VARIANT,...] [--starts N] [--rounds N] [--in-flight N,...] [--idle N] [--commit TEXT]
  --runner PROGRAM     the runner to measure
  --dir DIR            where all files are made: roots, bundles, attempts, the states of crun and runc (/dev/shm)
  --only VARIANT,...   bare, shoal, crun, runc (all)
  --starts N           of each, for each number in flight (500)
  --rounds N           that they are divided into (5)
  --in-flight N,...    how many at once (1,8)
  --idle N             idle tasks to measure memory with; 0 for not (100)
  --commit TEXT        printed with the figures";

    /// Reads the arguments behind the program's name; `None` when help was asked for.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>> {
        let mut options = Options {
            runner: PathBuf::new(),
            dir: "/dev/shm".into(),
            only: ALL.map(str::to_owned).to_vec(),
            starts: 500,
            rounds: 5,
            in_flight: vec![1, 8],
            idle: 100,
            commit: "unknown".to_owned(),
        };
        while let Some(argument) = arguments.next() {
            if matches!(argument.as_str(), "--help" | "-h") {
                return Ok(None);
            }
            let value = arguments.next().ok_or(format!("{argument} needs a value; try --help"))?;
            match argument.as_str() {
                "--runner" => options.runner = value.into(),
                "--dir" => options.dir = value.into(),
                "--only" => options.only = variants(&value)?,
                "--starts" => options.starts = value.parse()?,
                "--rounds" => options.rounds = value.parse()?,
                "--in-flight" => options.in_flight = numbers(&value)?,
                "--idle" => options.idle = value.parse()?,
                "--commit" => options.commit = value,
                _ => return Err(format!("unknown argument {argument}; try --help").into()),
            }
        }
        if options.runner.as_os_str().is_empty() || options.starts == 0 || options.rounds == 0 {
            return Err("--runner is required, and no number of starts or rounds may be 0; try --help".into());
        }
        Ok(Some(options))
    }

    /// A directory of its own for everything, removed at the end. Open to all, because the root of a user namespace is somebody else outside.
    pub fn make_dir(&self) -> Result<tempfile::TempDir> {
        let dir = tempfile::Builder::new().prefix("shoal-bench.").tempdir_in(&self.dir)?;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        Ok(dir)
    }
}

fn variants(list: &str) -> Result<Vec<String>> {
    let names: Vec<String> = list.split(',').map(str::to_owned).collect();
    match names.iter().find(|name| !ALL.contains(&name.as_str())) {
        Some(name) => Err(format!("no variant {name}; there are {}", ALL.join(", ")).into()),
        None => Ok(names),
    }
}

fn numbers(list: &str) -> Result<Vec<usize>> {
    let numbers = list.split(',').map(str::parse).collect::<std::result::Result<Vec<usize>, _>>()?;
    if numbers.contains(&0) { Err("0 in flight start nothing".into()) } else { Ok(numbers) }
}
