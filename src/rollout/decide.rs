//! The decision: what is remembered and what is seen → what is remembered next, and what happened. Pure.

use std::sync::Arc;

use super::event::Event;
use super::facts::Facts;
use super::record::Record;
use super::settings::Settings;

/// What follows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// To remember.
    pub record: Record,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// When to decide again at the latest, if nothing is reported before; Unix time, milliseconds.
    pub next_at: Option<u64>,
    /// Addresses of gates to ask.
    pub gates: Vec<Arc<str>>,
    /// More than counts have changed: the record is to be written before it is acted upon.
    pub urgent: bool,
}

/// Decides. The same facts a second time change nothing.
#[must_use]
pub fn decide(record: &Record, settings: &Settings, facts: &Facts) -> Decision {
    let _ = (settings, facts);
    Decision {
        record: record.clone(),
        ..Decision::default()
    }
}
