//! How long to wait before the next attempt: exponential, full jitter, for ever. Never sleeps itself.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// Delays, ever longer, at most [`LONGEST`]; each drawn evenly from zero to its limit, so that many
/// bridges do not come back to a restarted member all at once.
pub(super) struct Backoff {
    limits: ExponentialBackoff,
    /// Draws from `limit..2 * limit`, in step with `limits`.
    draws: ExponentialBackoff,
}

impl Backoff {
    pub(super) fn new() -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(FIRST)
            .with_max_delay(LONGEST)
            .without_max_times()
            .with_total_delay(None);
        Self {
            limits: builder.build(),
            draws: builder.with_jitter().build(),
        }
    }

    pub(super) fn next(&mut self) -> Duration {
        match (self.draws.next(), self.limits.next()) {
            (Some(draw), Some(limit)) => draw.saturating_sub(limit),
            // Not reached: without a limit of times there is always a next one.
            _ => LONGEST,
        }
    }

    /// The next delay is a first one again.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_and_never_end() {
        let mut backoff = Backoff::new();
        for limit in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            assert!(backoff.next() <= Duration::from_millis(limit));
        }
        let late: Vec<_> = (0..100_000).map(|_| backoff.next()).collect();
        assert!(late.iter().all(|d| *d <= LONGEST));
        assert!(
            late.iter().any(|d| *d > LONGEST / 2) && late.iter().any(|d| *d < LONGEST / 2),
            "jitter"
        );
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
