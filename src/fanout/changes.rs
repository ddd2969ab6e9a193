//! The latest changes of one type's resources, for who has to know what came after a moment.

use std::collections::VecDeque;
use std::time::Duration;

use roaring::RoaringBitmap;
use tokio::time::Instant;

use super::Fanout;
use crate::clock;
use crate::xds::{Changed, Kind, NameId};

/// Publications that are kept; of more, two become one, the later.
const MAX: usize = 4_096;

/// No request is under way for longer in a cluster that was replaced.
const LONGEST: Duration = Duration::from_secs(3_600);

/// The latest publications that changed something of a type, the oldest first.
#[derive(Debug)]
pub(super) struct Changes {
    kind: Kind,
    /// For how long one is remembered.
    pub(super) kept: Duration,
    /// Publications so far.
    number: u64,
    latest: VecDeque<Change>,
}

#[derive(Debug)]
struct Change {
    number: u64,
    at: Instant,
    names: RoaringBitmap,
}

impl Changes {
    pub(super) const fn of(kind: Kind, kept: Duration) -> Self {
        Self {
            kind,
            kept,
            number: 0,
            latest: VecDeque::new(),
        }
    }

    pub(super) fn published(&mut self, changed: &Changed, now: Instant) {
        self.number += 1;
        while self
            .latest
            .front()
            .is_some_and(|first| first.at + self.kept <= now)
        {
            self.latest.pop_front();
        }
        let names = changed.get(self.kind);
        if names.is_empty() {
            return;
        }
        if self.latest.len() == MAX
            && let Some(oldest) = self.latest.pop_front()
            && let Some(next) = self.latest.front_mut()
        {
            next.names |= oldest.names;
        }
        let mut names = names.clone();
        names.optimize();
        self.latest.push_back(Change {
            number: self.number,
            at: now,
            names,
        });
    }

    /// The number of the last publication.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The last change of a resource: the number of that publication, and when it was.
    pub(super) fn last(&self, id: NameId) -> Option<(u64, Instant)> {
        let last = self.latest.iter().rev().find(|change| change.names.contains(id));
        last.map(|change| (change.number, change.at))
    }
}

/// Changes of clusters.
#[derive(Debug)]
pub(super) struct Clusters(pub(super) Changes);

impl Default for Clusters {
    fn default() -> Self {
        Self(Changes::of(Kind::Cluster, LONGEST))
    }
}

impl Fanout {
    /// Whether the endpoints of a service have changed since then; also where that is not known any more.
    #[must_use]
    pub fn endpoints_changed_since(&self, name: &str, at: Instant) -> bool {
        let shared = self.shared.lock();
        let changes = shared.departures.changes();
        let last = shared.names.find(name).and_then(|id| changes.last(id));
        clock::now() >= at + changes.kept || last.is_some_and(|(_, changed)| changed >= at)
    }

    /// When a cluster had another content before, as far as that is remembered (an hour): an Envoy that replaces a
    /// cluster no longer reports what is under way in the one before.
    #[must_use]
    pub fn cluster_changed_at(&self, name: &str) -> Option<Instant> {
        let shared = self.shared.lock();
        let (_, at) = shared.clusters.0.last(shared.names.find(name)?)?;
        Some(at).filter(|at| *at + LONGEST > clock::now())
    }
}
