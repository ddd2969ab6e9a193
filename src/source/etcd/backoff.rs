//! How long to wait before the next attempt: the next endpoint soon, and after each round of all of them
//! ever longer, with full jitter, without end. Never sleeps itself.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::timing::Timing;

/// Delays; each drawn evenly from zero to its limit, so that many bridges do not come back to a restarted
/// member all at once. The limit is the first one within a round of all endpoints: that one is away says
/// nothing of the next. After each round it is longer, up to a longest one.
pub(super) struct Backoff {
    timing: Timing,
    /// In one round.
    endpoints: usize,
    /// Delays that were asked for.
    asked: usize,
    limits: ExponentialBackoff,
    /// The last one of them.
    limit: Duration,
    /// Draws from `limit..2 * limit`, in step with `limits`.
    draws: ExponentialBackoff,
}

impl Backoff {
    pub(super) fn new(endpoints: usize, timing: Timing) -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(timing.backoff_min)
            .with_max_delay(timing.backoff_max)
            .without_max_times()
            .with_total_delay(None);
        Self {
            timing,
            endpoints: endpoints.max(1),
            asked: 0,
            limits: builder.build(),
            limit: timing.backoff_min,
            draws: builder.with_jitter().build(),
        }
    }

    /// `listed`: the try before read the whole prefix, or a part of it.
    pub(super) fn next(&mut self, listed: bool) -> Duration {
        self.asked += 1;
        if !self.round_is_over() {
            return Self::new(1, self.timing).longer();
        }
        let delay = self.longer();
        if listed || self.timing.away_max >= self.timing.backoff_max {
            return delay;
        }
        // Drawn evenly from zero to the lower limit.
        let limit = self.limit.max(self.timing.away_max);
        delay.mul_f64(self.timing.away_max.div_duration_f64(limit))
    }

    /// Whether the last delay is the one after a whole round: each endpoint has had its turn.
    pub(super) const fn round_is_over(&self) -> bool {
        self.asked.is_multiple_of(self.endpoints)
    }

    fn longer(&mut self) -> Duration {
        match (self.draws.next(), self.limits.next()) {
            (Some(draw), Some(limit)) => {
                self.limit = limit;
                draw.saturating_sub(limit)
            }
            // Not reached: without a limit of times there is always a next one.
            _ => self.timing.backoff_max,
        }
    }

    /// The next delay is a first one again.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.endpoints, self.timing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_and_never_end() {
        let timing = Timing::default();
        let (first, longest) = (timing.backoff_min, timing.backoff_max);
        let mut backoff = Backoff::new(1, timing);
        for limit in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            assert!(backoff.next(true) <= Duration::from_millis(limit));
        }
        let late: Vec<_> = (0..100_000).map(|_| backoff.next(true)).collect();
        assert!(late.iter().all(|d| *d <= longest));
        assert!(
            late.iter().any(|d| *d > longest / 2) && late.iter().any(|d| *d < longest / 2),
            "jitter"
        );
        backoff.reset();
        assert!(backoff.next(true) <= first);
    }

    #[test]
    fn who_is_away_is_tried_again_within_five_seconds() {
        let mut backoff = Backoff::new(1, Timing::default());
        for limit in [250, 500, 1000, 2000, 4000] {
            assert!(backoff.next(false) <= Duration::from_millis(limit));
        }
        let late: Vec<_> = (0..1_000).map(|_| backoff.next(false)).collect();
        let longest = late.iter().max().copied().unwrap_or_default();
        assert!(
            longest <= Duration::from_secs(5) && longest > Duration::from_secs(4),
            "{longest:?}"
        );
        let listed = (0..1_000).map(|_| backoff.next(true)).max();
        assert!(
            listed > Some(Duration::from_secs(20)),
            "a try that lists waits longer"
        );
    }

    #[test]
    fn the_next_endpoint_is_tried_soon_and_a_round_waits_longer() {
        let first = Timing::default().backoff_min;
        let mut backoff = Backoff::new(3, Timing::default());
        for limit in [250, 500, 1000, 2000, 4000] {
            for _ in 0..2 {
                assert!(backoff.next(true) <= first);
                assert!(!backoff.round_is_over());
            }
            assert!(backoff.next(true) <= Duration::from_millis(limit));
            assert!(backoff.round_is_over());
        }
        let late: Vec<_> = (0..300).map(|_| backoff.next(true)).collect();
        assert!(late.iter().any(|d| *d > first), "rounds wait");
    }
}
