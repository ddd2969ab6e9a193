//! How long blocking reads last that end without a change. Consul never ends one before its wait is over, except when a
//! snapshot was restored. But a lower `max_query_time` ends all of them early: that is learned from one false alarm.
//! Pure: durations go in, the verdict comes out.

use std::time::Duration;

use super::alike::{about, alike};

#[derive(Debug, Default)]
pub(crate) struct Waits {
    /// How long the last one that ended early took.
    early: Option<Duration>,
}

impl Waits {
    /// A read that was to last `wait` ended after this time. True: early, and not like the last one that did.
    pub(crate) fn ended(&mut self, wait: Duration, time: Duration) -> bool {
        if let Some(early) = self.early {
            if alike(early, time) {
                return false;
            }
            if time > early {
                self.early = None; // waits are not capped
            }
        }
        let is_early = time + about(wait) < wait;
        if is_early {
            self.early = Some(time);
        }
        is_early
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn only_what_ends_before_its_wait_is_an_alarm() {
        let mut waits = Waits::default();
        assert!(!waits.ended(s(300), s(300)) && !waits.ended(s(300), s(318)));
        assert!(waits.ended(s(300), s(7)), "a restore");
        assert!(!waits.ended(s(300), s(300)));
        assert!(
            waits.ended(s(300), s(7)),
            "waits last longer, so this is another restore"
        );
        assert!(waits.ended(s(300), s(200)) && waits.ended(s(300), s(20)));
    }

    #[test]
    fn waits_that_are_capped_alarm_once() {
        let mut waits = Waits::default();
        let ends = [60, 63, 61, 60, 62];
        assert_eq!(
            ends.map(|time| waits.ended(s(300), s(time))),
            [true, false, false, false, false]
        );
        assert!(waits.ended(s(300), s(30)), "a restore under such a cap");
    }

    #[test]
    fn reads_that_end_at_once_alarm_once() {
        let mut waits = Waits::default();
        let ends = [1, 40, 3, 900].map(Duration::from_millis);
        assert_eq!(
            ends.map(|time| waits.ended(s(300), time)),
            [true, false, false, false]
        );
    }
}
