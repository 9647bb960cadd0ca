//! The two clocks. The boot-time clock decides; the wall clock is for people.

use shoal_core::time::{BootMs, WallMs};

/// Now, on the boot-time clock.
pub fn boot() -> BootMs {
    BootMs(shoal_container::deadline::boottime_ns() / 1_000_000)
}

/// Now, by the wall clock, for what people read.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock; nothing is decided by it"
)]
pub fn wall() -> WallMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    WallMs(since.as_millis() as i64)
}
