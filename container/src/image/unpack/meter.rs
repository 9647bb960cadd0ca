//! Counts what an image costs, and says when it is too much. Nothing is ever counted back: a layer that removes what another wrote does not make
//! room for more work.

use super::error::UnpackError;
use shoal_container::image::Caps;

/// The counters.
pub struct Meter {
    /// The limits.
    pub caps: Caps,
    /// Bytes of files.
    pub bytes: u64,
    /// Files, directories and links.
    pub inodes: u64,
    /// Entries that were left out.
    pub skipped: u64,
}

impl Meter {
    /// Nothing yet.
    pub fn new(caps: Caps) -> Meter {
        Meter { caps, bytes: 0, inodes: 0, skipped: 0 }
    }

    /// One more inode.
    pub fn inode(&mut self) -> Result<(), UnpackError> {
        self.inodes += 1;
        within("inodes", self.caps.inodes_max, self.inodes)
    }

    /// So many more bytes, before they are written.
    pub fn file(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.bytes = self.bytes.saturating_add(bytes);
        within("unpacked bytes", self.caps.bytes_max, self.bytes)
    }

    /// One more entry left out. Counted against the inodes: to skip costs time as well.
    pub fn skip(&mut self) -> Result<(), UnpackError> {
        self.skipped += 1;
        within("inodes", self.caps.inodes_max, self.inodes.saturating_add(self.skipped))
    }
}

/// Holds a number of the whole image to its limit.
pub fn within(field: &'static str, limit: u64, value: u64) -> Result<(), UnpackError> {
    if value <= limit { Ok(()) } else { Err(UnpackError::Image { field, limit, value }) }
}
