//! The discovery port: HTTP/2, gRPC framing, streams. A thin shell around the
//! engine in `xds`; it decides nothing.

mod body;
mod peer;
mod service;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub use service::Discovery;

use crate::fanout::Fanout;
use crate::metrics::Metrics;
use crate::xds::Limits;

/// Envoys ping each 30 s; a peer that is silent for this long after a ping of ours is gone.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// An Envoy without ADS opens one stream per cluster on one connection.
const STREAMS_PER_CONNECTION: u32 = 10_000;

/// The first request of a reconnecting Envoy lists each name and version it holds.
const MAX_REQUEST: usize = 64 << 20;

/// Serves discovery until `stop`; streams then end with OK.
///
/// # Errors
/// What the transport says when it cannot go on.
pub async fn serve(
    listener: TcpListener,
    fanout: Arc<Fanout>,
    metrics: Arc<Metrics>,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let discovery = Discovery::new(fanout, metrics, limits, MAX_REQUEST, stop.clone());
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION))
        .serve_with_incoming_shutdown(
            discovery,
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stop.cancelled_owned(),
        )
        .await
}
