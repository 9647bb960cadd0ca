//! A full disk is waited for: it gets room again without anybody's help, while a node that ends over it takes its lease along.

use std::io::{self, ErrorKind};
use std::path::Path;

/// Of a file system must be free, or stay free, for what a node could do without to be taken: copies of peers' logs, archives of images.
pub const FREE_PERCENT_MIN: u64 = 10;

/// How much of the file system that `path` lies in would be free after `bytes` more, in percent, rounded down.
pub fn free_percent_after(path: &Path, bytes: u64) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(percent_after(disk.f_bavail, disk.f_blocks, bytes.div_ceil(disk.f_frsize.max(1))))
}

fn percent_after(free: u64, all: u64, more: u64) -> u64 {
    free.saturating_sub(more).saturating_mul(100) / all.max(1)
}

/// Whether the error came from a disk, or a share of it, that has no room left.
pub fn is_cause_of(error: &anyhow::Error) -> bool {
    let full = |kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|error| full(error.kind())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn what_is_left_after_more_is_rounded_down() {
        for (free, all, more, left) in [(100, 1000, 0, 10), (100, 1000, 1, 9), (5, 1000, 9, 0), (0, 0, 0, 0)]
        {
            assert_eq!(percent_after(free, all, more), left, "{free} of {all}, {more} more");
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(free_percent_after(dir.path(), u64::MAX).unwrap(), 0, "more than any disk");
        assert!(free_percent_after(&dir.path().join("absent"), 0).is_err());
    }

    #[test]
    fn is_found_below_any_context() {
        let full = std::fs::write("/dev/full", "x").context("writing").context("registering").unwrap_err();
        assert!(is_cause_of(&full), "{full:#}");
        let absent = std::fs::read("/nonexistent/file").context("reading").unwrap_err();
        assert!(!is_cause_of(&absent));
    }
}
