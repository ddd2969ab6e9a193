//! A port that speaks gRPC: it accepts connections, finds out who is at their other end, and bounds what they may
//! hold, whatever service is called. Knows nothing of xDS.

mod accept;
mod budget;
mod clients;
mod connection;
mod error;
mod handshake;
mod held;
pub(super) mod identity;
mod inbox;
mod incoming;
mod large;
mod tls;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::Server;
use tower::Service;

pub(super) use connection::Caller;
pub use error::TlsError;
pub use identity::Rule;
pub(super) use inbox::Inbox;
pub(super) use incoming::Incoming;
use large::Large;
pub use tls::{Files, Tls};

use crate::floods::Floods;
use crate::metrics::Metrics;

/// Envoys ping each 30 s; a peer that is silent for this long after a ping of ours is gone.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// Bytes that a client may send on a stream before they are read. HTTP/2's usual megabyte would be the larger part of
/// what a connection can have lying here; a request of a megabyte comes in four rounds.
const STREAM_WINDOW: u32 = 256 << 10;

/// Connections that are ready and not served yet.
const READY: usize = 64;

/// Who may connect, and how much that may take.
pub(super) struct Door {
    /// Plaintext without.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) max_connections: usize,
    pub(super) max_streams_per_connection: u32,
    pub(super) max_request_bytes: usize,
    pub(super) max_request_memory: usize,
    /// Of one type on one stream.
    pub(super) max_names: usize,
    pub(super) metrics: Arc<Metrics>,
    pub(super) floods: Arc<Floods>,
}

/// Serves these services until `stop`.
pub(super) async fn serve<S>(
    listener: TcpListener,
    services: S,
    door: Door,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let Door {
        tls, metrics, floods, ..
    } = door;
    let (taken, connections) = mpsc::channel(READY);
    let acceptor = accept::Acceptor {
        listener,
        tls: tls.clone(),
        metrics: metrics.clone(),
        floods: floods.clone(),
        budget: budget::Budget::new(
            door.max_request_memory,
            door.max_request_bytes,
            Large::new(door.max_names),
        ),
        max_connections: door.max_connections,
        taken,
    };
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .initial_stream_window_size(STREAM_WINDOW)
        .max_concurrent_streams(Some(door.max_streams_per_connection))
        .serve_with_incoming_shutdown(
            services,
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
