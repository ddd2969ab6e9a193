//! How long a blocking read may last before something between us and Consul ends it: a proxy, a load balancer, or
//! a `write_timeout` of the agent's own (30 s in some releases of Consul 1.22). Learned from the ends that are
//! seen; from then on waits stay safely below. Pure: durations go in.

use std::time::Duration;

/// Shorter ones are other trouble.
const LEAST: Duration = Duration::from_secs(1);
/// Ends that differ by less have the same cause; by more only when they lasted that much longer.
const SAME: Duration = Duration::from_millis(500);
const SHARE: u32 = 10;

#[derive(Debug)]
pub(super) struct Cuts {
    wait: Duration,
    last: Option<Duration>,
    /// Since this was taken last.
    count: u64,
}

impl Cuts {
    /// `wait`: what is asked for until a limit is known.
    pub(super) const fn new(wait: Duration) -> Self {
        Self {
            wait,
            last: None,
            count: 0,
        }
    }

    /// How long reads may block.
    pub(super) const fn wait(&self) -> Duration {
        self.wait
    }

    /// A read was ended from outside after this time. The new wait, when two in a row show the same limit; one
    /// alone may have been somebody's hand.
    pub(super) fn cut(&mut self, lasted: Duration) -> Option<Duration> {
        self.count += 1;
        let before = self.last.replace(lasted)?;
        let limit = before.min(lasted);
        if before.abs_diff(lasted) > SAME.max(limit / SHARE) {
            return None;
        }
        // Consul adds up to 1/16 to a wait.
        let wait = (limit * 3 / 4).max(LEAST);
        (wait < self.wait).then(|| {
            self.wait = wait;
            wait
        })
    }

    /// How many reads were ended since this was asked last.
    pub(super) const fn take_count(&mut self) -> u64 {
        std::mem::replace(&mut self.count, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn two_ends_of_the_same_length_teach_the_limit() {
        let mut cuts = Cuts::new(s(300));
        assert_eq!(cuts.cut(s(15)), None);
        assert_eq!(cuts.cut(s(15)), Some(Duration::from_millis(11_250)));
        assert_eq!(
            (cuts.cut(s(15)), cuts.wait()),
            (None, Duration::from_millis(11_250))
        );
        assert_eq!((cuts.take_count(), cuts.take_count()), (3, 0));
    }

    #[test]
    fn ends_of_other_lengths_teach_nothing() {
        let mut cuts = Cuts::new(s(300));
        assert_eq!([3, 200, 40, 7].map(|time| cuts.cut(s(time))), [None; 4]);
        assert_eq!(cuts.wait(), s(300));
    }

    #[test]
    fn a_limit_that_falls_is_learned_again_and_waits_stay_above_a_second() {
        let mut cuts = Cuts::new(s(300));
        cuts.cut(s(60));
        assert_eq!(cuts.cut(s(60)), Some(s(45)));
        cuts.cut(s(1));
        assert_eq!(cuts.cut(s(1)), Some(s(1)));
    }
}
