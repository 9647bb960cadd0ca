//! Puts one archive into the tree: a root file system as it is, or a layer on top of others, whose whiteouts take away what those had.

use super::archive::{self, Entry, Kind};
use super::error::UnpackError;
use super::meter::Meter;
use super::name::Name;
use super::tree::Tree;
use std::collections::HashSet;
use std::io::Read;

/// Of the OCI image specification ("layers", whiteouts): a file of this name says that the one behind the prefix is gone.
const WHITEOUT: &[u8] = b".wh.";
/// The same: all that lower layers had in this directory is gone.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Unpacks a plain root file system.
pub fn root(reader: impl Read, tree: &Tree, meter: &mut Meter) -> Result<(), UnpackError> {
    let caps = meter.caps;
    archive::each(reader, &caps, |entry, bytes| tree.make(entry, bytes, meter))
}

/// Unpacks a layer. A whiteout speaks of lower layers alone, wherever in the layer it stands, so what this layer has made is kept.
pub fn apply(reader: impl Read, tree: &Tree, meter: &mut Meter) -> Result<(), UnpackError> {
    let caps = meter.caps;
    let mut made = HashSet::new();
    archive::each(reader, &caps, |entry, bytes| match whiteout(entry)? {
        Some(Whiteout::Name(name)) => {
            meter.skip()?;
            tree.clear(&name, &made)
        }
        Some(Whiteout::Inside(name)) => {
            meter.skip()?;
            tree.clear_inside(&name, &made)
        }
        Some(Whiteout::Nothing) => meter.skip(),
        None => {
            tree.make(entry, bytes, meter)?;
            if entry.kind != Kind::Special {
                made.extend(entry.name.with_parents());
            }
            Ok(())
        }
    })
}

enum Whiteout {
    Name(Name),
    Inside(Name),
    Nothing,
}

fn whiteout(entry: &Entry) -> Result<Option<Whiteout>, UnpackError> {
    let (directory, last) = entry.name.split();
    if last == OPAQUE {
        return Ok(Some(Whiteout::Inside(directory)));
    }
    let Some(hidden) = last.strip_prefix(WHITEOUT) else { return Ok(None) };
    match hidden {
        b"" | b"." | b".." => Err(UnpackError::refused(entry.name.bytes(), "it is a whiteout of nothing")),
        // Another tool's bookkeeping (aufs had some), which means nothing here.
        hidden if hidden.starts_with(WHITEOUT) => Ok(Some(Whiteout::Nothing)),
        hidden => Ok(Some(Whiteout::Name(directory.join(hidden)))),
    }
}
