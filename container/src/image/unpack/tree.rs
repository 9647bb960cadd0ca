//! The tree that is being made. Each operation starts at the tree's top and is named by a [`Name`]; the kernel is told to follow no link, to
//! leave the tree in no way and to cross no mount, so nothing that an earlier entry put there can redirect a later one.

use super::archive::{Entry, Kind};
use super::error::UnpackError;
use super::meter::Meter;
use super::name::Name;
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

const BUFFER_BYTES: usize = 128 << 10;
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Of directories that the archive needs and does not name.
const PARENT_MODE: Mode = Mode::from_bits_retain(0o755);

/// The tree.
pub struct Tree {
    top: OwnedFd,
    ids: u32,
}

impl Tree {
    /// The tree whose top this is. Owners below `ids` exist; where that is 1 (a runner that is not root), everything belongs to id 0.
    pub fn at(top: OwnedFd, ids: u32) -> Tree {
        Tree { top, ids }
    }

    /// Its top.
    pub fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// Makes what an entry says; what was there under its name before is replaced, but for directories, which are kept by directories.
    pub fn make(&self, entry: &Entry, bytes: &mut dyn Read, meter: &mut Meter) -> Result<(), UnpackError> {
        let name = &entry.name;
        if name.is_top() {
            return match entry.kind {
                Kind::Directory => self.dress(entry, self.top()),
                _ => Err(UnpackError::refused(name.bytes(), "it would replace the root directory")),
            };
        }
        if entry.kind == Kind::Special {
            return meter.skip();
        }
        meter.inode()?;
        let (parent, last) = self.parent(name, meter)?;
        match &entry.kind {
            Kind::File => self.file(entry, parent.as_fd(), last, bytes, meter),
            Kind::Directory => self.directory(entry, parent.as_fd(), last),
            Kind::Symlink(link) => {
                remove(parent.as_fd(), last, name)?;
                let made = rustix::fs::symlinkat(OsStr::from_bytes(link), &parent, last);
                made.map_err(|error| UnpackError::file(name.bytes(), "make the link", error))?;
                let (uid, gid) = self.owner(entry);
                rustix::fs::chownat(&parent, last, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| UnpackError::file(name.bytes(), "set the owner", error))
            }
            Kind::Hardlink(target) => self.hardlink(name, target, parent.as_fd(), last),
            Kind::Special => Ok(()),
        }
    }

    fn file(
        &self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        last: &OsStr,
        bytes: &mut dyn Read,
        meter: &mut Meter,
    ) -> Result<(), UnpackError> {
        let name = entry.name.bytes();
        meter.file(entry.size)?;
        remove(parent, last, &entry.name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, last, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| UnpackError::file(name, "make the file", error))?;
        let mut file = File::from(file);
        let mut buffer = vec![0; BUFFER_BYTES.min(entry.size as usize)];
        let mut left = entry.size;
        while left > 0 {
            let part = buffer.len().min(left as usize);
            let read = bytes.read(&mut buffer[..part]).map_err(UnpackError::Read)?;
            if read == 0 {
                return Err(UnpackError::refused(name, "the archive ends inside of it"));
            }
            file.write_all(&buffer[..read]).map_err(|error| UnpackError::file(name, "write", error))?;
            left -= read as u64;
        }
        self.dress(entry, file.as_fd())?;
        let time = Timespec { tv_sec: entry.mtime, tv_nsec: 0 };
        rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })
            .map_err(|error| UnpackError::file(name, "set the time", error))
    }

    fn directory(&self, entry: &Entry, parent: BorrowedFd<'_>, last: &OsStr) -> Result<(), UnpackError> {
        if !is_directory(parent, last) {
            remove(parent, last, &entry.name)?;
            rustix::fs::mkdirat(parent, last, Mode::RWXU)
                .map_err(|error| UnpackError::file(entry.name.bytes(), "make the directory", error))?;
        }
        let directory = open_directory(parent, last, &entry.name)?;
        self.dress(entry, directory.as_fd())
    }

    fn hardlink(
        &self,
        name: &Name,
        target: &Name,
        parent: BorrowedFd<'_>,
        last: &OsStr,
    ) -> Result<(), UnpackError> {
        let refuse = |why: String| UnpackError::refused(name.bytes(), why);
        if target == name || target.is_top() {
            return Err(refuse("it is a hard link to itself or to the root directory".to_owned()));
        }
        let (directory, target_last) = target.split();
        let target_parent = self.open(&directory).map_err(|error| {
            refuse(format!("its target {} is not there: {error}", super::error::shown(target.bytes())))
        })?;
        // Before anything is removed for it: a target that is missing costs nothing that is there.
        let target_last = OsStr::from_bytes(target_last);
        let known = rustix::fs::statat(&target_parent, target_last, AtFlags::SYMLINK_NOFOLLOW);
        let known = known.map_err(|error| {
            refuse(format!("its target {} is not there: {error}", super::error::shown(target.bytes())))
        })?;
        if FileType::from_raw_mode(known.st_mode) == FileType::Directory {
            return Err(refuse("it is a hard link to a directory".to_owned()));
        }
        remove(parent, last, name)?;
        rustix::fs::linkat(&target_parent, target_last, parent, last, AtFlags::empty())
            .map_err(|error| UnpackError::file(name.bytes(), "make the hard link", error))
    }

    fn owner(&self, entry: &Entry) -> (Option<Uid>, Option<Gid>) {
        let known = |id: u32| if id < self.ids { id } else { 0 };
        (Some(Uid::from_raw(known(entry.uid))), Some(Gid::from_raw(known(entry.gid))))
    }

    /// Owner first: to change it takes some permission bits away.
    fn dress(&self, entry: &Entry, file: BorrowedFd<'_>) -> Result<(), UnpackError> {
        let (uid, gid) = self.owner(entry);
        rustix::fs::fchown(file, uid, gid)
            .map_err(|error| UnpackError::file(entry.name.bytes(), "set the owner", error))?;
        rustix::fs::fchmod(file, Mode::from_bits_truncate(entry.mode))
            .map_err(|error| UnpackError::file(entry.name.bytes(), "set the mode", error))
    }

    /// The directory that `name` is in, and its last part. Directories that the archive did not name are made.
    fn parent<'n>(&self, name: &'n Name, meter: &mut Meter) -> Result<(OwnedFd, &'n OsStr), UnpackError> {
        let bytes = name.bytes();
        let start = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let (directory, last) = (name.split().0, OsStr::from_bytes(&bytes[start..]));
        let opened = match self.open(&directory) {
            Err(Errno::NOENT) => self.make_parents(&directory, meter)?,
            opened => opened.map_err(|error| explain(name, &directory, error))?,
        };
        Ok((opened, last))
    }

    fn make_parents(&self, directory: &Name, meter: &mut Meter) -> Result<OwnedFd, UnpackError> {
        let mut name = Name::top();
        let mut at = self.open(&name).map_err(|error| explain(directory, &name, error))?;
        for part in directory.parts() {
            name = name.join(part);
            let part = OsStr::from_bytes(part);
            let next = match open_beneath(at.as_fd(), part) {
                Err(Errno::NOENT) => {
                    meter.inode()?;
                    rustix::fs::mkdirat(&at, part, PARENT_MODE).and_then(|()| open_beneath(at.as_fd(), part))
                }
                opened => opened,
            };
            at = next.map_err(|error| explain(directory, &name, error))?;
        }
        Ok(at)
    }

    /// Opens a directory of the tree.
    fn open(&self, name: &Name) -> rustix::io::Result<OwnedFd> {
        let path = if name.is_top() { OsStr::new(".") } else { OsStr::from_bytes(name.bytes()) };
        open_beneath(self.top(), path)
    }

    /// Opens a file of the tree for reading; `None` when there is no regular file of this name.
    pub fn read(&self, name: &Name) -> Option<File> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let path = OsStr::from_bytes(name.bytes());
        let file = File::from(rustix::fs::openat2(self.top(), path, flags, Mode::empty(), resolve).ok()?);
        file.metadata().ok()?.is_file().then_some(file)
    }

    /// Removes `name` and all below it, but for what is in `kept` (with the directories that lead there).
    pub fn clear(&self, name: &Name, kept: &HashSet<Name>) -> Result<(), UnpackError> {
        let (directory, last) = name.split();
        match self.open(&directory) {
            Ok(parent) => clear(parent.as_fd(), OsStr::from_bytes(last), name, kept),
            // A whiteout of what is not there, or of what is behind a link of this very layer, removes nothing.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(explain(name, &directory, error)),
        }
    }

    /// Removes all in the directory `name` but for what is in `kept`.
    pub fn clear_inside(&self, name: &Name, kept: &HashSet<Name>) -> Result<(), UnpackError> {
        match self.open(name) {
            Ok(directory) => clear_children(directory.as_fd(), name, kept),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(explain(name, name, error)),
        }
    }
}

fn open_beneath(at: BorrowedFd<'_>, path: &OsStr) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(at, path, flags, Mode::empty(), resolve)
}

fn explain(name: &Name, directory: &Name, error: Errno) -> UnpackError {
    let directory = super::error::shown(directory.bytes());
    let why = match error {
        Errno::LOOP => format!("a symbolic link leads to its directory {directory}; links are not followed"),
        Errno::NOTDIR => format!("its directory {directory} is not one"),
        error => format!("cannot open its directory {directory}: {error}"),
    };
    UnpackError::refused(name.bytes(), why)
}

fn is_directory(parent: BorrowedFd<'_>, last: &OsStr) -> bool {
    rustix::fs::statat(parent, last, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn open_directory(parent: BorrowedFd<'_>, last: &OsStr, name: &Name) -> Result<OwnedFd, UnpackError> {
    rustix::fs::openat(parent, last, DIRECTORY, Mode::empty())
        .map_err(|error| UnpackError::file(name.bytes(), "open the directory", error))
}

/// Removes what is there under this name, whatever it is; fine when nothing is.
fn remove(parent: BorrowedFd<'_>, last: &OsStr, name: &Name) -> Result<(), UnpackError> {
    clear(parent, last, name, &HashSet::new())
}

fn clear(parent: BorrowedFd<'_>, last: &OsStr, name: &Name, kept: &HashSet<Name>) -> Result<(), UnpackError> {
    let fail = |error: Errno| UnpackError::file(name.bytes(), "remove", error);
    if is_directory(parent, last) {
        let directory = open_directory(parent, last, name)?;
        clear_children(directory.as_fd(), name, kept)?;
        return match kept.contains(name) {
            true => Ok(()),
            false => rustix::fs::unlinkat(parent, last, AtFlags::REMOVEDIR).map_err(fail),
        };
    }
    if kept.contains(name) {
        return Ok(());
    }
    match rustix::fs::unlinkat(parent, last, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(fail(error)),
    }
}

fn clear_children(directory: BorrowedFd<'_>, name: &Name, kept: &HashSet<Name>) -> Result<(), UnpackError> {
    let fail = |error: Errno| UnpackError::file(name.bytes(), "list", error);
    // All names first: what is removed while a directory is read may hide others.
    let list = rustix::fs::openat(directory, ".", DIRECTORY, Mode::empty()).and_then(Dir::new);
    let names: Vec<Vec<u8>> = list
        .map_err(fail)?
        .map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_vec()))
        .collect::<Result<_, _>>()
        .map_err(fail)?;
    for part in names.iter().filter(|part| !matches!(part.as_slice(), b"." | b"..")) {
        clear(directory, OsStr::from_bytes(part), &name.join(part), kept)?;
    }
    Ok(())
}
