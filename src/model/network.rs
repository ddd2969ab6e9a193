//! What the operator defines for all services: exposures, listeners, and what holds
//! for each cluster. Read from `bridge.toml`; a service may only name an exposure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What holds for each generated cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clusters {
    /// TCP connect timeout.
    pub connect_timeout: Duration,
    /// What happens when no instance of a service is healthy.
    pub on_all_unhealthy: OnAllUnhealthy,
    /// How often a request that never reached a server is tried on another one.
    pub retries: u32,
}

/// What becomes of a service that is all unhealthy ([`super::Service::all_unhealthy`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum OnAllUnhealthy {
    /// All get traffic (`healthy_panic_threshold` 1 %).
    Open,
    /// None gets traffic: 503 (`healthy_panic_threshold` 0 %). They stay in the assignment as they are.
    Closed,
    /// None is in the assignment: 503, and clients that share calls out themselves see none either.
    Drop,
}

impl OnAllUnhealthy {
    /// Reads the declared word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "open" => Self::Open,
            "closed" => Self::Closed,
            "drop" => Self::Drop,
            _ => return None,
        })
    }
}

/// A name the operator binds to listeners, and what services may claim there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// Hosts that services may claim, also the hosts of routes that name none:
    /// exact, `*.example.com`, or `*`.
    pub hosts: Vec<String>,
    /// Path prefixes that services may claim; `{service}` stands for their name.
    pub paths: Vec<String>,
    /// gRPC services that may be claimed: exact, `shop.*`, or `*`.
    pub grpc: Vec<String>,
    /// Each service gets a route for these hosts without declaring one; `{service}` stands for its name.
    pub service_hosts: Vec<String>,
}

impl Exposure {
    /// The built-in `internal` exposure: everything, and each service by its name.
    #[must_use]
    pub fn internal() -> Self {
        let all = || vec!["*".to_owned()];
        Self {
            hosts: all(),
            paths: vec!["/".to_owned()],
            grpc: all(),
            service_hosts: vec!["{service}".to_owned()],
        }
    }
}

/// A listener that Envoys get by LDS; its route configuration has its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub bind: Bind,
    /// The exposure it serves.
    pub exposure: Arc<str>,
    /// The fleets (`node.cluster`) that get it; empty: all.
    pub fleets: Vec<Arc<str>>,
}

/// Where a listener listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// A socket.
    Address(SocketAddr),
    /// Inside the same Envoy only (`internal_listener`).
    Internal,
}
