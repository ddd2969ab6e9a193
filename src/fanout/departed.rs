//! Clients that disconnected a moment ago: an Envoy goes on with what it had, so whoever waits until nobody sends
//! requests to an instance any more has to know of them, too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;
use tokio::time::Instant;

use crate::xds::{Changed, Kind, NameId};

/// Departed clients that are remembered at once; of more, the last ones.
const MAX: usize = 10_000;

/// A client that disconnected.
#[derive(Debug)]
struct Departed {
    node: Arc<str>,
    fleet: Arc<str>,
    at: Instant,
    /// Assignments of endpoints that it had.
    held: RoaringBitmap,
    /// Those whose present content it had not acknowledged.
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
#[derive(Debug, Default)]
pub(super) struct Departures {
    /// How long one is remembered.
    grace: Duration,
    all: VecDeque<Departed>,
}

impl Departures {
    /// For this long a client may go on with what it had.
    pub(super) const fn set_grace(&mut self, grace: Duration) {
        self.grace = grace;
    }

    /// A client left. `held`: the endpoints that it had; `behind`: of those it may not have what is newest.
    pub(super) fn add(
        &mut self,
        (node, fleet): (&str, &str),
        held: RoaringBitmap,
        mut behind: RoaringBitmap,
        now: Instant,
    ) {
        self.forget(now);
        if held.is_empty() || self.grace.is_zero() {
            return;
        }
        if self.all.len() == MAX {
            self.all.pop_front();
        }
        let mut held = held;
        held.optimize();
        behind &= &held;
        self.all.push_back(Departed {
            node: node.into(),
            fleet: fleet.into(),
            at: now,
            held,
            behind,
        });
    }

    /// These names have another content now.
    pub(super) fn published(&mut self, changed: &Changed, now: Instant) {
        self.forget(now);
        let changed = changed.get(Kind::Endpoints);
        for departed in self.all.iter_mut().filter(|_| !changed.is_empty()) {
            departed.behind |= changed & &departed.held;
        }
    }

    /// Who may have another content of these endpoints than the present one.
    pub(super) fn behind(&self, id: NameId, now: Instant) -> impl Iterator<Item = Unknown> {
        let lately = self.all.iter().filter(move |d| d.at + self.grace > now);
        lately.filter(move |d| d.behind.contains(id)).map(|d| Unknown {
            node: d.node.to_string(),
            fleet: d.fleet.to_string(),
            since: d.at,
        })
    }

    fn forget(&mut self, now: Instant) {
        while self.all.front().is_some_and(|first| first.at + self.grace <= now) {
            self.all.pop_front();
        }
    }
}
