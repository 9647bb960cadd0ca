//! Waiting for a condition, always with a deadline and always saying what for.

use anyhow::{Result, bail};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at a condition that nothing announces.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Looks until `probe` gives a value. An `Err` of the probe says why not yet; the last one is shown when `limit` has passed.
pub async fn until<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut last = "never looked".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(why)) => last = format!("{why:#}"),
            Err(_) => {}
        }
        if Instant::now() + LOOK_EVERY >= deadline {
            bail!("waited {:.1} s for: {what}; last seen: {last}", limit.as_secs_f64());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
