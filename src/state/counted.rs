//! Shared documents of rollouts beside their records: who leads, what each bridge has counted, which schema is stored.
//! Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rollout::{Count, Stratum};

/// The bridge that decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its random id.
    pub replica: Arc<str>,
    /// The machine's name.
    pub host: String,
    /// Unix time, milliseconds.
    pub since: u64,
}

/// Which schema is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Its number.
    pub number: u32,
    /// Unix time, milliseconds.
    pub since: u64,
    /// Who said so, for people.
    #[serde(default)]
    pub by: String,
}

/// What one bridge has counted, or a part of it: only of services that are being judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// By service.
    pub services: BTreeMap<Arc<str>, Service>,
}

/// Of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// When this bridge began to count, Unix time in milliseconds.
    pub since: u64,
    /// When the youngest report came, Unix time in milliseconds of its clock; 0: none came.
    pub at: u64,
    /// Clients that report of it as often as they should.
    pub reporting: u32,
    /// Those that do not.
    pub silent: u32,
    /// By version, then by kind of client. Sums only grow.
    pub versions: BTreeMap<Arc<str>, BTreeMap<Stratum, Count>>,
}
