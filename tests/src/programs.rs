//! Finds the programs under test: those that the same build made, and etcd.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The program `name` of the build that made the running executable (a test in `deps/`, or a program beside it).
pub fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("the running executable's path")?;
    let mut folder = own.parent().context("an executable lies in a folder")?;
    if folder.ends_with("deps") {
        folder = folder.parent().context("deps/ lies in a profile's folder")?;
    }
    let program = folder.join(name);
    if !program.is_file() {
        bail!("{} is not built; run: cargo build --workspace --bins", program.display());
    }
    Ok(program)
}

/// etcd: `SHOAL_ETCD`, else PATH, else `target/tools/etcd`, where `make setup` unpacks it.
pub fn etcd() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("SHOAL_ETCD") {
        return Ok(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("etcd"));
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/etcd");
    match in_path.chain([unpacked]).find(|candidate| candidate.is_file()) {
        Some(found) => Ok(found),
        None => bail!("no etcd: not in SHOAL_ETCD, PATH or target/tools; run: make setup"),
    }
}
