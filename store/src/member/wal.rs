//! Tells a write-ahead log that holds a member's life from one that was only just made.
//!
//! An etcd that is killed in the 50 ms (more under load) between making its log and the first entry in it never works again: at its next start
//! it takes the empty log for its past, has no members in it, and waits for ever. Such a log holds no entry and no vote, so nothing
//! was ever promised on its strength, and to begin anew is safe. Whoever reads it here must err on the other side: whatever is not
//! plainly such a log is a life.
//!
//! The format is etcd's `wal` package: frames of an 8-byte little-endian length (the top bit says that the low three bits of the
//! top byte count padding) and a protobuf record whose first field is its type.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// A log without a life is some 100 bytes long; an entry comes right after.
const HEAD_BYTES: u64 = 64 << 10;

/// The types of records that a log begins with, and that promise nothing: metadata, checksum, (empty) snapshot.
const OPENING_TYPES: [u8; 3] = [1, 4, 5];

/// Whether the log in `dir` was made but never written to. False where there is no log.
pub(super) fn is_unborn(dir: &Path) -> io::Result<bool> {
    let mut segments = Vec::new();
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => {
            for entry in entries? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "wal") {
                    segments.push(path);
                }
            }
        }
    }
    let [only] = segments.as_slice() else { return Ok(false) };
    let mut head = Vec::new();
    File::open(only)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(holds_opening_alone(&head))
}

fn holds_opening_alone(mut head: &[u8]) -> bool {
    let mut records = 0;
    loop {
        let Some((length, rest)) = head.split_first_chunk::<8>() else { return false };
        if *length == [0; 8] {
            // What follows was allocated ahead and must be empty.
            return records > 0 && rest.iter().all(|byte| *byte == 0);
        }
        let top = length[7];
        let padding = if top & 0x80 == 0 { 0 } else { usize::from(top & 0x07) };
        let size = length[..7].iter().rev().fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte));
        let Some(frame) = size.checked_add(padding).and_then(|frame| rest.get(..frame)) else { return false };
        // Field 1, a varint: the type.
        let [0x08, kind, ..] = frame else { return false };
        if !OPENING_TYPES.contains(kind) {
            return false;
        }
        records += 1;
        head = &rest[frame.len()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, data: &[u8]) -> Vec<u8> {
        let record: Vec<u8> = [&[0x08, kind, 0x1a, data.len() as u8], data].concat();
        let padding = (8 - record.len() % 8) % 8;
        let mut length = (record.len() as u64).to_le_bytes();
        if padding > 0 {
            length[7] = 0x80 | padding as u8;
        }
        [&length[..], &record, &vec![0; padding]].concat()
    }

    fn log(kinds: &[u8], allocated: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = kinds.iter().flat_map(|kind| frame(*kind, &[7; 13])).collect();
        bytes.extend(vec![0; allocated]);
        bytes
    }

    #[test]
    fn an_opening_without_entry_or_vote_is_unborn() {
        assert!(holds_opening_alone(&log(&[4, 1, 5], 4096)));
    }

    #[test]
    fn one_entry_or_vote_is_a_life() {
        assert!(!holds_opening_alone(&log(&[4, 1, 5, 2], 4096)));
        assert!(!holds_opening_alone(&log(&[4, 1, 5, 3], 4096)));
    }

    #[test]
    fn whatever_is_not_plain_counts_as_a_life() {
        assert!(!holds_opening_alone(&[]));
        assert!(!holds_opening_alone(&[0; 4096]));
        assert!(!holds_opening_alone(&log(&[4, 1, 5], 0)));
        assert!(!holds_opening_alone(&log(&[4, 1, 9], 4096)));
        let mut later = log(&[4, 1, 5], 4096);
        *later.last_mut().unwrap() = 1;
        assert!(!holds_opening_alone(&later), "something after a gap");
        let mut torn = log(&[4, 1, 5], 0);
        torn.truncate(torn.len() - 3);
        assert!(!holds_opening_alone(&torn));
    }

    #[test]
    fn no_log_and_several_segments_are_not_unborn() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_unborn(&dir.path().join("wal")).unwrap());
        std::fs::write(dir.path().join("0-0.wal"), log(&[4, 1, 5], 64)).unwrap();
        assert!(is_unborn(dir.path()).unwrap());
        std::fs::write(dir.path().join("1-9.wal"), log(&[4, 1, 5], 64)).unwrap();
        assert!(!is_unborn(dir.path()).unwrap());
    }
}
