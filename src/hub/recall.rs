//! When the last known state of a source is served, and what its first delivery is compared with.

use std::sync::Arc;

use super::Hub;
use crate::cache::LastKnown;
use crate::catalog::Touched;
use crate::model::Change;

impl Hub {
    /// Serves the last known state of a source that is away, if there is one.
    pub(super) fn recall(&mut self, source: &Arc<str>) {
        let Some(state) = self.memory.away(source) else {
            return;
        };
        tracing::warn!(
            source = %source,
            services = state.services.len(),
            age = ?state.age,
            "the source is away: its last known state is served"
        );
        let mut touched = self.take_known(source, state, true);
        touched.status = true;
        self.follow(touched);
    }

    /// The first delivery of a source is measured against what was known of it last: a registry that
    /// was wiped while the bridge was down is withheld like one that is wiped while it runs.
    pub(super) fn compare_with_memory(&mut self, source: &Arc<str>) {
        if let Some(state) = self.memory.delivered(source) {
            let touched = self.take_known(source, state, false);
            self.pending.extend(touched.services);
        }
    }

    /// Gives the catalog what was known last, in the source's place.
    fn take_known(&mut self, source: &Arc<str>, state: LastKnown, complete: bool) -> Touched {
        let services = state
            .services
            .into_iter()
            .map(|(name, record)| (name, Some(record)))
            .collect();
        let now = self.now();
        self.catalog.recall(source, Change::new(services, complete), now)
    }
}
