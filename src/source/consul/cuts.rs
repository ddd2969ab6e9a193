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
    last: Option<End>,
    /// Since this was taken last.
    count: u64,
}

/// One read that was ended.
#[derive(Clone, Copy, Debug)]
struct End {
    lasted: Duration,
    at: Duration,
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

    /// A read that began then was ended from outside after this time. The new wait, when two in a row show the
    /// same limit. One alone may have been somebody's hand, and so may many that end together: only what began
    /// after the other one had ended says something of its own.
    pub(super) fn cut(&mut self, begun: Duration, lasted: Duration) -> Option<Duration> {
        self.count += 1;
        let end = End {
            lasted,
            at: begun + lasted,
        };
        let before = *self.last.get_or_insert(end);
        let limit = before.lasted.min(lasted);
        if before.lasted.abs_diff(lasted) > about(limit) {
            self.last = Some(end);
            return None;
        }
        if begun < before.at {
            return None;
        }
        self.last = Some(end);
        // Consul adds up to 1/16 to a wait.
        let wait = (limit * 3 / 4).max(LEAST);
        (wait < self.wait).then(|| {
            self.wait = wait;
            wait
        })
    }

    /// A read was answered after this time: what ended one before that is no limit.
    pub(super) fn answered(&mut self, lasted: Duration) {
        self.last = self.last.filter(|end| lasted <= end.lasted + about(end.lasted));
    }

    /// How many reads were ended since this was asked last.
    pub(super) const fn take_count(&mut self) -> u64 {
        std::mem::replace(&mut self.count, 0)
    }
}

/// Ends that differ by no more are the same.
fn about(limit: Duration) -> Duration {
    SAME.max(limit / SHARE)
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
        assert_eq!(cuts.cut(s(0), s(15)), None);
        assert_eq!(cuts.cut(s(15), s(15)), Some(Duration::from_millis(11_250)));
        assert_eq!(
            (cuts.cut(s(30), s(15)), cuts.wait()),
            (None, Duration::from_millis(11_250))
        );
        assert_eq!((cuts.take_count(), cuts.take_count()), (3, 0));
    }

    #[test]
    fn ends_of_other_lengths_teach_nothing() {
        let mut cuts = Cuts::new(s(300));
        let mut begun = 0;
        for time in [3, 200, 40, 7] {
            assert_eq!(cuts.cut(s(begun), s(time)), None);
            begun += time;
        }
        assert_eq!(cuts.wait(), s(300));
    }

    #[test]
    fn many_that_end_together_are_one_end() {
        let mut cuts = Cuts::new(s(300));
        let together = [0, 1, 2, 3].map(|begun| cuts.cut(s(begun), s(40 - begun)));
        assert_eq!(together, [None; 4], "a load balancer that was restarted");
        cuts.answered(s(300));
        assert_eq!(
            cuts.cut(s(600), s(40)),
            None,
            "reads last longer, so this is another hand"
        );
        assert_eq!(cuts.cut(s(641), s(40)), Some(s(30)));
    }

    #[test]
    fn a_limit_that_falls_is_learned_again_and_waits_stay_above_a_second() {
        let mut cuts = Cuts::new(s(300));
        cuts.cut(s(0), s(60));
        assert_eq!(cuts.cut(s(60), s(60)), Some(s(45)));
        cuts.cut(s(120), s(1));
        assert_eq!(cuts.cut(s(121), s(1)), Some(s(1)));
    }
}
