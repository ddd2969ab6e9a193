//! What is known of the requests that one client has in progress to one endpoint. Pure.

use std::sync::Arc;
use std::time::Duration;

/// Why it is not certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A client of gRPC: it names no endpoints.
    NoEndpoints,
    /// It is connected and has reported nothing yet.
    NoReport,
    /// An Envoy before 1.40 that does not name the endpoint, and that has not shown that it would: others leave it out while
    /// no request begins in its locality.
    Silent,
    /// The cluster was in a report before, and is not in the last one.
    NotListed,
    /// Its report, or all of them, exceed a bound.
    Cut,
    /// Its stream has ended.
    Left,
}

impl Why {
    /// For a person.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoints => "a gRPC client reports no endpoints",
            Self::NoReport => "connected, and nothing reported yet",
            Self::Silent => "an Envoy before 1.40 leaves endpoints out while no request begins",
            Self::NotListed => "the cluster is no longer in its reports",
            Self::Cut => "its report exceeds a bound",
            Self::Left => "it has left",
        }
    }
}

/// One client, and one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// `node.id`
    pub node: Arc<str>,
    /// `node.cluster`
    pub fleet: Arc<str>,
    /// Requests in progress as of its last report; where that is not certain, those that it named last.
    pub open: u64,
    /// `None`: it is certain.
    pub why: Option<Why>,
    /// When its last report came.
    pub at: Option<Duration>,
}
