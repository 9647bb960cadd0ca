//! What a worker does: a process forked from the runner, with the runner's rights, that may take its time. It lives no longer than the runner.

use super::confine;
use super::store::{Store, StoreError};
use super::{Outcome, Unpacked};
use crate::policy::UserRange;
use crate::protocol::Unpack;
use crate::sys;
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A piece of work.
#[derive(Clone, Debug)]
pub enum Work {
    /// Unpack an archive.
    Unpack(Unpack),
    /// Remove an image.
    Remove(String),
    /// Remove what is unfinished.
    Sweep,
}

/// Where, and for whom.
#[derive(Clone, Debug)]
pub struct Place {
    /// The store.
    pub images_dir: PathBuf,
    /// The policy's range, whose first part belongs to images.
    pub users: UserRange,
    /// User and group of the server that asked.
    pub peer: (u32, u32),
    /// `shoal-unpack`.
    pub program: PathBuf,
}

/// Why work was not done.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The walls around the unpacker, or the unpacker itself.
    #[error(transparent)]
    Confine(#[from] confine::ConfineError),
    /// The archive cannot be opened.
    #[error("open {path}: {source}")]
    Open {
        /// The archive.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The unpacker says no.
    #[error("{0}")]
    Unpacker(String),
    /// It is another image than the one that was asked for.
    #[error("the image must be sha256:{expected}, was sha256:{found}")]
    Other {
        /// As asked.
        expected: String,
        /// As it is.
        found: String,
    },
}

/// Does the work, leaves what came of it in `result`, and ends the process. To be called in a process just forked from the single-threaded runner.
pub fn main(work: &Work, place: &Place, result: BorrowedFd<'_>) -> ! {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // SAFETY: this process was just forked and uses none of the runner's descriptors but this one.
        #[allow(unsafe_code)]
        let closed = unsafe { sys::close_all_but(&mut [result.as_raw_fd()]) };
        closed.map_err(|source| WorkError::Open { path: PathBuf::from("/proc/self/fd"), source })?;
        let _ = rustix::thread::set_name(c"shoal-image");
        die_with_the_runner();
        run(work, place)
    }));
    let outcome = match done {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Failed(error.to_string()),
        Err(_) => Outcome::Failed("the worker failed inside".to_owned()),
    };
    if let Ok(bytes) = serde_json::to_vec(&outcome) {
        // Without a result the runner says that there is none.
        let _ = rustix::io::pwrite(result, &bytes, 0);
    }
    sys::exit_now(0)
}

fn die_with_the_runner() {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

fn run(work: &Work, place: &Place) -> Result<Outcome, WorkError> {
    let store = Store::open(&place.images_dir)?;
    match work {
        Work::Unpack(request) => unpack(&store, request, place).map(Outcome::Unpacked),
        Work::Remove(digest) => {
            store.remove(digest)?;
            Ok(Outcome::Done)
        }
        Work::Sweep => {
            store.sweep()?;
            Ok(Outcome::Done)
        }
    }
}

fn unpack(store: &Store, request: &Unpack, place: &Place) -> Result<Unpacked, WorkError> {
    if let Some(known) = request.expected.as_deref().and_then(|digest| store.find(digest)) {
        return Ok(known);
    }
    let blob = open_as(&request.blob, place.peer)
        .map_err(|source| WorkError::Open { path: request.blob.clone(), source })?;
    // Being another user for a moment has cleared it.
    die_with_the_runner();
    let staging = store.stage(place.users.first)?;
    let caps = request.caps.at_most(super::Caps::default());
    let outcome = confine::run(&place.program, &blob, staging.tree(), place.users, caps)?;
    let unpacked = match outcome {
        Outcome::Unpacked(unpacked) => unpacked,
        Outcome::Failed(why) => return Err(WorkError::Unpacker(why)),
        Outcome::Done => return Err(WorkError::Unpacker("the unpacker did nothing".to_owned())),
    };
    if let Some(expected) = request.expected.as_ref().filter(|expected| **expected != unpacked.digest) {
        return Err(WorkError::Other { expected: expected.clone(), found: unpacked.digest });
    }
    Ok(staging.finish(unpacked)?)
}

/// Opens a regular file with the rights of the server: what that cannot read itself, it cannot make us read for it.
fn open_as(path: &Path, (uid, gid): (u32, u32)) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::empty());
    let file = match uid == rustix::process::geteuid().as_raw() {
        true => open()?,
        false => sys::as_user(uid, gid, open)??,
    };
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    match kind == rustix::fs::FileType::RegularFile {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}
