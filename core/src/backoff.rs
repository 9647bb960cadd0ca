//! How long a queued attempt waits before any node may take it, so that a poison task cannot take down one node after another
//! in a row. Each node counts from when it first saw the entry; nobody's wall clock matters.

/// Before the second attempt.
pub const FIRST_MS: u64 = 1_000;
/// At most.
pub const MAX_MS: u64 = 60_000;

/// Milliseconds that attempt `attempt` (from 1) waits: none for the first, then 1 s, 2 s, 4 s, ... up to 60 s.
pub fn wait_ms(attempt: u32) -> u64 {
    match attempt {
        0 | 1 => 0,
        n => FIRST_MS.saturating_mul(1 << (n - 2).min(16)).min(MAX_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::wait_ms;

    #[test]
    fn doubles_up_to_the_cap() {
        assert_eq!([0, 1, 2, 3, 4, 9, 400].map(wait_ms), [0, 0, 1000, 2000, 4000, 60_000, 60_000]);
    }
}
