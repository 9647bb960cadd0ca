//! A member's directory, as the server sees it: a stranger owns it and may change everything in it at any moment. So each access begins at the directory's
//! descriptor, follows no link, waits for nobody, and reads no more than a value may have. What stands under a name is judged by what was opened, never by what was there before.

use super::refusal::Refusal;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, linkat, openat, openat2, statat,
};
use rustix::io::Errno;
use shoal_container::writers;
use shoal_core::gang_key::VALUE_BYTES_MAX;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What was refused, for the task to read. The name is none that is published.
pub const REFUSED: &str = ".refused";
/// No more of it is written.
const REFUSED_BYTES_MAX: u64 = 16 << 10;
/// Its file system has 256 inodes, and a name takes one.
const ENTRIES_MAX: usize = 1024;
/// All can read what the server writes; the task is another user.
const READABLE: Mode = Mode::from_raw_mode(0o644);
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
const CAREFUL: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// How a name came to be looked at; the later of two is the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// It was made or linked in a moment ago.
    Made,
    /// It was there when the directory was listed.
    Listed,
    /// It was closed by somebody who could write, or renamed to this name.
    Done,
}

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, any more.
    Nothing,
    /// A file that somebody has not written to its end.
    Unfinished,
    /// A file with these bytes.
    Value(Vec<u8>),
    /// Something that is not published.
    Refused(Refusal),
}

/// The directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
}

impl Directory {
    /// By a descriptor of it, which may be one of O_PATH.
    pub fn new(fd: OwnedFd) -> Directory {
        Directory { fd }
    }

    /// A name of it for a call that takes no descriptor; valid in this process, as long as it is not dropped.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd()).into()
    }

    /// The names in it.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let list = openat(&self.fd, c".", flags, Mode::empty()).and_then(Dir::new)?;
        let name = |entry: rustix::io::Result<rustix::fs::DirEntry>| {
            let entry = entry.ok()?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            (name != "." && name != "..").then(|| name.to_owned())
        };
        Ok(list.take(ENTRIES_MAX).filter_map(name).collect())
    }

    /// Whether something of this name is there, whatever it is.
    pub fn has(&self, name: &OsStr) -> bool {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// What stands under a name, which is a plain one (no `/`, no NUL).
    pub fn read(&self, name: &str, seen: Seen) -> Found {
        let file = match openat2(&self.fd, name, OFlags::RDONLY | CAREFUL, Mode::empty(), RESOLVE) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Found::Nothing,
            // A link, a socket, a device.
            Err(Errno::LOOP | Errno::NXIO | Errno::XDEV | Errno::NODEV) => {
                return Found::Refused(Refusal::NotAFile);
            }
            Err(error) => return Found::Refused(Refusal::from(error)),
        };
        let stat = match fstat(&file) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => stat,
            Ok(_) => return Found::Refused(Refusal::NotAFile),
            Err(error) => return Found::Refused(Refusal::from(error)),
        };
        // A file just made is empty before its maker has it open for writing; one that is empty for longer is meant so.
        if seen == Seen::Made && stat.st_size == 0 {
            return Found::Unfinished;
        }
        let read = match writers::while_unwritten(&file, || read_bounded(&file)) {
            Ok(Some(read)) => read,
            // Its writer is going to close it.
            Ok(None) => return Found::Unfinished,
            // The kernel does not tell us (we are not root): then a file just made that has another name was linked in, whole, and any other but those counts as
            // it stands.
            Err(_) if seen == Seen::Made && stat.st_nlink < 2 => return Found::Unfinished,
            Err(_) => read_bounded(&file),
        };
        match read {
            Ok(Some(bytes)) => Found::Value(bytes),
            Ok(None) => Found::Refused(Refusal::TooLarge),
            Err(error) => Found::Refused(Refusal::from(error)),
        }
    }

    /// Makes a file of this name (a plain one) with these bytes, which appears whole. `false` where something has the name, which is left as it is.
    pub fn put(&self, name: &str, bytes: &[u8]) -> io::Result<bool> {
        if self.has(name.as_ref()) {
            return Ok(false);
        }
        // Without a name until it is whole: there is nothing that the task could reach before, and nothing is left of one that failed.
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&self.fd, c".", flags, Mode::RUSR | Mode::WUSR)?;
        write_all(file.as_fd(), bytes)?;
        fchmod(&file, READABLE)?;
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        match linkat(CWD, own, &self.fd, name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds a line to what the task can read of refusals, as far as there is room. A file of that name which the task has made is written to only if it is a
    /// regular one: it is the task's own then.
    pub fn say(&self, line: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | CAREFUL;
        let file = openat2(&self.fd, REFUSED, flags, READABLE, RESOLVE)?;
        let stat = fstat(&file)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !regular || stat.st_size as u64 + line.len() as u64 > REFUSED_BYTES_MAX {
            return Ok(());
        }
        if stat.st_size == 0 {
            // Whatever this process takes away from the modes of its files.
            let _ = fchmod(&file, READABLE);
        }
        write_all(file.as_fd(), line.as_bytes())
    }
}

/// All of a file, or `None` if that is more than a value may have.
fn read_bounded(file: impl AsFd) -> rustix::io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; VALUE_BYTES_MAX + 1];
    let mut length = 0;
    while length < bytes.len() {
        match rustix::io::read(&file, &mut bytes[length..]) {
            Ok(0) => {
                bytes.truncate(length);
                return Ok(Some(bytes));
            }
            Ok(n) => length += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn write_all(file: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
