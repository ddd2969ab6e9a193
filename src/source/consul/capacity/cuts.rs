//! How long a blocking read may last before something between us and Consul cuts it off: a proxy, a load balancer, or a
//! `write_timeout` of the agent's own (30 s in some releases of Consul 1.22). Learned from the ends that are seen; from
//! then on waits stay safely below, except for a read now and then that waits as long as configured, to notice that the
//! limit was raised or is gone. Pure: durations go in.

use std::time::Duration;

use super::alike::alike;

/// The shortest wait: reads that end sooner have other trouble.
const MIN_WAIT: Duration = Duration::from_secs(1);
/// A read that was to test the limit, and was answered before it, is repeated after this share of the time.
const SOON: u32 = 20;

#[derive(Debug)]
pub(crate) struct Cuts {
    /// As configured.
    configured: Duration,
    /// The time between two tests of a known limit.
    relearn: Duration,
    /// The limit that is known.
    limit: Option<Limit>,
    last: Option<End>,
    /// Reads cut off since this was taken last.
    count: u64,
}

/// Reads are cut off after `length`.
#[derive(Clone, Copy, Debug)]
struct Limit {
    length: Duration,
    /// When it is tested again.
    due: Duration,
}

/// One read that was cut off.
#[derive(Clone, Copy, Debug)]
struct End {
    lasted: Duration,
    at: Duration,
}

impl Cuts {
    /// `configured`: how long to wait until a limit is known.
    pub(crate) const fn new(configured: Duration, relearn: Duration) -> Self {
        Self {
            configured,
            relearn,
            limit: None,
            last: None,
            count: 0,
        }
    }

    /// How long a read that begins now may block.
    pub(crate) fn begin(&mut self, now: Duration) -> Duration {
        let usual = self.usual();
        match &mut self.limit {
            Some(limit) if now >= limit.due => {
                limit.due = now + self.relearn;
                self.configured
            }
            _ => usual,
        }
    }

    /// Safely below the limit: Consul adds up to 1/16 to a wait.
    fn usual(&self) -> Duration {
        self.limit.map_or(self.configured, |limit| {
            (limit.length * 3 / 4).max(MIN_WAIT).min(self.configured)
        })
    }

    /// A read that began then, and was to last `wait`, was cut off after this time. The new wait, when that shows a new
    /// limit: a lower one where two in a row end alike, a higher one where a single read outlived the known one. One
    /// alone may have been a restart on the way, and so may many that end together: only a read that began after the
    /// other one had ended is evidence of its own.
    pub(crate) fn cut(&mut self, begun: Duration, wait: Duration, lasted: Duration) -> Option<Duration> {
        self.count += 1;
        let end = End {
            lasted,
            at: begun + lasted,
        };
        if let Some(limit) = self.limit
            && lasted > limit.length
            && !alike(lasted, limit.length)
        {
            self.last = Some(end);
            return self.learn(lasted, end.at);
        }
        let before = *self.last.get_or_insert(end);
        if !alike(before.lasted, lasted) {
            self.last = Some(end);
            return None;
        }
        if begun < before.at {
            return None;
        }
        self.last = Some(end);
        let length = before.lasted.min(lasted);
        // A test of the limit has found the same one.
        if self.limit.is_some_and(|limit| alike(limit.length, length)) && wait > self.usual() {
            return None;
        }
        // Reads that wait as long as now are not cut off by what cut these off.
        let known = self.usual();
        let learned = self.learn(length, end.at);
        learned.filter(|wait| *wait < known)
    }

    fn learn(&mut self, length: Duration, now: Duration) -> Option<Duration> {
        let before = self.usual();
        self.limit = Some(Limit {
            length,
            due: now + self.relearn,
        });
        let wait = self.usual();
        (wait != before).then_some(wait)
    }

    /// A read that was to last `wait` was answered after this time: whatever cut off an earlier one sooner is no limit.
    /// True when it outlived the known limit, which no longer applies.
    pub(crate) fn answered(&mut self, now: Duration, wait: Duration, lasted: Duration) -> bool {
        let outlived = |length: Duration| lasted > length && !alike(lasted, length);
        self.last = self.last.filter(|end| !outlived(end.lasted));
        if self.limit.is_some_and(|limit| outlived(limit.length)) {
            self.limit = None;
            return true;
        }
        let usual = self.usual();
        if let Some(limit) = &mut self.limit
            && wait > usual
        {
            // A change came first: nothing was learned.
            limit.due = limit.due.min(now + self.relearn / SOON);
        }
        false
    }

    /// How many reads were cut off since this was called last.
    pub(crate) const fn take_count(&mut self) -> u64 {
        std::mem::replace(&mut self.count, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn cuts() -> Cuts {
        Cuts::new(s(300), s(600))
    }

    /// After two reads of five minutes that ended after 15 s.
    fn learned() -> Cuts {
        let mut cuts = cuts();
        assert_eq!(cuts.cut(s(0), s(300), s(15)), None);
        assert_eq!(
            cuts.cut(s(15), s(300), s(15)),
            Some(Duration::from_millis(11_250))
        );
        cuts
    }

    #[test]
    fn two_ends_of_the_same_length_teach_the_limit() {
        let mut cuts = learned();
        assert_eq!(cuts.begin(s(30)), Duration::from_millis(11_250));
        assert_eq!((cuts.take_count(), cuts.take_count()), (2, 0));
    }

    #[test]
    fn the_reads_of_many_watches_teach_it_once() {
        let mut cuts = learned();
        for n in 0..40 {
            let lasted = Duration::from_millis(15_000 - 20 * n);
            assert_eq!(
                cuts.cut(s(15), s(300), lasted),
                None,
                "they began before it was known"
            );
            assert_eq!(cuts.cut(s(31), s(300), lasted), None);
        }
    }

    #[test]
    fn ends_of_other_lengths_teach_nothing() {
        let mut cuts = cuts();
        let mut begun = 0;
        for time in [3, 200, 40, 7] {
            assert_eq!(cuts.cut(s(begun), s(300), s(time)), None);
            begun += time;
        }
        assert_eq!(cuts.begin(s(begun)), s(300));
    }

    #[test]
    fn many_that_end_together_are_one_end() {
        let mut cuts = cuts();
        let together = [0, 1, 2, 3].map(|begun| cuts.cut(s(begun), s(300), s(40 - begun)));
        assert_eq!(together, [None; 4], "a load balancer that was restarted");
        assert!(!cuts.answered(s(340), s(300), s(300)));
        assert_eq!(
            cuts.cut(s(600), s(300), s(40)),
            None,
            "reads last longer, so this is another hand"
        );
        assert_eq!(cuts.cut(s(641), s(300), s(40)), Some(s(30)));
    }

    #[test]
    fn a_limit_that_falls_is_learned_again_and_waits_stay_above_a_second() {
        let mut cuts = cuts();
        cuts.cut(s(0), s(300), s(60));
        assert_eq!(cuts.cut(s(60), s(300), s(60)), Some(s(45)));
        cuts.cut(s(120), s(45), s(2));
        assert_eq!(cuts.cut(s(122), s(45), s(2)), Some(Duration::from_millis(1_500)));
        assert_eq!(cuts.cut(s(125), Duration::from_millis(1_500), s(1)), Some(s(1)));
    }

    #[test]
    fn one_read_now_and_then_lasts_as_configured() {
        let mut cuts = learned();
        let usual = Duration::from_millis(11_250);
        assert_eq!(cuts.begin(s(629)), usual);
        assert_eq!((cuts.begin(s(630)), cuts.begin(s(630))), (s(300), usual));
        assert_eq!(cuts.cut(s(630), s(300), s(15)), None, "the same limit");
        assert_eq!(cuts.begin(s(645)), usual);
        assert_eq!(cuts.begin(s(1230)), s(300));
        assert!(!cuts.answered(s(1235), s(300), s(5)), "a change came first");
        assert_eq!(
            (cuts.begin(s(1264)), cuts.begin(s(1265))),
            (usual, s(300)),
            "so it is repeated soon"
        );
    }

    #[test]
    fn a_limit_that_was_raised_or_is_gone_is_noticed() {
        let mut raised = learned();
        assert_eq!(raised.begin(s(630)), s(300));
        assert_eq!(
            raised.cut(s(630), s(300), s(60)),
            Some(s(45)),
            "reads live that long now"
        );
        assert_eq!(raised.begin(s(691)), s(45));
        let mut gone = learned();
        assert_eq!(gone.begin(s(630)), s(300));
        assert!(gone.answered(s(930), s(300), s(300)));
        assert_eq!(gone.begin(s(931)), s(300));
        assert!(!gone.answered(s(1231), s(300), s(300)), "once");
    }
}
