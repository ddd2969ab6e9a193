//! How many services may have a watch of their own: falls when the agent turns requests away, and grows back slowly
//! when it has not done so for a while.
//!
//! An agent counts the connections of a whole host, so our room depends on the other programs there. Pure: signals and
//! the time go in, a number comes out. Never judges whether the agent is there at all: that is the circuit's concern.

use std::fmt;
use std::time::Duration;

/// Signals never reduce the number further: below this the other reads themselves would be what is too much.
const FLOOR: usize = 8;
/// Signals this soon after a cut have the same cause.
const BURST: Duration = Duration::from_secs(2);
/// The least number of watches that are added at once.
const STEP: usize = 8;

/// The maximum number of watches, and what it follows from.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    ceiling: usize,
    /// Over HTTP/1.1 (`max_watches`), where each watch takes a connection.
    plain: usize,
    cut: Option<Duration>,
    /// Until then no watch is added: after a signal, and after each growth that did not restore all of them.
    rest: Option<Duration>,
    /// Time without a signal after which it grows.
    calm: Duration,
}

impl Budget {
    pub(crate) const fn new(plain: usize, calm: Duration) -> Self {
        Self {
            limit: plain,
            ceiling: plain,
            plain,
            cut: None,
            rest: None,
            calm,
        }
    }

    /// The maximum number of watches.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Whether signals keep it below the ceiling.
    pub(crate) const fn reduced(&self) -> bool {
        self.limit < self.ceiling
    }

    /// Over HTTP/2 there is no bound until the agent sets one.
    pub(crate) const fn transport(&mut self, multiplexed: bool) {
        let ceiling = if multiplexed { usize::MAX } else { self.plain };
        if ceiling != self.ceiling {
            self.ceiling = ceiling;
            self.limit = ceiling;
            self.cut = None;
            self.rest = None;
        }
    }

    /// The agent turned a request away while `living` watches had their answer or waited for it. True when the number
    /// falls: to a quarter less than there was room for.
    pub(crate) fn turned_away(&mut self, living: usize, now: Duration) -> bool {
        self.rest = Some(now + self.calm);
        if self.cut.is_some_and(|cut| now < cut + BURST) {
            return false;
        }
        let room = living.min(self.limit);
        let limit = (room - room / 4).max(FLOOR).min(self.limit);
        let fell = limit < self.limit;
        self.limit = limit;
        self.cut = Some(now);
        fell
    }

    /// When to ask [`Self::may_add`] again.
    pub(crate) const fn due(&self) -> Option<Duration> {
        self.rest
    }

    /// Whether watches may be added up to the limit; grows by an eighth after a calm time.
    pub(crate) fn may_add(&mut self, now: Duration) -> bool {
        let Some(rest) = self.rest else { return true };
        if now < rest {
            return false;
        }
        let step = (self.limit / 8).max(STEP);
        self.limit = self.limit.saturating_add(step).min(self.ceiling);
        self.rest = self.reduced().then(|| now + self.calm);
        true
    }
}

/// For people: what this means for services beyond it, and what helps.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, plain, .. } = self;
        if self.reduced() {
            write!(f, "the agent turned requests away: {limit} services are watched")?;
        } else {
            write!(f, "max_watches = {plain} services are watched over HTTP/1.1")?;
        }
        f.write_str(", the others are read in turns, seconds late; ")?;
        if self.ceiling == self.plain {
            f.write_str("use https (HTTP/2 needs one connection for 200 services), or ")?;
        }
        f.write_str("raise limits.http_max_conns_per_client and the open files of the agent")?;
        if !self.reduced() {
            f.write_str(", and max_watches to 50 less")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Duration = Duration::from_secs(180);

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_burst_of_signals_is_one_cut_below_what_there_is_room_for() {
        let mut budget = Budget::new(150, CALM);
        assert_eq!((budget.limit(), budget.due()), (150, None));
        // 100 of 150 found room: other programs on this host have the rest.
        assert!(budget.turned_away(100, at(10)));
        assert_eq!(budget.limit(), 75);
        for _ in 0..50 {
            assert!(!budget.turned_away(100, at(11)));
        }
        assert_eq!(budget.limit(), 75);
        assert!(budget.turned_away(75, at(13)), "still no room");
        assert_eq!(budget.limit(), 57);
    }

    #[test]
    fn it_never_falls_below_the_floor_and_says_when_it_does_not_fall() {
        let mut budget = Budget::new(150, CALM);
        for n in 1..40 {
            budget.turned_away(budget.limit(), at(n * 10));
        }
        assert_eq!(budget.limit(), FLOOR);
        assert!(!budget.turned_away(0, at(1000)));
        assert_eq!(budget.limit(), FLOOR);
        assert!(
            !budget.may_add(at(1179)),
            "what was turned away is not tried again at once"
        );
    }

    #[test]
    fn it_grows_back_step_by_step_and_each_signal_puts_that_off() {
        let mut budget = Budget::new(150, CALM);
        budget.turned_away(100, at(10));
        assert_eq!(budget.due(), Some(at(190)));
        assert!(!budget.may_add(at(189)));
        budget.turned_away(75, at(11));
        assert_eq!(budget.due(), Some(at(191)), "a signal, though no cut");
        let mut now = at(191);
        let mut steps = Vec::new();
        while budget.reduced() {
            assert!(budget.may_add(now) && (!budget.reduced() || !budget.may_add(now)));
            steps.push(budget.limit());
            now += CALM;
        }
        assert_eq!(steps, [84, 94, 105, 118, 132, 148, 150]);
        assert!(budget.due().is_none() && budget.may_add(now), "never above 150");
    }

    #[test]
    fn the_ceiling_is_what_is_configured() {
        for plain in [1, 5, 5_000] {
            let mut budget = Budget::new(plain, CALM);
            assert_eq!((budget.limit(), budget.reduced()), (plain, false));
            assert!(
                budget
                    .to_string()
                    .starts_with(&format!("max_watches = {plain} services"))
            );
            budget.turned_away(plain, at(10));
            assert_eq!(budget.limit(), (plain - plain / 4).max(FLOOR).min(plain));
            let mut now = at(10);
            while budget.due().is_some() {
                now += CALM;
                budget.may_add(now);
            }
            assert_eq!(budget.limit(), plain);
            budget.transport(true);
            budget.transport(false);
            assert_eq!(budget.limit(), plain);
        }
    }

    #[test]
    fn what_would_help_is_said() {
        let mut budget = Budget::new(150, CALM);
        let said = |budget: &Budget, word: &str| budget.to_string().contains(word);
        let ways = ["use https", "http_max_conns_per_client", "max_watches"];
        assert!(ways.iter().all(|way| said(&budget, way)), "{budget}");
        budget.turned_away(100, at(10));
        assert!(said(&budget, "75 services") && said(&budget, "https") && !said(&budget, "max_watches"));
        budget.transport(true);
        budget.turned_away(100, at(20));
        assert!(
            said(&budget, "http_max_conns") && !said(&budget, "https"),
            "{budget}"
        );
    }

    #[test]
    fn over_http2_there_is_no_bound_until_one_is_met() {
        let mut budget = Budget::new(150, CALM);
        budget.transport(true);
        assert_eq!(budget.limit(), usize::MAX);
        assert!(budget.turned_away(4000, at(10)));
        assert_eq!(budget.limit(), 3000);
        budget.transport(true);
        assert!(budget.may_add(at(190)));
        assert_eq!(budget.limit(), 3375);
        budget.transport(false);
        assert_eq!(budget.limit(), 150);
    }
}
