//! A rate, and a burst after quiet: for new streams, for the requests of one, and for the bytes of large ones. And how
//! streams that began together do not end together.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use tokio::time::Instant;

/// A rate per second, and a burst after quiet.
#[derive(Debug)]
pub(in crate::grpc) struct Pace {
    interval: Duration,
    slack: Duration,
    /// When all that was let in so far is paid for.
    paid: Instant,
}

impl Pace {
    pub(in crate::grpc) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            interval,
            slack: interval * burst.max(1),
            paid: now,
        }
    }

    /// How long the next one has to wait.
    pub(in crate::grpc) fn wait(&self, now: Instant) -> Duration {
        (self.paid.max(now) + self.interval).saturating_duration_since(now + self.slack)
    }

    /// One is let in.
    pub(in crate::grpc) fn take(&mut self, now: Instant) {
        self.paid = self.paid.max(now) + self.interval;
    }
}

/// An age within 20 % of this one, so that streams that began together do not end together.
pub(in crate::grpc) fn jittered(age: Duration) -> Duration {
    // std's own randomness is good enough to spread.
    let permille = 800 + u32::try_from(RandomState::new().hash_one(()) % 401).unwrap_or(200);
    age.saturating_mul(permille) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let now = clock::now();
        let mut pace = Pace::new(10, 3, now);
        for _ in 0..3 {
            assert_eq!(pace.wait(now), Duration::ZERO);
            pace.take(now);
        }
        assert_eq!(pace.wait(now), Duration::from_millis(100));
        let later = now + Duration::from_secs(60);
        for _ in 0..3 {
            assert_eq!(pace.wait(later), Duration::ZERO);
            pace.take(later);
        }
        assert_eq!(pace.wait(later), Duration::from_millis(100));
    }

    #[test]
    fn ages_are_spread() {
        let ages: Vec<Duration> = (0..200).map(|_| jittered(Duration::from_secs(100))).collect();
        assert!(ages.iter().all(|a| (80..=120).contains(&a.as_secs())));
        assert!(
            ages.iter().min() < Some(&Duration::from_secs(90))
                && ages.iter().max() > Some(&Duration::from_secs(110))
        );
    }
}
