//! When clusters were other ones last: an Envoy that replaces a cluster no longer reports what is under way in the one
//! before.

use std::collections::VecDeque;
use std::time::Duration;

use roaring::RoaringBitmap;
use tokio::time::Instant;

use super::Fanout;
use crate::clock;
use crate::xds::{Changed, Kind};

/// How long a change is remembered: no request is under way for longer.
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// Times that are kept; of more, two become one, the later.
const MAX: usize = 256;

/// The latest changes of clusters, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Changes(VecDeque<(Instant, RoaringBitmap)>);

impl Changes {
    pub(super) fn published(&mut self, changed: &Changed, now: Instant) {
        let clusters = changed.get(Kind::Cluster);
        if clusters.is_empty() {
            return;
        }
        while self.0.front().is_some_and(|(at, _)| *at + REMEMBERED <= now) {
            self.0.pop_front();
        }
        if self.0.len() == MAX
            && let Some((_, oldest)) = self.0.pop_front()
            && let Some((_, next)) = self.0.front_mut()
        {
            *next |= oldest;
        }
        let mut clusters = clusters.clone();
        clusters.optimize();
        self.0.push_back((now, clusters));
    }
}

impl Fanout {
    /// When a cluster had another content before, as far as that is remembered (an hour).
    #[must_use]
    pub fn cluster_changed_at(&self, name: &str) -> Option<Instant> {
        let shared = self.shared.lock();
        let id = shared.names.find(name)?;
        let changes = shared.changes.0.iter().rev();
        let last = changes
            .filter(|(_, clusters)| clusters.contains(id))
            .map(|(at, _)| *at)
            .next();
        last.filter(|at| *at + REMEMBERED > clock::now())
    }
}
