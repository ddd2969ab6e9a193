//! Whoever waits for longer than one request may take asks again at once: what was found by then still holds, so that
//! the time of clients that do not report begins once only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Question;
use super::judge::Judge;

/// Questions that are remembered.
const MOST: usize = 64;

/// Who asks again does so within this time.
const SOON: Duration = Duration::from_millis(500);

/// What was found by those that stopped asking a moment ago.
#[derive(Clone, Debug, Default)]
pub struct Left(Arc<Mutex<Vec<(Question, Instant, Judge)>>>);

impl Left {
    fn lock(&self) -> MutexGuard<'_, Vec<(Question, Instant, Judge)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody stops asking this.
    pub(super) fn put(&self, question: &Question, judge: Judge, now: Instant) {
        let mut left = self.lock();
        left.retain(|(known, at, _)| known != question && *at + SOON > now);
        if left.len() < MOST {
            left.push((question.clone(), now, judge));
        }
    }

    /// Somebody asks this. `has_changed`: whether the endpoints are others since then.
    pub(super) fn take(
        &self,
        question: &Question,
        now: Instant,
        has_changed: impl FnOnce(Instant) -> bool,
    ) -> Judge {
        let mut left = self.lock();
        left.retain(|(_, at, _)| *at + SOON > now);
        let place = left.iter().position(|(known, ..)| known == question);
        let found = place.map(|place| left.remove(place));
        drop(left);
        let valid = found.filter(|(_, at, _)| !has_changed(*at));
        valid.map(|(_, _, judge)| judge).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Patience, Seen, Verdict, Wanted};
    use super::*;
    use crate::clock;
    use crate::model::Health;

    #[test]
    fn the_silent_time_goes_on_when_the_same_is_asked_again_at_once() {
        let (left, now) = (Left::default(), clock::now());
        let question = Question {
            service: "orders".into(),
            id: "orders-7".into(),
            address: ([10, 0, 0, 1], 80).into(),
            wanted: Wanted::Drained,
        };
        let patience = Patience {
            in_flight: Duration::from_secs(300),
            is_bounded: true,
            connecting: Duration::from_secs(1),
            grace: Duration::ZERO,
        };
        let seen = Seen {
            health: Some(Health::Draining),
            acked: [("edge".to_owned(), "a".to_owned())].into(),
            ..Seen::default()
        };
        let same = |_| false;
        let mut judge = left.take(&question, now, same);
        let at = |judge: &mut Judge, secs| {
            judge.judge(Wanted::Drained, &seen, patience, Duration::from_secs(secs))
        };
        assert!(matches!(at(&mut judge, 0), Verdict::Busy { .. }));
        left.put(&question, judge.clone(), now);
        let mut again = left.take(&question, now + Duration::from_millis(100), same);
        assert_eq!(at(&mut again, 301), Verdict::Done);
        // After a change, of another question, or later: nothing is known.
        left.put(&question, judge.clone(), now);
        let mut changed = left.take(&question, now, |_| true);
        assert!(matches!(at(&mut changed, 301), Verdict::Busy { .. }));
        left.put(&question, judge, now);
        let other = Question {
            id: "orders-8".into(),
            ..question.clone()
        };
        let mut fresh = left.take(&other, now, same);
        assert!(matches!(at(&mut fresh, 301), Verdict::Busy { .. }));
        let mut late = left.take(&question, now + SOON, same);
        assert!(matches!(at(&mut late, 301), Verdict::Busy { .. }));
    }
}
