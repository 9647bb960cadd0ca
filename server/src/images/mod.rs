//! Images on this node: archives as they were imported (`DATA/images/archives/DIGEST`), unpacked by the runner when a task needs them.
//!
//! The store says which images there are ([`shoal_core::image::ImageEntry`]), not where they lie: the first two live nodes in rank of a hash over
//! digest and node name keep each archive ([`keep`]), and whoever needs one asks the others in that order. So an image costs one write for its
//! whole life, nodes that come and go write nothing, and no list of places can be wrong.
//!
//! Never in here: reading an archive. What is in it, the runner's unpacker says.

pub mod archives;
pub mod import;
pub mod keep;
pub mod peers;
pub mod prepare;
pub mod records;
pub mod remove;
pub mod resolve;

use crate::full_disk::FREE_PERCENT_MIN;
use crate::runner::Runner;
use crate::runner::images::UnpackError;
use crate::seam::Insight;
use archives::Archives;
use shoal_core::id::TaskId;
use shoal_core::image::Digest;
use shoal_core::time::WallMs;
use shoal_store::port::{Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Archives that a node fetches for itself at once.
const FETCHES_MAX: usize = 4;

/// Why something with an image failed. Its `Display` is what users read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No such image.
    #[error("no image {0:?}")]
    Unknown(String),
    /// The archive is none, or too costly: the unpacker's words.
    #[error("{0}")]
    Refused(String),
    /// Too many bytes.
    #[error("archive: size must be at most {max} bytes, was more")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// The disk would be too full with it.
    #[error("archive: must leave {FREE_PERCENT_MIN} % of the node's disk free, would leave {left_percent} %")]
    DiskFull {
        /// What would be free.
        left_percent: u64,
    },
    /// Tasks need it.
    #[error("image {image:?} is used by {count} tasks that have not ended, such as {}", .task.short())]
    Used {
        /// As it was asked for.
        image: String,
        /// How many.
        count: usize,
        /// One of them.
        task: TaskId,
    },
    /// No node gave it.
    #[error("no node has the archive of image {digest}: {why}")]
    Nowhere {
        /// The image's, or the archive's.
        digest: Digest,
        /// What each said.
        why: String,
    },
    /// No other node took a copy.
    #[error("no other node took a copy of the archive: {0}")]
    NoCopy(String),
    /// Not what its digest says.
    #[error("archive {expected} came as {found}")]
    Damaged {
        /// As asked for.
        expected: Digest,
        /// As it came.
        found: Digest,
    },
    /// The node's disk.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value in the store.
    #[error(transparent)]
    Record(#[from] shoal_store::record::RecordError),
    /// The server is stopping.
    #[error("node is stopping")]
    Stopping,
    /// The client has gone, or said what it must not.
    #[error("{0}")]
    Upload(String),
}

impl From<UnpackError> for ImageError {
    fn from(error: UnpackError) -> ImageError {
        match error {
            UnpackError::Refused(why) => ImageError::Refused(why),
            UnpackError::Gone(_) => ImageError::Stopping,
        }
    }
}

/// What a fetch has so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that came.
    pub bytes: u64,
    /// Bytes that must come.
    pub total: u64,
}

/// The images of this node. Shared by the API, the node loop and the keeper.
pub struct Images {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) insight: Arc<dyn Insight>,
    pub(crate) runner: Runner,
    pub(crate) archives: Archives,
    pub(crate) wall: fn() -> WallMs,
    pub(crate) stop: CancellationToken,
    /// Where others reach this node.
    pub(crate) address: String,
    /// Archives that this node fetches for itself at once; more wait.
    fetches: Semaphore,
    state: Mutex<State>,
}

/// What only one at a time does for a digest. Who works on a tree may wait for an archive, never the other way round; the digest of a plain tar is that
/// of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    /// Fetching an archive.
    Archive,
    /// Unpacking or removing a tree.
    Tree,
}

#[derive(Default)]
struct State {
    /// Unpacked since this server started, or found so.
    ready: BTreeSet<Digest>,
    /// Whose turn it is.
    busy: BTreeMap<(Work, Digest), Arc<tokio::sync::Mutex<()>>>,
    /// Archives whose import over this node is under way: their images have no record yet.
    importing: BTreeSet<Digest>,
    /// Archives on their way.
    progress: BTreeMap<Digest, Progress>,
}

impl Images {
    /// The node's images. `address` is where others reach it.
    pub fn new(
        store: Arc<dyn Store>,
        insight: Arc<dyn Insight>,
        runner: Runner,
        archives: Archives,
        address: String,
        wall: fn() -> WallMs,
        stop: CancellationToken,
    ) -> Arc<Images> {
        let state = Mutex::default();
        let fetches = Semaphore::new(FETCHES_MAX);
        Arc::new(Images { store, insight, runner, archives, wall, stop, address, fetches, state })
    }

    /// How far the fetch of an image is, by its digest; `None` when none is under way.
    pub fn progress(&self, digest: Digest) -> Option<Progress> {
        self.state().progress.get(&digest).copied()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one step, so a panic elsewhere leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn for one kind of work on one digest.
    fn turn(&self, work: Work, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut state = self.state();
        state.busy.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(state.busy.entry((work, digest)).or_default())
    }
}
