//! What happened in a rollout, for logs, webhooks and people. Pure.

use std::sync::Arc;

use serde::Serialize;

use super::record::{Hold, Why};
use super::settings::Step;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Unix time, milliseconds.
    pub at: u64,
    /// The version that it is about.
    pub version: Arc<str>,
    /// It would have happened: the rollout is judged only.
    pub dry_run: bool,
    /// What.
    #[serde(flatten)]
    pub what: Happened,
    /// A sentence for a person.
    pub text: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happened {
    /// A first version, which gets everything, or one that is left alone.
    Stable,
    /// A version waits, and gets nothing.
    Waiting,
    /// Something to know before the first step, such as that there is no way back.
    Warning,
    /// A rollout started.
    Started {
        /// The version that serves.
        stable: Arc<str>,
    },
    /// A step began.
    Step {
        /// Which.
        step: Step,
    },
    /// The next step does not begin for now.
    Held {
        /// Why.
        hold: Hold,
    },
    /// What held it is over.
    Released,
    /// The next step waits for its gates.
    Gate {
        /// The next step.
        step: Step,
    },
    /// A person has to look at it.
    Alert,
    /// The stable version has everything again.
    TakenBack {
        /// Why.
        why: Why,
    },
    /// The candidate is the stable version.
    Promoted,
    /// Another service began to fail after a step.
    Neighbour {
        /// Which.
        service: Arc<str>,
    },
    /// A person gave an order.
    Ordered {
        /// Who.
        by: String,
    },
}

/// How much a person should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Info,
    /// Something to know.
    Warning,
    /// Something to act on.
    Alert,
}

impl Event {
    /// How much a person should care.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match &self.what {
            Happened::Alert
            | Happened::TakenBack { .. }
            | Happened::Held {
                hold: Hold::Deadline | Hold::FullLoad { .. } | Hold::RollForward { .. } | Hold::Alone,
            } => Severity::Alert,
            Happened::Warning | Happened::Waiting | Happened::Held { .. } | Happened::Neighbour { .. } => {
                Severity::Warning
            }
            _ => Severity::Info,
        }
    }
}
