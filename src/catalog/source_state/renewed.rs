//! What a change of `bridge.toml` does to a source that is in the catalog already.

use std::sync::Arc;
use std::time::Duration;

use super::{Settings, SourceState, Verify};
use crate::catalog::guard::Guard;
use crate::catalog::last_good::{self, Exposures};
use crate::catalog::touched::Touched;
use crate::model::change::{Change, Status};
use crate::model::service::ServiceRecord;

impl SourceState {
    /// Another run of the source begins, with these settings: what is served of it stays until that run has
    /// delivered. `same`: it reads the same registry, so its guard judges what it delivers then; another registry
    /// has nothing to do with what was known of the last one.
    pub(in crate::catalog) fn replaced(&mut self, settings: &Settings, same: bool, now: Duration) -> Touched {
        let mut touched = self.set_status(Status::Connecting, now);
        touched.status = true;
        self.note = None;
        // The new run has not seen what entries that cannot be read said last.
        self.spoke = false;
        self.verify = match self.verify {
            _ if !settings.verifies => Verify::Never,
            Verify::Never => Verify::Idle(0),
            Verify::Idle(nth) | Verify::Asked(nth, _) => Verify::Idle(nth),
        };
        if !same {
            self.guard = None;
            self.guard_after = settings.guard;
        } else if self.guard_after.is_some() {
            self.guard_after = settings.guard; // the first delivery is still awaited
        } else if self.guard.as_ref().map(Guard::rule) != settings.guard {
            self.guard = settings.guard.map(Guard::new);
        }
        touched
    }

    /// Other exposures are defined now: records that name one of those that came or went are read again. What is
    /// withheld is not: it waits for the source.
    pub(in crate::catalog) fn set_exposures(&mut self, exposures: &Exposures, now: Duration) -> Touched {
        if self.exposures == *exposures {
            return Touched::default();
        }
        self.exposures.clone_from(exposures);
        let concerned = |(name, served): (&Arc<str>, &Arc<ServiceRecord>)| {
            let record = match self.unfilled.get(name) {
                Some(delivered) => delivered.clone(),
                None if last_good::names_unknown(served, exposures) => (**served).clone(),
                None => return None,
            };
            Some((name.clone(), Some(record)))
        };
        let guard = self.guard.as_ref();
        let withheld = |name: &Arc<str>| guard.is_some_and(|guard| guard.withheld().contains_key(name));
        let read_again = self.services.iter().filter_map(concerned);
        let services = read_again.filter(|(name, _)| !withheld(name)).collect();
        let last_delivery = self.last_delivery;
        let touched = self.take(Change::new(services, false), now);
        self.last_delivery = last_delivery; // it is not the source that speaks
        touched
    }

    /// All of its services, for when the source leaves or moves behind others.
    pub(in crate::catalog) fn all(&self) -> Touched {
        Touched {
            services: self.services.keys().cloned().collect(),
            issues: true,
            status: true,
            ..Touched::default()
        }
    }
}
