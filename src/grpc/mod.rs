//! The discovery port: `server` is connections and who is at their other end, HTTP/2 and gRPC framing, for any
//! service on it; `discovery` is xDS, a thin shell around the engine in `xds`, and `loads` and `errors` take in load
//! reports and access logs, for `intake`. It never decides what a client is sent.

mod demands;
mod discovery;
mod errors;
mod loads;
mod pace;
mod server;
mod service;
mod status;
mod stream;
mod turns;
mod visitor;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use demands::Demands;
use discovery::Discovery;
use errors::AccessLogs;
use loads::LoadReports;
pub use server::{Files, Rule, Tls, TlsError};
use status::ClientStatus;

use crate::fanout::Fanout;
use crate::floods::Floods;
use crate::intake::Loads;
use crate::metrics::Metrics;
use crate::xds::Limits;

/// What the port demands and allows; the keys of `[xds]`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bounds of the engine.
    pub engine: Limits,
    /// Plaintext without.
    pub tls: Option<Arc<Tls>>,
    /// Which certificate may claim which node; none: any that the client CA signed may claim any.
    pub rules: Arc<[Rule]>,
    /// `admin.token_file`: who shows it may ask for the status of clients; without, whoever asks from this machine.
    pub operators: Option<PathBuf>,
    /// Connections at once; one more is closed.
    pub max_connections: usize,
    /// An Envoy without ADS opens one stream per cluster on one connection.
    pub max_streams_per_connection: u32,
    /// The first request of a reconnecting Envoy lists each name and version it holds.
    pub max_request_bytes: usize,
    /// Bytes of requests that have begun, of all connections; above, the one that holds the most is closed.
    pub max_request_memory: usize,
    /// Requests that one stream is read per second, after a burst of five seconds' worth.
    pub max_requests_per_second: u32,
    /// Streams that begin per second, after a burst of one second's worth.
    pub new_streams_per_second: u32,
    /// Streams whose first response is being made and sent.
    pub max_first_responses: usize,
    /// A stream ends with OK at about this age; zero: never.
    pub max_stream_age: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: Limits::default(),
            tls: None,
            rules: Arc::default(),
            operators: None,
            max_connections: 10_000,
            max_streams_per_connection: 10_000,
            // The first request of a reconnecting Envoy lists each name and version it holds: 80 bytes for
            // each of 200,000 fit. No more than that: decoding makes twelve times as much of short names.
            max_request_bytes: 16 << 20,
            max_request_memory: 64 << 20,
            max_requests_per_second: 1_000,
            new_streams_per_second: 2_000,
            max_first_responses: 64,
            max_stream_age: Duration::ZERO,
        }
    }
}

/// Serves discovery, and takes load reports and access logs in, until `stop`; streams then end with OK.
///
/// # Errors
/// What the transport says when it cannot go on.
pub async fn serve(
    listener: TcpListener,
    fanout: Arc<Fanout>,
    loads: Arc<Loads>,
    metrics: Arc<Metrics>,
    options: impl Into<Demands>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let floods = Arc::new(Floods::default());
    let demands: Demands = options.into();
    let options = demands.now();
    let door = server::Door {
        tls: options.tls.clone(),
        max_connections: options.max_connections,
        max_streams_per_connection: options.max_streams_per_connection,
        max_request_bytes: options.max_request_bytes,
        max_request_memory: options.max_request_memory,
        max_names: options.engine.names,
        metrics: metrics.clone(),
        floods: floods.clone(),
    };
    let logs = AccessLogs::new(
        loads.clone(),
        metrics.clone(),
        floods.clone(),
        demands.clone(),
        stop.clone(),
    );
    let reports = LoadReports::new(
        loads,
        fanout.clone(),
        metrics.clone(),
        floods.clone(),
        demands.clone(),
        stop.clone(),
    );
    let status = ClientStatus::new(
        fanout.clone(),
        metrics.clone(),
        floods.clone(),
        demands.clone(),
        stop.clone(),
    );
    let discovery = Discovery::new(fanout, metrics, floods, demands, stop.clone());
    let services = service::Services {
        discovery,
        reports,
        logs,
        status,
    };
    server::serve(listener, services, door, stop).await
}
