//! Servers that fail in known ways, and calls of gRPC that show how.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic::transport::server::TcpIncoming;

/// One of them.
pub(crate) struct Failing {
    pub(crate) address: SocketAddr,
    state: Arc<Ways>,
    _stop: DropGuard,
}

/// How it answers.
#[derive(Default)]
struct Ways {
    always: AtomicU16,
    requests: AtomicU64,
}

impl Failing {
    /// `/code/503` is answered with that, `/hang` never, all else with 200, and with its figures.
    pub(crate) async fn http() -> Self {
        Self::start(|router| router.fallback(answer)).await
    }

    /// `shop.Calls`: each method fails in its own way.
    pub(crate) async fn grpc() -> Self {
        Self::start(|router| router.fallback(rpc)).await
    }

    /// Closes each connection once a request has come.
    pub(crate) async fn closing() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            while let Some(Ok((mut stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let mut head = [0; 4_096];
                let _ = stream.read(&mut head).await;
                let _ = stream.shutdown().await;
            }
        });
        Self {
            address,
            state: Arc::default(),
            _stop: stop.drop_guard(),
        }
    }

    async fn start(add: impl FnOnce(Router<Arc<Ways>>) -> Router<Arc<Ways>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let state: Arc<Ways> = Arc::default();
        let router = add(Router::new()).with_state(state.clone());
        let stop = CancellationToken::new();
        let ended = tonic::transport::Server::builder()
            .accept_http1(true)
            .add_routes(Routes::from(router))
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                stop.clone().cancelled_owned(),
            );
        tokio::spawn(async move { ended.await.expect("a server in this process") });
        Self {
            address,
            state,
            _stop: stop.drop_guard(),
        }
    }

    /// Each request gets this status from now on.
    pub(crate) fn always(&self, status: u16) {
        self.state.always.store(status, Ordering::Relaxed);
    }

    /// How many it has got.
    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }
}

/// The figure that a server gives of itself (ORCA), in a header.
pub(crate) const FIGURES: &str = "endpoint-load-metrics";

async fn answer(State(ways): State<Arc<Ways>>, request: Request) -> Response<axum::body::Body> {
    ways.requests.fetch_add(1, Ordering::Relaxed);
    let path = request.uri().path().to_owned();
    if path == "/hang" {
        std::future::pending::<()>().await;
    }
    let wanted = match ways.always.load(Ordering::Relaxed) {
        0 => path.strip_prefix("/code/").and_then(|code| code.parse().ok()),
        status => Some(status),
    };
    let status = StatusCode::from_u16(wanted.unwrap_or(200)).expect("a status");
    let bad = if path == "/bad" { "1" } else { "0" };
    let figures = format!("TEXT named_metrics.bad={bad}");
    (status, [(FIGURES, figures)], String::new()).into_response()
}

async fn rpc(request: Request) -> Response<tonic::body::Body> {
    let (code, message) = match request.uri().path() {
        "/shop.Calls/Lost" => ("13", "no such table: %C3%BCml%C3%A4ut%0A"),
        "/shop.Calls/Away" => ("14", "try later"),
        "/shop.Calls/Nothing" => ("5", "not here"),
        _ => ("0", ""),
    };
    let mut status = HeaderMap::new();
    status.insert("grpc-status", HeaderValue::from_static(code));
    status.insert("grpc-message", HeaderValue::from_static(message));
    let figures = if code == "0" {
        "TEXT named_metrics.bad=0"
    } else {
        "TEXT named_metrics.bad=1"
    };
    status.insert(FIGURES, HeaderValue::from_static(figures));
    let mut response = if code == "14" {
        // Without a body the status stands in the headers.
        let mut response = Response::new(tonic::body::Body::empty());
        response.headers_mut().extend(status);
        response
    } else {
        let empty = Frame::data(Bytes::from_static(&[0; 5]));
        let frames = [empty, Frame::trailers(status)].map(Ok::<_, tonic::Status>);
        let body = StreamBody::new(futures::stream::iter(frames));
        Response::new(tonic::body::Body::new(body))
    };
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    response
}

/// Calls a method of `shop.Calls` through Envoy; the code of its status.
pub(crate) async fn call(envoy: SocketAddr, method: &str) -> i32 {
    let endpoint = Endpoint::from_shared(format!("http://{envoy}")).expect("an address");
    let channel = endpoint.connect().await.expect("a connection");
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("a connection");
    let path = format!("/shop.Calls/{method}").parse().expect("a path");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let answer: Result<tonic::Response<()>, _> = grpc.unary(tonic::Request::new(()), path, codec).await;
    answer.map_or_else(|status| status.code() as i32, |_| 0)
}
