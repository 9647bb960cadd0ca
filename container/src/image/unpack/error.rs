//! Why an archive cannot be unpacked. What is wrong with it is said with the entry, the field, the limit and the value: the message goes to whoever
//! imports the image.

use std::io;

/// Characters of an entry's name that a message repeats.
const SHOWN_BYTES_MAX: usize = 120;

/// Why it failed.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// An entry is beyond a limit.
    #[error("entry {entry}: {field} must be at most {limit}, was {value}")]
    Entry {
        /// Its name, as [`shown`].
        entry: String,
        /// What of it.
        field: &'static str,
        /// The limit.
        limit: u64,
        /// What it was.
        value: u64,
    },
    /// The image as a whole is beyond a limit.
    #[error("image: {field} must be at most {limit}, was {value}")]
    Image {
        /// What of it.
        field: &'static str,
        /// The limit.
        limit: u64,
        /// What it was, or had become when it was noticed.
        value: u64,
    },
    /// An entry is not what an archive of a root file system may hold.
    #[error("entry {entry}: {why}")]
    Refused {
        /// Its name, as [`shown`].
        entry: String,
        /// Why.
        why: String,
    },
    /// A file system operation failed.
    #[error("entry {entry}: {action}: {source}")]
    File {
        /// The entry, as [`shown`].
        entry: String,
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The archive cannot be read, or is damaged.
    #[error("the archive is damaged or not one: {0}")]
    Read(#[source] io::Error),
    /// Not what its digest says.
    #[error("{what}: its digest must be sha256:{expected}, was sha256:{found}")]
    Digest {
        /// Which part.
        what: String,
        /// As the image says.
        expected: String,
        /// As it is.
        found: String,
    },
    /// A document of the image is not the JSON that it should be.
    #[error("{document} is not valid: {source}")]
    Document {
        /// Which.
        document: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The image as a whole makes no sense.
    #[error("image: {0}")]
    Nonsense(String),
    /// The walls around the unpacker could not be put up.
    #[error("cannot {action}: {source}")]
    Jail {
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl UnpackError {
    /// An entry that is refused.
    pub fn refused(name: &[u8], why: impl Into<String>) -> UnpackError {
        UnpackError::Refused { entry: shown(name), why: why.into() }
    }

    /// An operation on an entry's file that failed.
    pub fn file(name: &[u8], action: &'static str, source: impl Into<io::Error>) -> UnpackError {
        UnpackError::File { entry: shown(name), action, source: source.into() }
    }
}

/// A name as a message repeats it: escaped, and cut.
pub fn shown(name: &[u8]) -> String {
    match name.get(..SHOWN_BYTES_MAX) {
        Some(head) if head.len() < name.len() => format!("\"{}...\"", head.escape_ascii()),
        _ => format!("\"{}\"", name.escape_ascii()),
    }
}
