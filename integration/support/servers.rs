//! Servers of services, in this process: one speaks HTTP (1.1 and 2), one gRPC. Each answers with
//! its own name, counts its requests, and can be slow, feign illness, and stop in order.
//! `/after/MS` (method `After-MS`) is answered so much later; the answer to `/stream/MS` (`Watch-MS`)
//! comes in pieces for this time, the name last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

/// One instance of a service.
pub(crate) struct Server {
    /// Its name: what it answers, and the id it is registered under.
    pub(crate) id: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Whether it speaks HTTP/1.1 (else gRPC).
    pub(crate) http: bool,
    state: Arc<State>,
    task: JoinHandle<()>,
    stop: CancellationToken,
    /// Stops it when the test ends.
    _guard: DropGuard,
}

/// Counts the requests of a server, also when it has stopped.
pub(crate) struct Counter(Arc<State>);

impl Counter {
    /// How many it has taken.
    pub(crate) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }
}

/// Between two pieces of a stream.
const PIECE: Duration = Duration::from_millis(100);

struct State {
    id: String,
    requests: AtomicU64,
    delay_ms: AtomicU64,
    /// Of a thousand requests.
    fails: AtomicU64,
    well: AtomicBool,
}

impl State {
    /// Takes one request; `Err`: it fails.
    async fn serve(&self) -> Result<String, String> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let delay = self.delay_ms.load(Ordering::Relaxed);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await; // this is its work
        }
        // Spread evenly, the same in each run: 617 has no divisor in common with 1,000.
        if (number * 617) % 1_000 < self.fails.load(Ordering::Relaxed) {
            return Err(format!("{} fails", self.id));
        }
        Ok(self.id.clone())
    }

    /// Takes a request that is answered in pieces, some milliseconds long.
    fn stream(self: Arc<Self>, ms: u64) -> BoxStream<'static, String> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let pieces = Duration::from_millis(ms).as_millis() / PIECE.as_millis();
        let piece = move |n: u128| {
            let state = self.clone();
            async move {
                if n > pieces {
                    return None;
                }
                tokio::time::sleep(PIECE).await; // this is its work
                let text = if n == pieces {
                    state.id.clone()
                } else {
                    " ".to_owned()
                };
                Some((text, n + 1))
            }
        };
        futures::stream::unfold(0, piece).boxed()
    }

    /// Takes a request for this path.
    async fn answer_to(self: Arc<Self>, uri: Uri) -> Result<Body, String> {
        let path = uri.path();
        if let Some(ms) = number_after(path, "/stream/") {
            let pieces = self.stream(ms);
            return Ok(Body::from_stream(
                pieces.map(|text| Ok::<_, std::convert::Infallible>(Bytes::from(text))),
            ));
        }
        work(number_after(path, "/after/")).await;
        self.serve().await.map(Body::from)
    }
}

/// This is what a request takes, in milliseconds.
async fn work(ms: Option<u64>) {
    if let Some(ms) = ms {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// The number that stands behind this part of a path.
fn number_after(path: &str, part: &str) -> Option<u64> {
    let (_, number) = path.split_once(part)?;
    number.parse().ok()
}

impl Server {
    /// A server of HTTP/1.1 and HTTP/2: `/healthz` says how it is, every other path is a request.
    pub(crate) async fn http(id: &str) -> Self {
        Self::start(id, true, |state| {
            let well = state.clone();
            Router::new()
                .route("/healthz", get(move || async move { health(&well) }))
                .fallback(move |uri: Uri| async move {
                    let answer = state.answer_to(uri).await;
                    answer.map_err(|text| (StatusCode::INTERNAL_SERVER_ERROR, text))
                })
        })
        .await
    }

    /// A gRPC server of this service, `shop.Orders`, whatever the method. Its `/healthz`
    /// (HTTP/1.1, for checks) says how it is.
    pub(crate) async fn grpc(id: &str, service: &str) -> Self {
        let path = format!("/{service}/{{method}}");
        Self::start(id, false, |state| {
            let well = state.clone();
            let call = move |request: axum::extract::Request| rpc(state.clone(), request);
            let mut others = Routes::default(); // answers UNIMPLEMENTED to other services
            let router = std::mem::take(others.axum_router_mut());
            router
                .route("/healthz", get(move || async move { health(&well) }))
                .route(&path, axum::routing::post(call))
        })
        .await
    }

    async fn start(id: &str, http: bool, routes: impl FnOnce(Arc<State>) -> Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State {
            id: id.to_owned(),
            requests: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
            fails: AtomicU64::new(0),
            well: AtomicBool::new(true),
        });
        let stop = CancellationToken::new();
        let ended = tonic::transport::Server::builder()
            .accept_http1(true)
            .add_routes(Routes::from(routes(state.clone())))
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                stop.clone().cancelled_owned(),
            );
        let task = tokio::spawn(async move { ended.await.expect("a server in this process") });
        let guard = stop.clone().drop_guard();
        Self {
            id: id.to_owned(),
            address,
            http,
            state,
            task,
            stop,
            _guard: guard,
        }
    }

    /// One that runs elsewhere, as it is registered; nobody counts its requests.
    pub(crate) fn elsewhere(id: &str, address: SocketAddr, http: bool) -> Self {
        let stop = CancellationToken::new();
        let state = State {
            id: id.to_owned(),
            requests: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
            well: AtomicBool::new(true),
            fails: AtomicU64::new(0),
        };
        Self {
            id: id.to_owned(),
            address,
            http,
            state: Arc::new(state),
            task: tokio::spawn(std::future::ready(())),
            _guard: stop.clone().drop_guard(),
            stop,
        }
    }

    /// How many requests it has taken.
    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// The same for who does not hold the server.
    pub(crate) fn counter(&self) -> Counter {
        Counter(self.state.clone())
    }

    /// Each answer takes so long from now on.
    pub(crate) fn answer_after(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).expect("a short delay");
        self.state.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// Of a thousand requests this number fails from now on: with 500, or INTERNAL.
    pub(crate) fn fail_of(&self, of_thousand: u64) {
        self.state.fails.store(of_thousand, Ordering::Relaxed);
    }

    /// What `/healthz` says from now on: 200 or 503. Requests are answered all the same.
    pub(crate) fn set_well(&self, well: bool) {
        self.state.well.store(well, Ordering::Relaxed);
    }

    /// Whether each request fails from now on, with 500 (HTTP).
    pub(crate) fn fail(&self, fails: bool) {
        self.fail_of(if fails { 1_000 } else { 0 });
    }

    /// Takes no new connections, finishes its requests, ends.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("a server that ends in order");
    }
}

fn health(state: &State) -> impl IntoResponse + use<> {
    if state.well.load(Ordering::Relaxed) {
        (StatusCode::OK, "well")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "ill")
    }
}

/// One call, string to string (`google.protobuf.StringValue` on the wire).
async fn rpc(state: Arc<State>, request: axum::extract::Request) -> axum::response::Response {
    struct Named(Arc<State>, Option<u64>);
    impl tonic::server::UnaryService<String> for Named {
        type Response = String;
        type Future = futures::future::BoxFuture<'static, Result<tonic::Response<String>, tonic::Status>>;
        fn call(&mut self, _: tonic::Request<String>) -> Self::Future {
            let (state, later) = (self.0.clone(), self.1);
            Box::pin(async move {
                work(later).await;
                let answer = state.serve().await;
                answer.map(tonic::Response::new).map_err(tonic::Status::internal)
            })
        }
    }
    impl tonic::server::ServerStreamingService<String> for Named {
        type Response = String;
        type ResponseStream = BoxStream<'static, Result<String, tonic::Status>>;
        type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, tonic::Status>>;
        fn call(&mut self, _: tonic::Request<String>) -> Self::Future {
            let messages = self.0.clone().stream(self.1.unwrap_or_default());
            let messages = messages.map(Ok).boxed();
            std::future::ready(Ok(tonic::Response::new(messages)))
        }
    }
    let path = request.uri().path().to_owned();
    let mut grpc = tonic::server::Grpc::new(tonic_prost::ProstCodec::<String, String>::default());
    let response = match number_after(&path, "/Watch-") {
        Some(ms) => {
            let named = Named(state, Some(ms));
            grpc.server_streaming(named, request).await
        }
        None => {
            let later = number_after(&path, "/After-");
            grpc.unary(Named(state, later), request).await
        }
    };
    response.into_response()
}
