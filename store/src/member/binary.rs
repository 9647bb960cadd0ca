//! Finds the etcd program and knows what each version can do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;
use tokio::process::Command;

/// How long `etcd --version` may take; it does no I/O, so this is for a machine under heavy load.
const VERSION_DEADLINE: Duration = Duration::from_secs(10);

/// Where to get it, for errors.
const ADVICE: &str = "set SHOAL_ETCD or give its path; versions 3.4 to 3.6 work";

/// A version of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Always 3 so far.
    pub major: u32,
    /// The series: flags differ between them.
    pub minor: u32,
    /// The patch release.
    pub patch: u32,
}

impl Version {
    /// The oldest series that is accepted: the first with learners.
    pub const OLDEST: Version = Version { major: 3, minor: 4, patch: 0 };
    /// The first series that is not known to work.
    pub const TOO_NEW: Version = Version { major: 3, minor: 7, patch: 0 };

    /// Whether this version has the fixes for leases revoked early by an old leader and for watch events lost after a compaction: 3.4.31,
    /// 3.5.13 (etcd's change logs, pull requests 17425, 17465, 17610, 17612) and all of 3.6. Without them a node's key may vanish
    /// although its node lives on, so peers wait one more time to live before they requeue.
    pub fn lease_fixes(self) -> bool {
        match (self.major, self.minor) {
            (3, 4) => self.patch >= 31,
            (3, 5) => self.patch >= 13,
            (major, minor) => (major, minor) >= (3, 6),
        }
    }

    /// What a person should know about this version before trusting it with data.
    pub fn warning(self) -> Option<String> {
        if (self.major, self.minor) == (3, 5) && self.patch < 5 {
            // Change log of 3.5: 13908 (inconsistent members after a crash, fixed in 3.5.3), 14424 (durability of one member, 3.5.5).
            return Some(format!("etcd {self} may lose or corrupt data in a crash: use 3.5.13 or newer"));
        }
        (!self.lease_fixes()).then(|| {
            format!(
                "etcd {self} may end a living node's lease when its leader changes (fixed in 3.4.31 and 3.5.13): \
                 lost nodes are given one more time to live before their tasks move"
            )
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = ();

    /// Reads `3.5.16`, `3.6.0-rc.1` or `3.5.16+git`: what follows the patch number is ignored.
    fn from_str(text: &str) -> Result<Version, ()> {
        let mut parts = text.trim().splitn(3, '.');
        let mut number = |last: bool| {
            let part = parts.next().ok_or(())?;
            let end = part.find(|c: char| !c.is_ascii_digit()).filter(|_| last).unwrap_or(part.len());
            part[..end].parse::<u32>().map_err(|_| ())
        };
        Ok(Version { major: number(false)?, minor: number(false)?, patch: number(true)? })
    }
}

/// The etcd program that will be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// Where it is.
    pub path: PathBuf,
    /// Which it is.
    pub version: Version,
}

/// Why there is no etcd to start.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// Not where it was said to be.
    #[error("no etcd at {} ({origin}); {ADVICE}", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// Who said it.
        origin: &'static str,
    },
    /// Nowhere.
    #[error("no etcd found: not in SHOAL_ETCD, not next to this program, not in PATH; {ADVICE}")]
    NotFound,
    /// It did not run, or not to an end.
    #[error("{} --version: {why}", path.display())]
    DoesNotRun {
        /// The path.
        path: PathBuf,
        /// What happened.
        why: String,
    },
    /// It ran, but said something else.
    #[error("{} --version says {said:?}, which is not a version of etcd", path.display())]
    NoVersion {
        /// The path.
        path: PathBuf,
        /// Its first line.
        said: String,
    },
    /// Older than [`Version::OLDEST`].
    #[error("{} is etcd {version}, too old: 3.4 is the oldest that works", path.display())]
    TooOld {
        /// The path.
        path: PathBuf,
        /// Its version.
        version: Version,
    },
    /// Not older than [`Version::TOO_NEW`].
    #[error("{} is etcd {version}, too new: 3.6 is the newest that is known to work", path.display())]
    TooNew {
        /// The path.
        path: PathBuf,
        /// Its version.
        version: Version,
    },
}

impl Binary {
    /// The program to use: `explicit`, else `SHOAL_ETCD`, else `etcd` next to this executable, else the first in `PATH`; an
    /// explicit one that is missing is an error, never a reason to look further.
    pub async fn find(explicit: Option<&Path>) -> Result<Binary, BinaryError> {
        let path = locate(explicit)?;
        let version = version_of(&path).await?;
        if version < Version::OLDEST {
            return Err(BinaryError::TooOld { path, version });
        }
        if version >= Version::TOO_NEW {
            return Err(BinaryError::TooNew { path, version });
        }
        Ok(Binary { path, version })
    }
}

fn locate(explicit: Option<&Path>) -> Result<PathBuf, BinaryError> {
    let from_environment = std::env::var_os("SHOAL_ETCD").map(PathBuf::from);
    let named = match (explicit, from_environment) {
        (Some(path), _) => Some((path.to_path_buf(), "the path given")),
        (None, Some(path)) => Some((path, "SHOAL_ETCD")),
        (None, None) => None,
    };
    if let Some((path, origin)) = named {
        // Absolute, because the child is started through another program.
        let absolute = std::path::absolute(&path).unwrap_or(path);
        return if absolute.is_file() {
            Ok(absolute)
        } else {
            Err(BinaryError::Missing { path: absolute, origin })
        };
    }
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("etcd")));
    let search = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&search).filter(|dir| dir.is_absolute()).map(|dir| dir.join("etcd"));
    beside.into_iter().chain(in_path).find(|path| path.is_file()).ok_or(BinaryError::NotFound)
}

async fn version_of(path: &Path) -> Result<Version, BinaryError> {
    let fails = |why: String| BinaryError::DoesNotRun { path: path.to_path_buf(), why };
    let run = Command::new(path).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match tokio::time::timeout(VERSION_DEADLINE, run).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(fails(error.to_string())),
        Err(_) => return Err(fails(format!("no answer within {VERSION_DEADLINE:?}"))),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.lines().find_map(|line| line.strip_prefix("etcd Version:")?.parse().ok());
    match version {
        Some(version) => Ok(version),
        None if !output.status.success() => Err(fails(output.status.to_string())),
        None => {
            let first: String = said.lines().next().unwrap_or_default().chars().take(80).collect();
            Err(BinaryError::NoVersion { path: path.to_path_buf(), said: first })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_read_with_what_follows_the_patch() {
        assert_eq!(version(" 3.4.23").to_string(), "3.4.23");
        assert_eq!(version("3.6.0-rc.1"), version("3.6.0"));
        assert_eq!(version("3.5.16+git.1"), version("3.5.16"));
        for text in ["", "3", "3.5", "v3.5.1", "3.x.1", "3.5.", "latest"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_lease_fixes_are_in_3_4_31_and_3_5_13_and_after() {
        for (text, fixed) in [
            ("3.4.23", false),
            ("3.4.30", false),
            ("3.4.31", true),
            ("3.5.0", false),
            ("3.5.12", false),
            ("3.5.13", true),
            ("3.6.0", true),
        ] {
            assert_eq!(version(text).lease_fixes(), fixed, "{text}");
            assert_eq!(version(text).warning().is_none(), fixed, "{text}");
        }
        assert!(version("3.5.2").warning().is_some_and(|text| text.contains("lose or corrupt")));
    }
}
