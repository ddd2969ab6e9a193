//! What a source reports to the hub: services that are new or changed, services gone, and how it is itself.

use std::sync::Arc;

use super::issue::Issue;
use super::service::ServiceRecord;

/// One message of a source to the hub.
#[derive(Clone, Debug)]
pub struct Event {
    /// The source's name in `bridge.toml`.
    pub source: Arc<str>,
    /// What happened.
    pub what: What,
}

/// The content of an [`Event`].
#[derive(Clone, Debug)]
pub enum What {
    /// Facts changed.
    Change(Change),
    /// The source's own condition changed; facts stay as they are.
    Status(Status),
    /// What its operator should know of a source that works, one sentence; `None`: nothing any more.
    /// Facts and status stay as they are.
    Note(Option<String>),
    /// The source has read everything that it holds again since the hub's request of this number, and has delivered
    /// what differed.
    Verified(u64),
    /// A number for the metrics. Facts, status and note stay as they are.
    Measured(Measured),
}

/// What a source counts of its own work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// Services that are read in turns, because the registry does not allow a watch for each.
    Swept(usize),
    /// How many more services had a change that a watch missed.
    Missed(u64),
    /// Blocking reads that something on the way to the registry has ended since.
    Cut(u64),
}

/// Facts of one source. Each record replaces all that the source said of that service before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The services concerned; `None` means that the registry answered, and it is gone.
    pub services: Vec<(Arc<str>, Option<ServiceRecord>)>,
    /// The change names every service of the source: what it does not name is gone.
    /// The first change of a source must be complete (an empty one means: reachable and empty).
    pub complete: bool,
    /// All entries that could not be given to any service now (`None`: as before).
    pub stray: Option<Vec<Issue>>,
}

impl Change {
    /// These services; `complete`: they are all there are.
    #[must_use]
    pub fn new(services: Vec<(Arc<str>, Option<ServiceRecord>)>, complete: bool) -> Self {
        Self {
            services,
            complete,
            stray: None,
        }
    }
}

/// What a source says of itself, apart from its facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing received yet.
    Connecting,
    /// Reachable, and what we hold is current.
    Live,
    /// Not reachable or not to be trusted now; what we hold stays in force.
    Away {
        /// What went wrong, for logs and the status page.
        reason: String,
    },
}

impl Status {
    /// The word used in logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Away { .. } => "away",
        }
    }
}

/// How a source is, with its facts. Three states are never mixed up: not reachable
/// ([`Self::Away`]), reachable and empty ([`Self::Empty`]), and all unhealthy, which is a state
/// of a service ([`super::Service::all_unhealthy`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing received yet.
    Connecting,
    /// Reachable, and it knows services.
    Live,
    /// Reachable, and it knows none.
    Empty,
    /// Not reachable or not trusted at present; what was received before stays in force.
    Away,
}

impl Condition {
    /// All of them, for a set of states in the metrics.
    pub const ALL: [Self; 4] = [Self::Connecting, Self::Live, Self::Empty, Self::Away];

    /// The word used in the API, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Empty => "empty",
            Self::Away => "away",
        }
    }
}
