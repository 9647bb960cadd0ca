//! Why a file in a member's directory is not published, in the words that the task reads.

use shoal_core::gang_key::{KEY_BYTES_MAX, KEYS_MAX, VALUE_BYTES_MAX};
use std::ffi::OsStr;
use std::io;

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its name is none of a key.
    #[error("a name has 1 to {KEY_BYTES_MAX} letters, digits, '.', '_' or '-'")]
    Name,
    /// A directory, a link, a pipe, a socket, a device.
    #[error("not a regular file")]
    NotAFile,
    /// More than a value may have.
    #[error("more than {VALUE_BYTES_MAX} bytes")]
    TooLarge,
    /// The server could not read it.
    #[error("it cannot be read: {0}")]
    Unreadable(io::ErrorKind),
    /// Somebody was first.
    #[error("published before, with other content")]
    Taken,
    /// The attempt has as many keys as it may have.
    #[error("{KEYS_MAX} files are published already")]
    TooMany,
    /// What another member has published cannot be shown here.
    #[error("another member's file cannot be shown: {0}")]
    Unshown(io::ErrorKind),
}

impl From<rustix::io::Errno> for Refusal {
    fn from(error: rustix::io::Errno) -> Refusal {
        Refusal::Unreadable(error.kind())
    }
}

/// Of a name that is none of a key so much is shown.
const SHOWN_CHARS_MAX: usize = KEY_BYTES_MAX;

/// The line that says it: `NAME: why`, the name so that it is one line of printable characters whatever it is.
pub fn line(name: &OsStr, why: &Refusal) -> String {
    let name: String =
        name.to_string_lossy().chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    format!("{name}: {why}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_line_is_one_line_whatever_the_name_is() {
        let said = |name: &[u8]| line(OsStr::from_bytes(name), &Refusal::NotAFile);
        assert_eq!(said(b"a.0"), "a.0: not a regular file\n");
        assert_eq!(said(b"a\nb\x1b[2J\xff"), "a\\nb\\u{1b}[2J\u{fffd}: not a regular file\n");
        assert!(said(&[b'\n'; 255]).len() < 200);
    }
}
