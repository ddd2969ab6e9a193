//! What the hub hands to the writer of the cache: the state of each source, and what was decided between services.

use std::sync::Arc;

use super::Hub;
use super::memory::Part;
use crate::cache::{Saved, Snapshot};
use crate::clock;
use crate::model::Status;

impl Hub {
    /// Hands one changed part to the writer.
    pub(super) fn save(&mut self) {
        let now = clock::now();
        let Some((part, writer)) = self.memory.take_unsaved(now).zip(self.memory.writer.as_ref()) else {
            return;
        };
        if let Some(saved) = self.saved(&part)
            && !writer.offer(saved)
        {
            self.memory.later(part, now);
        }
    }

    /// What live sources deliver is true now, whenever it changed last.
    pub(super) fn renew(&mut self) {
        let live = self
            .catalog
            .sources()
            .filter(|(_, state)| *state.status() == Status::Live);
        let live: Vec<Arc<str>> = live.map(|(name, _)| name.clone()).collect();
        self.memory.renew(live, clock::now());
    }

    /// What changed since it was saved last, at the end.
    pub(super) async fn save_all(mut self) {
        let Some(writer) = self.memory.writer.take() else {
            return;
        };
        while let Some(part) = self.memory.take_unsaved(clock::now()) {
            if let Some(saved) = self.saved(&part) {
                writer.hand(saved).await;
            }
        }
    }

    fn saved(&self, part: &Part) -> Option<Saved> {
        match part {
            // Before the first generation nothing is decided, and what was before is still on disk.
            Part::Decisions => self
                .ready
                .then(|| Saved::Decisions(self.planner.decisions(self.now()))),
            Part::Source(source) => Some(Saved::State(Snapshot {
                source: source.clone(),
                registry: self.sources.get(source)?.registry.clone()?,
                services: self.catalog.source(source)?.snapshot(),
            })),
        }
    }
}
