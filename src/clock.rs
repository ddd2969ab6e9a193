//! The only place that reads a clock. Everything else is given the time, so that
//! tests can run it as fast as they like (tokio's clock can be paused).

use std::time::SystemTime;

use tokio::time::Instant;

/// Seconds since 1970, for what outlives the process.
#[expect(clippy::disallowed_methods, reason = "the one place")]
#[must_use]
pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Milliseconds since 1970, for what other machines read.
#[expect(clippy::disallowed_methods, reason = "the one place")]
#[must_use]
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Now, on tokio's clock.
#[expect(clippy::disallowed_methods, reason = "the one place")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Until this time; without one forever.
pub async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
