//! How many lines of one kind go into the log: a value that changes a hundred times a second must not
//! fill a disk. What is left out is counted, and the count is reported. Reads no clock: times are given.

use std::time::Duration;

use tokio::time::Instant;

/// Lines per event.
const PER_EVENT: usize = 20;

/// Lines per window.
const PER_WINDOW: usize = 100;

/// Length of the window.
const WINDOW: Duration = Duration::from_secs(10);

/// What may still be logged of one kind.
#[derive(Debug, Default)]
pub(super) struct Quota {
    began: Option<Instant>,
    logged: usize,
    hidden: usize,
    /// That lines are left out was reported in this window.
    reported: bool,
}

impl Quota {
    /// When what was left out is to be reported, unless a further line does so before.
    pub(super) fn due(&self) -> Option<Instant> {
        self.began.map(|began| began + WINDOW).filter(|_| self.hidden > 0)
    }

    /// How many lines were left out in a window that is over.
    pub(super) fn rest(&mut self, now: Instant) -> usize {
        if self.due().is_none_or(|due| due > now) {
            return 0;
        }
        std::mem::take(&mut self.hidden)
    }

    /// Of this many lines: how many to log now, and how many left out to report in one line.
    /// That line comes with the first that is left out, and then once per window.
    pub(super) fn lines(&mut self, wanted: usize, now: Instant) -> (usize, usize) {
        if wanted == 0 {
            return (0, 0);
        }
        if self.began.is_none_or(|began| began + WINDOW <= now) {
            (self.began, self.logged, self.reported) = (Some(now), 0, false);
        }
        let lines = wanted.min(PER_EVENT).min(PER_WINDOW - self.logged);
        self.logged += lines;
        self.hidden += wanted - lines;
        if self.hidden == 0 || std::mem::replace(&mut self.reported, true) {
            return (lines, 0);
        }
        (lines, std::mem::take(&mut self.hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_and_an_ordinary_day_is_logged_whole() {
        let began = crate::clock::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut quota = Quota::default();
        assert_eq!(quota.lines(3, at(0)), (3, 0));
        assert_eq!(quota.lines(1000, at(1)), (20, 980), "reported at once");
        assert_eq!(quota.lines(30, at(2)), (20, 0), "but once");
        for n in 0..57 {
            assert_eq!(quota.lines(1, at(3)), (1, 0), "line {n}");
        }
        assert_eq!(quota.lines(5, at(9)), (0, 0));
        assert_eq!(quota.lines(0, at(10)), (0, 0));
        assert_eq!(quota.lines(1, at(10)), (1, 15), "and what came since, later");
        assert_eq!(quota.lines(1, at(20)), (1, 0));
        assert_eq!(quota.due(), None);
        assert_eq!(quota.lines(30, at(21)), (20, 10));
        assert_eq!(quota.lines(170, at(22)), (20, 0));
        assert_eq!(
            quota.due(),
            Some(at(30)),
            "the count needs no further line to be reported"
        );
        assert_eq!(
            (quota.rest(at(29)), quota.rest(at(30)), quota.rest(at(31))),
            (0, 150, 0)
        );
    }
}
