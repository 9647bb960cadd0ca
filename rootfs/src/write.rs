//! Writes a tree to disk so that the same tree gives the same bytes, modes and times everywhere, whatever the umask and the clock.

use crate::error::Error;
use crate::layout::{Entry, Tree};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// The modification time of every entry: 1980-01-01 00:00 UTC, the first that all archive formats can hold.
const MODIFIED: Timespec = Timespec { tv_sec: 315_532_800, tv_nsec: 0 };

/// Writes `tree` at `root`, which must not exist.
pub fn write_tree(tree: &Tree, root: &Path) -> Result<(), Error> {
    let place = |path: &str| if path == "." { root.to_path_buf() } else { root.join(path) };
    for (path, entry) in tree {
        write_entry(&place(path), entry)?;
    }
    // Children before parents: making an entry changes the time of the directory that it is in, and a final mode may forbid making.
    for (path, entry) in tree.iter().rev() {
        finish_entry(&place(path), entry)?;
    }
    Ok(())
}

fn write_entry(place: &PathBuf, entry: &Entry) -> Result<(), Error> {
    match entry {
        Entry::Dir { .. } => {
            DirBuilder::new().mode(0o700).create(place).map_err(Error::io("make directory", place))
        }
        Entry::Link { target } => symlink(target, place).map_err(Error::io("make link", place)),
        Entry::File { content, .. } => {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(place)
                .map_err(Error::io("create", place))?;
            file.write_all(content).map_err(Error::io("write", place))
        }
    }
}

fn finish_entry(place: &PathBuf, entry: &Entry) -> Result<(), Error> {
    let mode = match entry {
        Entry::Dir { mode } | Entry::File { mode, .. } => Some(*mode),
        Entry::Link { .. } => None,
    };
    if let Some(mode) = mode {
        std::fs::set_permissions(place, Permissions::from_mode(mode))
            .map_err(Error::io("set mode of", place))?;
    }
    let times = Timestamps { last_access: MODIFIED, last_modification: MODIFIED };
    rustix::fs::utimensat(CWD, place, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(Error::io("set times of", place))
}
