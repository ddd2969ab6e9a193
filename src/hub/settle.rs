//! When to publish: the first change after quiet at once, a burst after it has
//! been quiet for a moment, and never later than a bound. Reads no clock: times are given.

use std::time::Duration;

use tokio::time::Instant;

/// Gathers changes.
#[derive(Debug)]
pub(super) struct Settle {
    quiet: Duration,
    most: Duration,
    last: Option<Instant>,
    first: Option<Instant>,
    due: Option<Instant>,
}

impl Settle {
    pub(super) const fn new(quiet: Duration, most: Duration) -> Self {
        Self {
            quiet,
            most,
            last: None,
            first: None,
            due: None,
        }
    }

    /// Something changed.
    pub(super) fn note(&mut self, now: Instant) {
        let first = *self.first.get_or_insert(now);
        let calm = self
            .last
            .is_none_or(|last| now.duration_since(last) >= self.quiet);
        self.due = match self.due {
            None if calm => Some(now),
            _ => Some((now + self.quiet).min(first + self.most)),
        };
        self.last = Some(now);
    }

    /// When to publish; `None`: there is nothing to.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Publishing now; returns when the first of the gathered changes arrived.
    pub(super) fn take(&mut self) -> Option<Instant> {
        self.due = None;
        self.first.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn first_at_once_then_quiet_then_the_bound() {
        let ms = Duration::from_millis;
        let start = crate::clock::now();
        let mut settle = Settle::new(ms(10), ms(100));
        settle.note(start);
        assert_eq!(settle.due(), Some(start), "after quiet: at once");
        assert_eq!(settle.take(), Some(start));
        assert_eq!(settle.due(), None);
        settle.note(start + ms(1));
        assert_eq!(settle.due(), Some(start + ms(11)));
        for at in (5..=200).step_by(5) {
            settle.note(start + ms(at));
        }
        assert_eq!(
            settle.due(),
            Some(start + ms(101)),
            "a steady stream is published all the same"
        );
        assert_eq!(settle.take(), Some(start + ms(1)));
        settle.note(start + ms(300));
        assert_eq!(settle.due(), Some(start + ms(300)));
    }
}
