//! What is seen of one service: its versions with their instances, and what clients have counted. Pure.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// All that a decision is made of, but for what is remembered. Times are Unix times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Now.
    pub now: u64,
    /// Versions with at least one instance; the empty name is that of instances without one.
    pub versions: BTreeMap<Arc<str>, Instances>,
    /// What was counted, by replica and start: a replica that starts again comes with a new name.
    pub runs: BTreeMap<Arc<str>, Run>,
    /// Who reports.
    pub clients: Clients,
    /// What addresses of gates answered, by address.
    pub gates: BTreeMap<Arc<str>, Answer>,
    /// What other services had.
    pub neighbours: Neighbours,
    /// Endpoints and zones of the two versions, for the report only.
    pub rows: Vec<Row>,
    /// The number of the data that is stored (`data orders 12`); `None`: nobody has said it.
    pub data: Option<u32>,
}

/// The instances of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    /// That are healthy and not draining.
    pub healthy: u32,
    /// All that are registered.
    pub total: u32,
    /// When the first of them was seen.
    pub first_seen: u64,
    /// The number of the data that it writes (`data = 12`).
    pub data: Option<u32>,
    /// Those that it reads (`data-reads = 11..12`); `None`: those that it writes, or all if it declares neither.
    pub reads: Option<RangeInclusive<u32>>,
    /// The share that it declares, in parts of the whole; only a dry run needs it.
    pub share: Option<u32>,
}

impl Instances {
    /// Understands data of this number.
    #[must_use]
    pub fn can_read(&self, stored: u32) -> bool {
        match (&self.reads, self.data) {
            (Some(reads), _) => reads.contains(&stored),
            (None, Some(data)) => data == stored,
            (None, None) => true,
        }
    }
}

/// What one replica has counted since it started. Only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// When it began to count. A run that appears in the middle of a rollout counts from its first number on when it
    /// began after the rollout did; otherwise only what it adds from then on counts.
    pub since: u64,
    /// By version and kind of client. What is not here is zero.
    pub counts: BTreeMap<(Arc<str>, Stratum), Count>,
}

/// Clients whose counts mean the same: only these are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stratum {
    /// Envoy from 1.39 on.
    Envoy,
    /// Envoy before: loses results of quiet intervals, so `abandoned` is not judged.
    OldEnvoy,
    /// gRPC's own clients: each status but OK is an error.
    Grpc,
}

impl Stratum {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Envoy, Self::OldEnvoy, Self::Grpc];

    /// For a person.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::OldEnvoy => "envoy before 1.39",
            Self::Grpc => "grpc",
        }
    }
}

/// Requests, counted from the start of a run on; `open`: now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Count {
    /// That succeeded.
    pub ok: u64,
    /// That failed.
    pub errors: u64,
    /// That began.
    pub issued: u64,
    /// In progress now.
    pub open: u64,
    /// That came with the metric of the settings.
    pub measured: u64,
    /// The sum of that metric, rounded: bad ones.
    pub bad: u64,
}

/// Who reports about this service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clients {
    /// Clients that have reported within their interval.
    pub reporting: u32,
    /// Clients that use the service and do not report.
    pub silent: u32,
    /// When the newest report came, of any replica; `None`: none ever.
    pub last_report: Option<u64>,
    /// Reports are asked for at this interval, milliseconds.
    pub interval: u64,
}

/// What the address of a gate answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; `None`: no answer.
    pub status: Option<u16>,
    /// When.
    pub at: u64,
    /// Why there is none, or the beginning of the body.
    pub text: String,
}

/// Other services, as one observer counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// The observer and its start: with another one the counts begin at other numbers.
    pub run: Arc<str>,
    /// By service: counted since that start, of all kinds of clients.
    pub services: BTreeMap<Arc<str>, Sum>,
}

/// Requests that ended, and how many of them badly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sum {
    /// All of them.
    pub n: u64,
    /// The bad ones.
    pub k: u64,
}

/// One endpoint, or a zone, of one version since the rollout began. For the report only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// The version.
    pub version: Arc<str>,
    /// Region, zone and sub-zone.
    pub zone: Arc<str>,
    /// `10.0.0.7:8080`; empty: the zone as a whole.
    pub endpoint: Arc<str>,
    /// Requests that ended, and those with an error.
    pub errors: Sum,
    /// Requests that clients gave up on.
    pub abandoned: u64,
}
