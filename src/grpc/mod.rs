//! The discovery port: HTTP/2, gRPC framing, streams. A thin shell around the
//! engine in `xds`; it decides nothing.

mod body;
mod peer;
mod service;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
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

/// A pause after an accept that failed.
const AFTER_ERROR: Duration = Duration::from_millis(250);

/// An Envoy without ADS opens one stream per cluster on one connection.
const STREAMS_PER_CONNECTION: u32 = 10_000;

/// The first request of a reconnecting Envoy lists each name and version it holds: 80 bytes for each of
/// 200,000 fit. No more than that, since decoding makes twelve times as much of a list of short names.
const MAX_REQUEST: usize = 16 << 20;

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
            paced(TcpIncoming::from(listener).with_nodelay(Some(true))),
            stop.cancelled_owned(),
        )
        .await
}

/// Without free descriptors each accept fails at once, and the loop would take a whole core.
fn paced<T>(incoming: impl Stream<Item = io::Result<T>>) -> impl Stream<Item = io::Result<T>> {
    incoming.then(async |accepted| {
        if let Err(error) = &accepted
            && !of_one_peer(error)
        {
            tracing::warn!(%error, "a connection cannot be accepted");
            tokio::time::sleep(AFTER_ERROR).await;
        }
        accepted
    })
}

/// The peer has gone before it was accepted: no reason to let the next one wait.
fn of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failing_accepts_are_paced() {
        let began = crate::clock::now();
        let failing = futures::stream::iter(0..10).map(|n| match n {
            9 => Ok(n),
            8 => Err(io::ErrorKind::ConnectionReset.into()),
            _ => Err(io::Error::other("no descriptors")),
        });
        let mut incoming = Box::pin(paced(failing));
        while incoming.next().await.is_some_and(|accepted| accepted.is_err()) {}
        assert_eq!(crate::clock::now().duration_since(began), AFTER_ERROR * 8);
    }
}
