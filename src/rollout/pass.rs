//! One decision in progress: what it is made of, and what comes of it beside the record. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::event::{Event, Happened};
use super::facts::{Facts, Instances};
use super::settings::Settings;

/// What is given, and what is gathered.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub settings: &'a Settings,
    pub facts: &'a Facts,
    pub events: Vec<Event>,
    pub gates: Vec<Arc<str>>,
    /// The earliest time at which something else may follow from the same facts.
    pub next_at: Option<u64>,
}

impl<'a> Pass<'a> {
    pub(super) const fn new(settings: &'a Settings, facts: &'a Facts) -> Self {
        Self {
            settings,
            facts,
            events: Vec::new(),
            gates: Vec::new(),
            next_at: None,
        }
    }

    pub(super) const fn now(&self) -> u64 {
        self.facts.now
    }

    /// The instances of a version; none, where it has none.
    pub(super) fn instances(&self, version: &str) -> Instances {
        self.facts.versions.get(version).cloned().unwrap_or_default()
    }

    /// It has been this time since then; if not, it will be looked at again.
    pub(super) fn is_over(&mut self, since: u64, time: Duration) -> bool {
        let end = since.saturating_add(millis(time));
        if self.now() >= end {
            return true;
        }
        self.next_at = Some(self.next_at.map_or(end, |at| at.min(end)));
        false
    }

    pub(super) fn say(&mut self, version: &Arc<str>, what: Happened, text: String) {
        self.events.push(Event {
            at: self.now(),
            version: version.clone(),
            dry_run: self.settings.dry_run,
            what,
            text,
        });
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
