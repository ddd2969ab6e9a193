//! Clients that disconnected a moment ago: an Envoy goes on with what it had, so whoever waits until nobody sends
//! requests to an instance any more has to know of them, too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;
use tokio::time::Instant;

use super::changes::Changes;
use crate::xds::{Changed, Kind, NameId};

/// Departed clients that are remembered at once; of more, the last ones, and of the others what they had together.
const MAX: usize = 10_000;

/// What those are called that are too many to be remembered one by one.
const MORE: &str = "others, too many to be named";

/// A client that disconnected.
#[derive(Debug)]
struct Departed {
    node: Arc<str>,
    fleet: Arc<str>,
    at: Instant,
    /// The last publication before it left.
    number: u64,
    /// Assignments of endpoints that it had.
    held: RoaringBitmap,
    /// Those whose content of then it had not acknowledged.
    behind: RoaringBitmap,
}

/// A client of which it is not known what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// `node.id`
    pub node: String,
    /// `node.cluster`
    pub fleet: String,
    /// When it disconnected.
    pub since: Instant,
}

/// All of them, the oldest first.
#[derive(Debug)]
pub(super) struct Departures {
    all: VecDeque<Departed>,
    /// Those of which only that is known: when the last of them left, and what all of them had.
    more: Option<(Instant, RoaringBitmap)>,
    /// Of endpoints, remembered for as long as a client that left is.
    changes: Changes,
}

impl Default for Departures {
    fn default() -> Self {
        Self {
            all: VecDeque::new(),
            more: None,
            changes: Changes::of(Kind::Endpoints, Duration::ZERO),
        }
    }
}

impl Departures {
    /// For this long a client may go on with what it had.
    pub(super) const fn set_grace(&mut self, grace: Duration) {
        self.changes.kept = grace;
    }

    /// Changes of endpoints.
    pub(super) const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// A client left. `held`: the endpoints that it had; `behind`: of those it may not have what is newest.
    pub(super) fn add(
        &mut self,
        (node, fleet): (&str, &str),
        mut held: RoaringBitmap,
        mut behind: RoaringBitmap,
        now: Instant,
    ) {
        self.forget(now);
        if held.is_empty() || self.changes.kept.is_zero() {
            return;
        }
        if self.all.len() == MAX
            && let Some(first) = self.all.pop_front()
        {
            let (at, of_more) = self.more.get_or_insert_with(|| (first.at, RoaringBitmap::new()));
            *at = first.at;
            *of_more |= first.held;
        }
        held.optimize();
        behind &= &held;
        self.all.push_back(Departed {
            node: node.into(),
            fleet: fleet.into(),
            at: now,
            number: self.changes.number(),
            held,
            behind,
        });
    }

    /// These names have another content now.
    pub(super) fn published(&mut self, changed: &Changed, now: Instant) {
        self.changes.published(changed, now);
        self.forget(now);
    }

    /// Who may have another content of these endpoints than the present one.
    pub(super) fn behind(&self, id: NameId, now: Instant) -> impl Iterator<Item = Unknown> {
        let changed = self.changes.last(id).map_or(0, |(number, _)| number);
        let lately = self.all.iter().filter(move |d| d.at + self.changes.kept > now);
        let behind = move |d: &&Departed| d.behind.contains(id) || d.number < changed && d.held.contains(id);
        let known = lately.filter(behind).map(|d| Unknown {
            node: d.node.to_string(),
            fleet: d.fleet.to_string(),
            since: d.at,
        });
        let more = self
            .more
            .iter()
            .filter(move |(at, held)| *at + self.changes.kept > now && held.contains(id));
        known.chain(more.map(|(at, _)| Unknown {
            node: MORE.to_owned(),
            fleet: String::new(),
            since: *at,
        }))
    }

    fn forget(&mut self, now: Instant) {
        let kept = self.changes.kept;
        while self.all.front().is_some_and(|first| first.at + kept <= now) {
            self.all.pop_front();
        }
        if self.more.as_ref().is_some_and(|(at, _)| *at + kept <= now) {
            self.more = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn those_that_find_no_room_are_unknown_and_not_forgotten() {
        let (mut departures, now) = (Departures::default(), clock::now());
        departures.set_grace(Duration::from_secs(30));
        let set = |id: NameId| RoaringBitmap::from_iter([id]);
        departures.add(("first", "edge"), set(7), set(7), now);
        for n in 0..MAX {
            departures.add((&format!("envoy-{n}"), "edge"), set(8), set(8), now);
        }
        let of = |departures: &Departures, id, at| -> Vec<String> {
            departures.behind(id, at).map(|client| client.node).collect()
        };
        assert_eq!(of(&departures, 7, now), [MORE]);
        assert_eq!(of(&departures, 8, now).len(), MAX);
        let late = now + Duration::from_secs(30);
        assert!(of(&departures, 7, late).is_empty());
        departures.forget(late);
        assert!(departures.more.is_none());
    }
}
