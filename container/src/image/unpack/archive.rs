//! Entries of a tar file, one after the other, with the extended headers of PAX and GNU applied to them.
//!
//! The `tar` crate reads blocks, checks their sums and knows their fields; what spans several blocks is put together here, so that each step has
//! a limit. Two readers of one archive must never see different entries, so what could be read in two ways is refused: a size in an extended
//! header that is not the header's, sparse files, an entry of a type that we do not know.

use super::error::{UnpackError, shown};
use super::name::Name;
use shoal_container::image::{Caps, IDS};
use std::io::Read;
use tar::{Archive, EntryType, Header};

/// Bytes of one extended header: names and attributes, the latter of which some tools write at length.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// Bytes of what a symbolic link says: the kernel's limit.
const LINK_BYTES_MAX: u64 = 4095;
/// Seconds since 1970 up to which a time is kept: the year 9999.
const MTIME_MAX: i64 = 253_402_300_799;

/// What an entry makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file of [`Entry::size`] bytes.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that says this.
    Symlink(Vec<u8>),
    /// Another name for this file.
    Hardlink(Name),
    /// A device or a pipe: left out. A container has the devices that it may have, and no others.
    Special,
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where.
    pub name: Name,
    /// What.
    pub kind: Kind,
    /// Permission bits, without set-user-id and set-group-id: those would hand out an id of the host to whoever gets at the tree there.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970; what is no usable time is 0.
    pub mtime: i64,
    /// Bytes of a file.
    pub size: u64,
    /// Where those bytes begin in the archive.
    pub offset: u64,
}

/// What extended headers said of the next entry.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
}

/// Calls `visit` with each entry and its bytes, to the end of the archive or the first error.
pub fn each(
    reader: impl Read,
    caps: &Caps,
    mut visit: impl FnMut(&Entry, &mut dyn Read) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let mut archive = Archive::new(reader);
    let mut pending: Option<Extension> = None;
    for block in archive.entries().map_err(UnpackError::Read)?.raw(true) {
        let mut block = block.map_err(UnpackError::Read)?;
        let kind = block.header().entry_type();
        match kind {
            EntryType::GNULongName | EntryType::GNULongLink => {
                let text = text_of(&mut block)?;
                let extension = pending.get_or_insert_default();
                match kind {
                    EntryType::GNULongName => extension.path = Some(text),
                    _ => extension.link = Some(text),
                }
            }
            EntryType::XHeader => {
                let records = extension_bytes(&mut block)?;
                read_records(&records, pending.get_or_insert_default())?;
            }
            EntryType::XGlobalHeader => {
                let records = extension_bytes(&mut block)?;
                let mut global = Extension::default();
                read_records(&records, &mut global)?;
                if global.path.is_some() || global.link.is_some() || global.size.is_some() {
                    let why = "a global header names a path, a link or a size for all entries";
                    return Err(UnpackError::Nonsense(why.to_owned()));
                }
            }
            _ => {
                let offset = block.raw_file_position();
                let entry = entry_of(block.header(), offset, pending.take().unwrap_or_default(), caps)?;
                visit(&entry, &mut block)?;
            }
        }
    }
    ends_here(archive.into_inner())?;
    match pending {
        Some(_) => Err(UnpackError::Nonsense("the archive ends behind an extended header".to_owned())),
        None => Ok(()),
    }
}

/// Reads what follows the end of the archive. Nothing but padding may: another reader could take it for more entries, and what packs the archive has
/// its checksum there.
fn ends_here(mut reader: impl Read) -> Result<(), UnpackError> {
    let mut buffer = [0; 8192];
    loop {
        match reader.read(&mut buffer).map_err(UnpackError::Read)? {
            0 => return Ok(()),
            read if buffer[..read].iter().all(|byte| *byte == 0) => {}
            _ => return Err(UnpackError::Nonsense("something follows the end of its archive".to_owned())),
        }
    }
}

fn entry_of(header: &Header, offset: u64, extension: Extension, caps: &Caps) -> Result<Entry, UnpackError> {
    let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let name = Name::parse(&path, caps)?;
    let field = |why: &str| UnpackError::refused(&path, format!("its {why} is no number"));
    let size = header.entry_size().map_err(|_| field("size"))?;
    if let Some(other) = extension.size.filter(|other| *other != size) {
        let why = format!("its size is {size} in its header and {other} in the extended one");
        return Err(UnpackError::refused(&path, why));
    }
    let link = || match extension.link.clone().or_else(|| header.link_name_bytes().map(|l| l.into_owned())) {
        Some(link) if !link.is_empty() && !link.contains(&0) => Ok(link),
        _ => Err(UnpackError::refused(&path, "it is a link to nothing")),
    };
    let kind = match header.entry_type() {
        // In the oldest format a directory is a file with a slash at the end.
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => {
            let link = link()?;
            at_most(&path, "link bytes", LINK_BYTES_MAX, link.len() as u64)?;
            Kind::Symlink(link)
        }
        EntryType::Link => Kind::Hardlink(Name::parse(&link()?, caps)?),
        EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Special,
        EntryType::GNUSparse => {
            return Err(UnpackError::refused(&path, "it is a sparse file; pack it without --sparse"));
        }
        other => {
            let byte = other.as_byte().escape_ascii().to_string();
            return Err(UnpackError::refused(&path, format!("its type '{byte}' is not known")));
        }
    };
    if size != 0 && !matches!(kind, Kind::File) {
        return Err(UnpackError::refused(&path, format!("it is no file and has {size} bytes")));
    }
    at_most(&path, "size", caps.bytes_max, size)?;
    let old = header.as_old();
    let id = |what: &'static str, value: Option<u64>, text: &[u8], plain: std::io::Result<u64>| {
        // Some writers leave the fields of what they do not know empty.
        let empty = text.iter().all(|byte| matches!(byte, 0 | b' '));
        let plain = if empty { Ok(0) } else { plain };
        let value = value.map_or_else(|| plain.map_err(|_| field(what)), Ok)?;
        at_most(&path, what, u64::from(IDS - 1), value).map(|()| value as u32)
    };
    let mtime = extension.mtime.or_else(|| header.mtime().ok().and_then(|time| i64::try_from(time).ok()));
    Ok(Entry {
        mode: header.mode().map_err(|_| field("mode"))? & 0o1777,
        uid: id("uid", extension.uid, &old.uid, header.uid())?,
        gid: id("gid", extension.gid, &old.gid, header.gid())?,
        mtime: mtime.filter(|time| (0..=MTIME_MAX).contains(time)).unwrap_or(0),
        name,
        kind,
        size,
        offset,
    })
}

fn at_most(path: &[u8], field: &'static str, limit: u64, value: u64) -> Result<(), UnpackError> {
    match value > limit {
        true => Err(UnpackError::Entry { entry: shown(path), field, limit, value }),
        false => Ok(()),
    }
}

/// The whole of an extended header.
fn extension_bytes(block: &mut tar::Entry<'_, impl Read>) -> Result<Vec<u8>, UnpackError> {
    let size = block.header().entry_size().map_err(UnpackError::Read)?;
    at_most(&block.header().path_bytes(), "extended header bytes", EXTENSION_BYTES_MAX, size)?;
    let mut bytes = Vec::with_capacity(size as usize);
    block.read_to_end(&mut bytes).map_err(UnpackError::Read)?;
    match bytes.len() as u64 == size {
        true => Ok(bytes),
        false => Err(UnpackError::Nonsense("the archive ends inside of an extended header".to_owned())),
    }
}

/// A long name of GNU: text up to the first zero byte.
fn text_of(block: &mut tar::Entry<'_, impl Read>) -> Result<Vec<u8>, UnpackError> {
    let mut text = extension_bytes(block)?;
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    Ok(text)
}

/// Reads records of the form `LENGTH KEY=VALUE\n`. Keys that mean nothing to us (extended attributes among them) are left out.
fn read_records(mut bytes: &[u8], into: &mut Extension) -> Result<(), UnpackError> {
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes).ok_or_else(|| {
            UnpackError::Nonsense("an extended header is not made of LENGTH KEY=VALUE records".to_owned())
        })?;
        let number = || -> Result<u64, UnpackError> {
            let text = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            text.ok_or_else(|| {
                UnpackError::Nonsense(format!("an extended header's {} is no number", shown(key)))
            })
        };
        match key {
            b"path" => into.path = Some(value.to_vec()),
            b"linkpath" => into.link = Some(value.to_vec()),
            b"size" => into.size = Some(number()?),
            b"uid" => into.uid = Some(number()?),
            b"gid" => into.gid = Some(number()?),
            b"mtime" => into.mtime = Some(seconds(value)),
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(UnpackError::Nonsense(
                    "it holds sparse files; pack it without --sparse".to_owned(),
                ));
            }
            _ => {}
        }
        bytes = rest;
    }
    Ok(())
}

/// The first record's key and value, and what follows.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let digits = &bytes[..space];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let whole = bytes.get(..length)?;
    let text = whole.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    Some((&text[..equals], &text[equals + 1..], &bytes[length..]))
}

/// Whole seconds of a decimal number; what is none is 0.
fn seconds(text: &[u8]) -> i64 {
    let whole = text.split(|byte| *byte == b'.').next().unwrap_or_default();
    std::str::from_utf8(whole).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_to_the_byte() {
        assert_eq!(record(b"9 k=ab c\nrest"), Some((&b"k"[..], &b"ab c"[..], &b"rest"[..])));
        for bad in ["", "5", "5 k=v", "99 k=v\n", "0 =\n", "3 k\n", "-7 k=v\n", "6 k=vv\n", " 6 k=v\n"] {
            assert_eq!(record(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_time_that_is_none_is_zero() {
        assert_eq!(seconds(b"17.25"), 17);
        assert_eq!(seconds(b"-5.5"), -5);
        assert_eq!((seconds(b""), seconds(b"1e9"), seconds(b"99999999999999999999")), (0, 0, 0));
    }
}
