//! What a source had at each moment of the last seconds, kept as who came and who went. Pure: the time is given.
//!
//! Never counts an instance twice, however often it comes and goes: what is missing are instances, not events.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Removals within this time count as one.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Service and id.
type Key = (Arc<str>, Arc<str>);

/// The moments before each change of the last [`WINDOW`], by their numbers.
#[derive(Debug, Default)]
pub(super) struct History {
    /// When, and how many instances were served then.
    moments: VecDeque<(Duration, usize)>,
    /// The number of the first of them.
    first: u64,
    /// Whoever came or went since then.
    moved: HashMap<Key, Moved>,
    swept: Duration,
}

/// At which moments an instance was there, generously: gaps in between count as there.
#[derive(Clone, Copy, Debug)]
struct Moved {
    /// From this one on; 0: before all of them.
    since: u64,
    /// Up to and with this one; `None`: it is there.
    until: Option<u64>,
}

/// What is missing of that which was there at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) of: usize,
    pub(super) missing: usize,
}

impl History {
    /// The moment before a change. When nothing is served there is nothing to be missed.
    pub(super) fn begin(&mut self, now: Duration, total: usize) {
        if total == 0 {
            self.moments.clear();
            self.moved.clear();
            return;
        }
        while self.moments.front().is_some_and(|(at, _)| *at + WINDOW < now) {
            self.moments.pop_front();
            self.first += 1;
        }
        if self.swept + WINDOW < now {
            let first = self.first;
            self.moved
                .retain(|_, moved| moved.until.unwrap_or(moved.since) >= first);
            self.swept = now;
        }
        self.moments.push_back((now, total));
    }

    /// For each moment how many instances of then would be missing, were these to go now.
    pub(super) fn missing(&self, going: impl Iterator<Item = Key>) -> impl Iterator<Item = Gone> {
        let mut steps = vec![0_isize; self.moments.len() + 1];
        let last = self.last();
        let place = |moment: u64| usize::try_from(moment.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut note = |since: u64, until: u64| {
            if until >= self.first && since <= until {
                steps[place(since)] += 1;
                steps[place(until) + 1] -= 1;
            }
        };
        for moved in self.moved.values() {
            if let Some(until) = moved.until {
                note(moved.since, until);
            }
        }
        for key in going {
            note(self.moved.get(&key).map_or(0, |moved| moved.since), last);
        }
        let mut missing = 0;
        self.moments.iter().zip(steps).map(move |((_, of), step)| {
            missing += step;
            Gone {
                of: *of,
                missing: missing.unsigned_abs(),
            }
        })
    }

    /// The change that began last takes this one away.
    pub(super) fn went(&mut self, service: &Arc<str>, id: &Arc<str>) {
        let until = Some(self.last());
        let moved = self.moved.entry((service.clone(), id.clone()));
        moved
            .and_modify(|m| m.until = until)
            .or_insert(Moved { since: 0, until });
    }

    /// The change that began last brings this one.
    pub(super) fn came(&mut self, service: &Arc<str>, id: &Arc<str>) {
        if self.moments.is_empty() {
            return;
        }
        let (first, since) = (self.first, self.last() + 1);
        let moved = self.moved.entry((service.clone(), id.clone()));
        let new = Moved { since, until: None };
        let known = |m: &mut Moved| {
            *m = match m.until {
                Some(until) if until < first => new, // it went too long ago to have been missed
                _ => Moved { until: None, ..*m },
            }
        };
        moved.and_modify(known).or_insert(new);
    }

    fn last(&self) -> u64 {
        self.first + (self.moments.len() as u64).saturating_sub(1)
    }
}
