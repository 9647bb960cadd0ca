//! The one program of the default root: finding it, checking that it needs nothing else, and asking it for its applets.

use crate::elf::{Linkage, linkage};
use crate::error::Error;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A static busybox, read once: what is checked is what is written into the root.
#[derive(Debug)]
pub struct Busybox {
    /// The program itself.
    pub image: Vec<u8>,
    /// The names it answers to, without its own.
    pub applets: BTreeSet<String>,
}

impl Busybox {
    /// Reads and checks the program at `path`.
    pub fn read(path: &Path) -> Result<Busybox, Error> {
        let image = read_static(path)?;
        Ok(Busybox { image, applets: applets(path)? })
    }
}

/// The static busybox of this machine: `SHOAL_BUSYBOX` when set (and then nothing else), else `/bin/busybox`, else the first in
/// `PATH`. A dynamic one is passed over; where there is no other, the error says so.
pub fn find_busybox() -> Result<PathBuf, Error> {
    let chosen = std::env::var_os("SHOAL_BUSYBOX").map(PathBuf::from);
    let candidates = match &chosen {
        Some(path) => vec![path.clone()],
        None => candidates(&std::env::var_os("PATH").unwrap_or_default()),
    };
    let mut first_refusal = None;
    for path in candidates.iter().filter(|path| chosen.is_some() || path.is_file()) {
        match read_static(path) {
            Ok(_) => return Ok(path.clone()),
            Err(refusal) => first_refusal = first_refusal.or(Some(refusal)),
        }
    }
    Err(first_refusal
        .unwrap_or(Error::NotFound { looked_at: "SHOAL_BUSYBOX, /bin/busybox, PATH".to_owned() }))
}

fn candidates(path_variable: &std::ffi::OsStr) -> Vec<PathBuf> {
    let in_path =
        std::env::split_paths(path_variable).filter(|dir| dir.is_absolute()).map(|dir| dir.join("busybox"));
    std::iter::once(PathBuf::from("/bin/busybox")).chain(in_path).collect()
}

fn read_static(path: &Path) -> Result<Vec<u8>, Error> {
    let image = std::fs::read(path).map_err(Error::io("read busybox", path))?;
    match linkage(&image) {
        Linkage::Static => Ok(image),
        Linkage::Dynamic => Err(Error::Dynamic { path: path.to_path_buf() }),
        Linkage::NotElf => Err(Error::NotElf { path: path.to_path_buf() }),
    }
}

fn applets(path: &Path) -> Result<BTreeSet<String>, Error> {
    let failed = |why: String| Error::Applets { path: path.to_path_buf(), why };
    // An absolute program name and an empty environment: the answer depends on the program alone.
    let program = std::path::absolute(path).map_err(Error::io("resolve", path))?;
    let output = Command::new(program)
        .arg("--list")
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let applets: BTreeSet<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|name| is_plain_name(name) && *name != "busybox")
        .map(str::to_owned)
        .collect();
    if applets.contains("sh") { Ok(applets) } else { Err(failed("it has no applet `sh`".to_owned())) }
}

/// A name that can only be an entry of the directory it is put into.
fn is_plain_name(name: &str) -> bool {
    let graphic = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    graphic && !matches!(name, "" | "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        assert!(is_plain_name("["));
        assert!(is_plain_name("run-parts"));
        for name in ["", ".", "..", "../sh", "/sh", "a b", "tab\t"] {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }

    #[test]
    fn relative_entries_of_path_are_ignored() {
        let found = candidates(std::ffi::OsStr::new("relative:/opt/tools::"));
        assert_eq!(found, [PathBuf::from("/bin/busybox"), PathBuf::from("/opt/tools/busybox")]);
    }
}
