//! The only place that reads a clock. Everything else is given the time, so that
//! tests can run it as fast as they like (tokio's clock can be paused).

use tokio::time::Instant;

/// Now, on tokio's clock.
#[allow(clippy::disallowed_methods)] // the one place
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
