//! The report of a rollout, for programs and for people. Pure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::record::Record;
use super::settings::Settings;
use super::verdict::Verdict;

/// Errors of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorLine {
    /// The version whose errors these are.
    pub version: Arc<str>,
    /// The method: `GET /orders`, `shop.Orders/Get`.
    pub method: String,
    /// `503`, or `UNAVAILABLE` of gRPC.
    pub status: String,
    /// An example of what the server said.
    pub message: String,
    /// Envoy's response flags, such as `UC`.
    pub flags: String,
    /// An address that answered so.
    pub upstream: String,
    /// Their number.
    pub count: u64,
    /// The first; Unix time, milliseconds.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// All that is known of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The service.
    pub service: Arc<str>,
    /// One word, as in lists: `running`, `taken back`.
    pub phase: &'static str,
    /// What was done, or is to be done, in one line.
    pub action: String,
    /// When the rollout started; Unix time, milliseconds.
    pub started: u64,
    /// What was found.
    pub verdict: Verdict,
    /// Which errors, the most frequent first.
    pub errors: Vec<ErrorLine>,
}

impl Report {
    /// Of the rollout under way, or the one that ended last; `None`: there was none.
    #[must_use]
    pub fn of(
        service: &Arc<str>,
        record: &Record,
        settings: &Settings,
        facts: &Facts,
        errors: Vec<ErrorLine>,
    ) -> Option<Self> {
        let _ = (settings, facts);
        let verdict = record.last.as_deref().cloned()?;
        Some(Self {
            service: service.clone(),
            phase: record.phase(),
            verdict,
            errors,
            ..Self::default()
        })
    }

    /// Several lines for a person.
    #[must_use]
    pub fn text(&self) -> String {
        self.verdict.text.clone()
    }
}
