//! What speaks against a candidate: an e-process over its requests and those of the stable version, which may be looked
//! at after each report without more false alarms. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::facts::{Count, Stratum, Sum};

/// Alternatives that are tried: how much worse the candidate may be.
pub(super) const ALTERNATIVES: usize = 10;

/// Of one signal: logarithms of likelihood ratios.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// All kinds of clients together, by alternative.
    pub all: [f64; ALTERNATIVES],
    /// Each kind alone.
    pub by: BTreeMap<Stratum, [f64; ALTERNATIVES]>,
}

/// Counts of the candidate and of the stable version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pair {
    /// The candidate's.
    pub candidate: Tally,
    /// The stable version's.
    pub stable: Tally,
}

/// Requests that ended, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Successes and errors; errors.
    pub errors: Sum,
    /// These and those that clients gave up on; the latter.
    pub abandoned: Sum,
    /// With the servers' metric; bad by it.
    pub metric: Sum,
    /// That began.
    pub issued: u64,
}

/// What has been counted of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// When it was seen last.
    pub at: u64,
    /// The candidate's counts.
    pub candidate: BTreeMap<Stratum, Count>,
    /// The stable version's.
    pub stable: BTreeMap<Stratum, Count>,
}

/// What other services had before the present step, and have since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watched {
    /// Whose counts these are.
    pub run: Arc<str>,
    /// By service.
    pub services: BTreeMap<Arc<str>, Neighbour>,
    /// Services that began to fail after a step.
    pub affected: Vec<super::verdict::Affected>,
}

/// Another service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Neighbour {
    /// Counted before the present step.
    pub before: Sum,
    /// The counts when the present step began.
    pub from: Sum,
}
