//! Builds Shoal's default root file system from the distribution's static busybox: small, read-only in use, and reproducible. The
//! same busybox gives the same tree on every machine, byte for byte, mode for mode, time for time, so that a task finds the same
//! system on every node and two nodes can compare theirs by one digest.
//!
//! Nothing of the host goes into it: no users, no host name, no resolver, no time zone.

mod busybox;
mod elf;
mod error;
mod layout;
mod manifest;
mod write;

pub use busybox::find_busybox;
pub use error::Error;
pub use manifest::Manifest;

use busybox::Busybox;
use std::path::{Path, PathBuf};

/// Builds the default root at `out`, which must not exist, from the static busybox at `busybox`.
pub fn build(busybox: &Path, out: &Path) -> Result<Manifest, Error> {
    if out.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: out.to_path_buf() });
    }
    let tree = layout::default_tree(&Busybox::read(busybox)?);
    write::write_tree(&tree, out)?;
    Ok(Manifest::of(&tree))
}

/// Makes sure that the default root of this machine's busybox ([`find_busybox`]) stands at `out`. See [`ensure_from`].
pub fn ensure(out: &Path) -> Result<Manifest, Error> {
    ensure_from(&find_busybox()?, out)
}

/// Makes sure that the default root made from `busybox` stands at `out`, with its manifest beside it in
/// `OUT.manifest`. Does nothing where manifest and tree are as they should be. Else builds beside it and renames, so that `out` is
/// never a half-built tree; a tree that stood there is kept as `OUT.previous`, since containers may still be running from it.
///
/// One process at a time: the caller holds its data directory's lock.
pub fn ensure_from(busybox: &Path, out: &Path) -> Result<Manifest, Error> {
    let tree = layout::default_tree(&Busybox::read(busybox)?);
    let wanted = Manifest::of(&tree);
    let record = sibling(out, "manifest");
    if std::fs::read_to_string(&record).is_ok_and(|text| text == wanted.text())
        && Manifest::scan(out).is_ok_and(|found| found == wanted)
    {
        return Ok(wanted);
    }
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent).map_err(Error::io("make directory", parent))?;
    }
    let building = sibling(out, "building");
    remove_tree(&building)?;
    write::write_tree(&tree, &building)?;
    replace(&building, out)?;
    write_record(&record, wanted.text())?;
    Ok(wanted)
}

/// Puts the tree at `new` in the place of `out`.
fn replace(new: &Path, out: &Path) -> Result<(), Error> {
    if out.symlink_metadata().is_ok() {
        let previous = sibling(out, "previous");
        remove_tree(&previous)?;
        std::fs::rename(out, &previous).map_err(Error::io("move away", out))?;
    }
    std::fs::rename(new, out).map_err(Error::io("rename to", out))
}

/// Written last and by rename: a crash before leaves no manifest that matches, and the next start builds again.
fn write_record(record: &Path, text: &str) -> Result<(), Error> {
    let fresh = sibling(record, "new");
    std::fs::write(&fresh, text).map_err(Error::io("write", &fresh))?;
    std::fs::rename(&fresh, record).map_err(Error::io("rename to", record))
}

/// `out` with a dot and this word appended to its name, in the same directory.
fn sibling(out: &Path, word: &str) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".");
    name.push(word);
    PathBuf::from(name)
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
