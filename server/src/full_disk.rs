//! A full disk is waited for: it gets room again without anybody's help, while a node that ends over it takes its lease along.

use std::io::ErrorKind;

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
    fn is_found_below_any_context() {
        let full = std::fs::write("/dev/full", "x").context("writing").context("registering").unwrap_err();
        assert!(is_cause_of(&full), "{full:#}");
        let absent = std::fs::read("/nonexistent/file").context("reading").unwrap_err();
        assert!(!is_cause_of(&absent));
    }
}
