//! What was found about a candidate, with the figures. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::facts::{Clients, Row, Stratum, Sum};
use super::settings::Step;

/// What versions are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Errors of all requests that ended with an answer.
    Errors,
    /// Requests that clients gave up on.
    Abandoned,
    /// The servers' own metric.
    Metric,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Errors, Self::Abandoned, Self::Metric];

    /// For a person.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Abandoned => "abandoned",
            Self::Metric => "metric",
        }
    }
}

/// What was found, and when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// Unix time, milliseconds.
    pub at: u64,
    /// The version that is judged.
    pub candidate: Arc<str>,
    /// The one that it is compared with.
    pub stable: Arc<str>,
    /// The step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// One line for a person: what is found, and by which figures.
    pub text: String,
    /// Why it is taken back; `None`: nothing speaks against it for sure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<Signal>,
    /// By signal.
    pub signals: Vec<SignalVerdict>,
    /// At which load.
    pub load: Load,
    /// Who reported.
    pub clients: Clients,
    /// Whether the stable version can read what the candidate writes.
    pub way_back: bool,
    /// Other services that began to fail after a step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub affected: Vec<Affected>,
    /// Zones and endpoints, those with the most errors first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Row>,
}

/// What was found by one signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalVerdict {
    /// The signal.
    pub signal: Signal,
    /// How much speaks against the candidate: the e-value, at most 1e9.
    pub e: f64,
    /// It is taken back from here on.
    pub threshold: f64,
    /// By kind of client, since the rollout began.
    pub strata: BTreeMap<Stratum, StratumVerdict>,
    /// The probability that the candidate is worse than the margin allows, in this step; `None`: too little is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beyond_margin: Option<f64>,
}

/// Like compared with like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StratumVerdict {
    /// The candidate.
    pub candidate: Sum,
    /// The stable version.
    pub stable: Sum,
}

/// Requests per second, and instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// When it was taken.
    pub at: u64,
    /// The candidate's.
    pub candidate: Sample,
    /// The stable version's.
    pub stable: Sample,
}

/// The load of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Requests that began since the rollout did.
    pub issued: u64,
    /// Requests per second.
    pub rate: f64,
    /// Requests per second and healthy instance.
    pub per_instance: f64,
    /// Healthy instances.
    pub instances: u32,
    /// Requests in progress.
    pub open: u64,
}

/// Another service that began to fail after a step. It is never taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Affected {
    /// The service.
    pub service: Arc<str>,
    /// When it was noticed.
    pub at: u64,
    /// The step before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// What it had before the step.
    pub before: Sum,
    /// What it has had since.
    pub after: Sum,
}
