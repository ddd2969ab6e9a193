//! What the hub does with the messages of sources.

use std::sync::Arc;

use super::memory::Part;
use super::{Hub, log};
use crate::catalog::Touched;
use crate::clock;
use crate::model::change::What;
use crate::model::{Event, Status};

impl Hub {
    /// Applies one message.
    pub fn apply(&mut self, event: Event) {
        if !self.sources.contains_key(&event.source) {
            return; // it was removed, and with it all that came from it
        }
        match &event.what {
            What::Change(change) => self.apply_change(change.complete, event),
            What::Status(status) => self.apply_status(matches!(status, Status::Away { .. }), event),
            What::Verified(_) => self.apply_verified(event),
            What::Note(note) => {
                log::note(&event.source, note.as_deref());
                let touched = self.catalog.apply(event, self.now());
                self.follow(touched);
            }
            What::Measured(measured) => self.gauges.measured(&event.source, *measured),
        }
    }

    fn apply_change(&mut self, complete: bool, event: Event) {
        let source = event.source.clone();
        self.gauges.changed(&source);
        let was_stale = self.memory.stale(&source, clock::now()).is_some();
        if complete {
            self.compare_with_memory(&source);
        }
        self.note_change(&event);
        let before = self.withheld(&source);
        let mut touched = self.catalog.apply(event, self.now());
        touched.status |= complete && was_stale;
        if !touched.services.is_empty() || complete {
            self.memory.changed(&Part::Source(source.clone()));
        }
        let withheld = self.withheld(&source);
        if withheld > before {
            log::withheld(&source, withheld);
        }
        self.accept_from(&source, touched);
    }

    fn apply_status(&mut self, away: bool, event: Event) {
        let source = event.source.clone();
        self.note_status(&event);
        let state = self.catalog.source(&source);
        if away && state.is_some_and(|state| *state.status() == Status::Live) {
            self.memory.changed(&Part::Source(source.clone())); // until now it was true
        }
        let touched = self.catalog.apply(event, self.now());
        self.follow(touched);
        if away {
            self.recall(&source);
        }
    }

    fn apply_verified(&mut self, event: Event) {
        let source = event.source.clone();
        let touched = self.catalog.apply(event, self.now());
        self.believed(&touched);
        self.accept_from(&source, touched);
    }

    /// What a message of this source did to the catalog.
    fn accept_from(&mut self, source: &Arc<str>, touched: Touched) {
        self.uncounted |= touched.issues;
        self.log.entries(source, &touched);
        self.follow(touched);
    }
}
