//! The discovery port: connections and who is at their other end, HTTP/2, gRPC framing,
//! streams and their bounds. A thin shell around the engine in `xds`; it never decides
//! what a client is sent.

mod accept;
mod admission;
mod body;
mod budget;
mod connection;
mod handshake;
mod identity;
mod inbox;
mod peer;
mod service;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

pub use identity::Rule;
pub use service::Discovery;
pub use tls::{Files, Tls, TlsError};

use crate::fanout::Fanout;
use crate::floods::Floods;
use crate::metrics::Metrics;
use crate::xds::Limits;

/// Envoys ping each 30 s; a peer that is silent for this long after a ping of ours is gone.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// Connections that are ready and not served yet.
const READY: usize = 64;

/// What the port demands and allows; the keys of `[xds]`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bounds of the engine.
    pub engine: Limits,
    /// Plaintext without.
    pub tls: Option<Arc<Tls>>,
    /// Which certificate may claim which node; none: any that the client CA signed may claim any.
    pub rules: Arc<[Rule]>,
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

/// Serves discovery until `stop`; streams then end with OK.
///
/// # Errors
/// What the transport says when it cannot go on.
pub async fn serve(
    listener: TcpListener,
    fanout: Arc<Fanout>,
    metrics: Arc<Metrics>,
    options: Options,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let (taken, connections) = mpsc::channel(READY);
    let floods = Arc::new(Floods::default());
    let acceptor = accept::Acceptor {
        listener,
        tls: options.tls.clone(),
        metrics: metrics.clone(),
        floods: floods.clone(),
        budget: budget::Budget::new(options.max_request_memory, options.max_request_bytes),
        max_connections: options.max_connections,
        taken,
    };
    let (tls, streams) = (options.tls.clone(), options.max_streams_per_connection);
    let discovery = Discovery::new(fanout, metrics.clone(), floods.clone(), options, stop.clone());
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .max_concurrent_streams(Some(streams))
        .serve_with_incoming_shutdown(
            discovery,
            ReceiverStream::new(connections),
            stop.clone().cancelled_owned(),
        );
    // They end together: the helpers by the same token, or when serving failed.
    let helpers = stop.child_token();
    let (served, (), (), ()) = tokio::join!(
        async {
            let served = serving.await;
            helpers.cancel();
            served
        },
        acceptor.run(helpers.clone()),
        floods.report(&helpers),
        async {
            if let Some(tls) = tls {
                tls.follow(&metrics, &helpers).await;
            }
        },
    );
    served
}
