//! What a service may declare of the connections to its servers: balancing, checks, ejection, limits. Pure.
//!
//! Each type reads itself from the declared text and shows itself so that the text can be declared again. Its bounds
//! are those of Envoy: whatever is read here is accepted there.

mod balancing;
mod connection;
mod ejection;
mod health_check;
mod limits;
mod misfit;
mod tls;
mod words;

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use balancing::Balancing;
pub use connection::{Http2, ProxyProtocol, TcpKeepalive};
pub use ejection::{Ejection, Outlier};
pub use health_check::{HealthCheck, Probe};
pub use limits::Limits;
pub use tls::Tls;
pub(crate) use words::{at_least, count};

/// The keys of a cluster that a service declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterKeys {
    /// `lb`
    pub lb: Option<Balancing>,
    /// `health-check`
    pub health_check: Option<Arc<HealthCheck>>,
    /// `outlier`
    pub outlier: Option<Arc<Outlier>>,
    /// `limits`
    pub limits: Option<Arc<Limits>>,
    /// `connect-timeout`; never zero.
    pub connect_timeout: Option<Duration>,
    /// `max-connection-duration`; zero: no limit.
    pub max_connection_duration: Option<Duration>,
    /// `max-requests-per-connection`; zero: no limit.
    pub max_requests_per_connection: Option<u32>,
    /// `tcp-keepalive`
    pub tcp_keepalive: Option<Arc<TcpKeepalive>>,
    /// `http2`
    pub http2: Option<Arc<Http2>>,
    /// `proxy-protocol`
    pub proxy_protocol: Option<ProxyProtocol>,
    /// `tls`
    pub tls: Option<Arc<Tls>>,
    /// `slow-start`; zero: none.
    pub slow_start: Option<Duration>,
}
