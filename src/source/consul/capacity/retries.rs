//! How often a failed request is sent again, by the cause of its failure. The only place that says so.
//!
//! Pure, but for the jitter of the pauses. What is not listed here is never sent again.

use std::time::Duration;

use backon::ExponentialBackoff;

use crate::registry::consul::Error;
use crate::source::consul::timing::Timing;

/// Why a failed request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The agent limits requests per second: the next attempt waits for its turn.
    RateLimit,
    /// The agent has no room for it. An idle connection that was just closed looks the same.
    Overload,
    /// A gateway before the agent answered for it (502, 503, 504): one such answer is no outage.
    Gateway,
    /// There was not even the head of an answer.
    Unanswered,
}

impl Cause {
    /// `None`: sending it again would not help.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        if error.is_rate_limited() {
            Some(Self::RateLimit)
        } else if error.overload().is_some() {
            Some(Self::Overload)
        } else if error.is_gateway() {
            Some(Self::Gateway)
        } else {
            error.is_unsent().then_some(Self::Unanswered)
        }
    }
}

/// Further attempts for each cause.
#[derive(Clone, Copy, Debug)]
struct Attempts {
    rate_limit: u32,
    overload: u32,
    gateway: u32,
    unanswered: u32,
}

/// A read that does not block.
const READ: Attempts = Attempts {
    rate_limit: 19,
    overload: 4,
    gateway: 2,
    unanswered: 1,
};
/// A question about rights or a peering: who asks it tries again later as a whole.
const QUESTION: Attempts = Attempts {
    rate_limit: 19,
    overload: 0,
    gateway: 2,
    unanswered: 0,
};
/// A read that only asks whether the agent answers: any answer of its own will do.
const PROBE: Attempts = Attempts {
    rate_limit: 0,
    overload: 0,
    gateway: 2,
    unanswered: 0,
};
/// A blocking read.
const BLOCKING: Attempts = Attempts {
    rate_limit: 20,
    overload: 1,
    gateway: 2,
    unanswered: 0,
};

/// The attempts that one request has left.
#[derive(Debug)]
pub(crate) struct Retries {
    left: Attempts,
    timing: Timing,
    pauses: ExponentialBackoff,
}

impl Retries {
    pub(super) fn read(timing: &Timing) -> Self {
        Self::new(READ, timing)
    }

    pub(super) fn question(timing: &Timing) -> Self {
        Self::new(QUESTION, timing)
    }

    pub(super) fn probe(timing: &Timing) -> Self {
        Self::new(PROBE, timing)
    }

    pub(super) fn blocking(timing: &Timing) -> Self {
        Self::new(BLOCKING, timing)
    }

    fn new(left: Attempts, timing: &Timing) -> Self {
        Self {
            left,
            timing: *timing,
            pauses: timing.retries(),
        }
    }

    /// Takes one attempt: the pause before it, or `None` when there is none left. What meets a rate limit waits for
    /// its turn instead of a pause.
    pub(crate) fn next(&mut self, cause: Cause) -> Option<Duration> {
        let left = match cause {
            Cause::RateLimit => &mut self.left.rate_limit,
            Cause::Overload => &mut self.left.overload,
            Cause::Gateway => &mut self.left.gateway,
            Cause::Unanswered => &mut self.left.unanswered,
        };
        *left = left.checked_sub(1)?;
        Some(match cause {
            Cause::RateLimit => Duration::ZERO,
            Cause::Overload | Cause::Gateway | Cause::Unanswered => self.timing.next(&mut self.pauses),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_number_of_attempts() {
        let timing = Timing::default();
        let attempts = |mut retries: Retries| {
            [
                Cause::RateLimit,
                Cause::Overload,
                Cause::Gateway,
                Cause::Unanswered,
            ]
            .map(|cause| std::iter::from_fn(|| retries.next(cause)).count())
        };
        assert_eq!(attempts(Retries::read(&timing)), [19, 4, 2, 1]);
        assert_eq!(attempts(Retries::question(&timing)), [19, 0, 2, 0]);
        assert_eq!(attempts(Retries::probe(&timing)), [0, 0, 2, 0]);
        assert_eq!(attempts(Retries::blocking(&timing)), [20, 1, 2, 0]);
    }

    #[test]
    fn only_a_rate_limit_needs_no_pause() {
        let timing = Timing::default();
        let mut retries = Retries::read(&timing);
        assert_eq!(retries.next(Cause::RateLimit), Some(Duration::ZERO));
        assert!(retries.next(Cause::Gateway) >= Some(timing.pace));
    }
}
