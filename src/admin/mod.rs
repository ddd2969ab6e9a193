//! The operator's port: health, readiness, metrics, dumps, and two orders: `/accept` and `/forget`.

mod guard;
mod listen;
mod preview;
mod sources;
mod streams;

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::fanout::Fanout;
use crate::floods::Floods;
use crate::hub::{Forgotten, Order, Overview};
use crate::metrics::Metrics;
use crate::render::{self, Wanted};
use crate::xds::Kind;
pub use guard::ORDER_HEADER;

/// Maximum of dumps at once, printed or not yet read: each keeps a thread and a generation.
const DUMPS: usize = 2;
/// Bytes of one piece of a dump.
const PIECE: usize = 64 << 10;
/// Pieces that wait for the client.
const PIECES: usize = 2;

/// What the port can see.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The newest generation.
    pub fanout: Arc<Fanout>,
    /// All counters.
    pub metrics: Arc<Metrics>,
    /// How the sources are.
    pub overview: watch::Receiver<Overview>,
    /// The way to the hub.
    pub orders: mpsc::Sender<Order>,
    /// What there is to know of the discovery port's certificate.
    pub certificate: watch::Receiver<Option<String>>,
    /// Whether the discovery port takes connections.
    pub listens: watch::Receiver<bool>,
}

/// Who may use the port, and how many at once.
#[derive(Clone, Debug)]
pub struct Access {
    /// `admin.hosts`: its names besides `localhost` and IP addresses.
    pub hosts: Vec<String>,
    /// Connections at once.
    pub connections: usize,
}

/// What each request is measured by.
#[derive(Clone, Debug)]
struct Guarded {
    hosts: Arc<[String]>,
    metrics: Arc<Metrics>,
    floods: Arc<Floods>,
}

/// Serves until `stop`.
///
/// # Errors
/// The transport's, when it cannot go on.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    access: Access,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let floods = Arc::new(Floods::default());
    let guarded = Guarded {
        hosts: access.hosts.into(),
        metrics: admin.metrics.clone(),
        floods: floods.clone(),
    };
    let dumps = Arc::new(Semaphore::new(DUMPS));
    let dump =
        async move |admin: State<Admin>, query: Query<DumpQuery>| config_dump(admin, query, dumps.clone());
    let router = Router::new()
        .route("/", get(index))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/config_dump", get(dump))
        .route("/sources", get(all_sources))
        .route("/streams", get(all_streams))
        .route("/accept", post(accept))
        .route("/forget", post(forget))
        .route("/plan", post(preview::plan).layer(DefaultBodyLimit::max(PLAN)))
        .with_state(admin)
        .layer(from_fn_with_state(guarded, guard::guard));
    let bounds = (access.connections, listen::Patience::default());
    let helpers = stop.child_token();
    let (served, ()) = tokio::join!(
        async {
            let served = listen::serve(listener, router, bounds, floods.clone(), stop).await;
            helpers.cancel();
            served
        },
        floods.report(&helpers),
    );
    served
}

async fn index() -> &'static str {
    "xds-bridge\n\n\
     /healthz                             the process answers\n\
     /readyz                              every source has delivered, and how each is\n\
     /sources                             all about each source: state, what is withheld, wrong entries\n\
     /metrics                             Prometheus\n\
     /accept?source=NAME                  POST with the header x-xds-bridge: 1; let removals go that the guard withholds\n\
     /forget?service=NAME                 the same; end the routes of a service whose last instance left\n\
     /plan[?service=NAME]                 the same, with a declaration or a bridge.toml as body; what it would change\n\
     /streams[?node=ID]                   who is connected, what was refused, what fleets reject\n\
     /config_dump[?type=cds][&name=NAME]  what is served, as Envoy prints it (type: cds, eds, lds, rds, sds)\n"
}

/// 200 once streams are admitted; the text says how each source is.
async fn ready(State(admin): State<Admin>) -> Response {
    let overview = admin.overview.borrow().clone();
    let mut text = sources::words(&overview, clock::now());
    if let Some(note) = &*admin.certificate.borrow() {
        // Writing into a String does not fail.
        let _ = writeln!(text, "discovery port: {note}");
    }
    // Who connects because of this answer must not be refused.
    let status = if overview.ready && *admin.listens.borrow() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, text).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], admin.metrics.text()).into_response()
}

#[derive(Debug, Deserialize)]
struct StreamsQuery {
    node: Option<String>,
}

async fn all_streams(State(admin): State<Admin>, Query(query): Query<StreamsQuery>) -> Response {
    let view = streams::view(&admin.fanout, query.node.as_deref());
    (
        [(header::CONTENT_TYPE, "application/json")],
        format!("{view:#}\n"),
    )
        .into_response()
}

/// Requested from the hub: nothing of it is kept ready.
async fn all_sources(State(admin): State<Admin>) -> Response {
    let (reply, answer) = oneshot::channel();
    let sent = admin.orders.send(Order::Describe { reply }).await;
    let Some(detail) = answer.await.ok().filter(|_| sent.is_ok()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response();
    };
    let mut view = sources::json(&detail, clock::now());
    view["discovery_port"] = json!({ "note": *admin.certificate.borrow() });
    (
        [(header::CONTENT_TYPE, "application/json")],
        format!("{view:#}\n"),
    )
        .into_response()
}

/// The longest body of a request for a plan, bytes.
const PLAN: usize = 4 << 20;

pub(super) const STOPPING: &str = "the bridge is stopping\n";

#[derive(Debug, Deserialize)]
struct AcceptQuery {
    source: String,
}

/// The operator believes what the guard does not.
async fn accept(State(admin): State<Admin>, Query(query): Query<AcceptQuery>) -> Response {
    let (reply, answer) = oneshot::channel();
    let order = Order::Accept {
        source: query.source.clone(),
        reply,
    };
    let sent = admin.orders.send(order).await.is_ok();
    match answer.await {
        Ok(Some(n)) if sent => format!("{}: {n} withheld instances let go\n", query.source).into_response(),
        Ok(None) => (
            StatusCode::NOT_FOUND,
            format!("no source is called `{}`\n", query.source),
        )
            .into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response(),
    }
}

#[derive(Debug, Deserialize)]
struct ForgetQuery {
    service: String,
}

/// The operator ends routes that are kept.
async fn forget(State(admin): State<Admin>, Query(query): Query<ForgetQuery>) -> Response {
    let (reply, answer) = oneshot::channel();
    let service = query.service;
    let order = Order::Forget {
        service: service.clone(),
        reply,
    };
    let sent = admin.orders.send(order).await.is_ok();
    match answer.await {
        Ok(Forgotten::Ended) if sent => format!("{service}: its routes have ended\n").into_response(),
        Ok(Forgotten::HasInstances) => (
            StatusCode::CONFLICT,
            format!("nothing is kept of `{service}`: it has instances, or a policy document alone\n"),
        )
            .into_response(),
        Ok(Forgotten::Unknown) => (
            StatusCode::NOT_FOUND,
            format!("no service is called `{service}`\n"),
        )
            .into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response(),
    }
}

#[derive(Debug, Deserialize)]
struct DumpQuery {
    r#type: Option<String>,
    name: Option<String>,
}

fn config_dump(
    State(admin): State<Admin>,
    Query(query): Query<DumpQuery>,
    dumps: Arc<Semaphore>,
) -> Response {
    let kind = match query.r#type.as_deref() {
        None => None,
        Some(word) => match Kind::ALL.into_iter().find(|kind| kind.short() == word) {
            Some(kind) => Some(kind),
            None => {
                return (
                    StatusCode::BAD_REQUEST,
                    "type must be cds, eds, lds, rds or sds\n",
                )
                    .into_response();
            }
        },
    };
    let Some(generation) = admin.fanout.current() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "nothing is served yet; see /readyz\n",
        )
            .into_response();
    };
    let Ok(permit) = dumps.try_acquire_owned() else {
        let busy = "other dumps are on their way; try again in a moment\n";
        return (StatusCode::SERVICE_UNAVAILABLE, busy).into_response();
    };
    let wanted = Wanted {
        kind,
        name: query.name,
    };
    let (pieces, sent) = mpsc::channel(PIECES);
    // Printing thousands of resources takes a while: not on a thread that serves streams.
    tokio::task::spawn_blocking(move || {
        let mut out = Pieces::new(pieces);
        // Who has gone needs no more of it; the place is free before the body ends.
        let _ = render::write_config_dump(&generation, &wanted, &mut out)
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush());
        drop(permit);
    });
    let body = stream::unfold(sent, async |mut sent| {
        let piece = sent.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), sent))
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        Body::from_stream(body),
    )
        .into_response()
}

/// Text on its way to a client, in pieces: whoever writes waits for whoever reads.
struct Pieces {
    buffer: Vec<u8>,
    pieces: mpsc::Sender<Bytes>,
}

impl Pieces {
    const fn new(pieces: mpsc::Sender<Bytes>) -> Self {
        Self {
            buffer: Vec::new(),
            pieces,
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(text);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE + PIECE / 4));
        let sent = self.pieces.blocking_send(piece.into());
        sent.map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::{Draft, Reach, Update};

    #[tokio::test]
    async fn a_dump_that_nobody_reads_takes_the_place_of_others_and_gives_it_back() {
        let fanout = Arc::new(Fanout::new(1, false));
        // More than waits for a client that reads nothing.
        let put = |n: usize| {
            Update::Put(Draft {
                kind: Kind::Cluster,
                name: format!("c{n}").into(),
                body: Vec::new(),
                needs: Vec::new(),
                reach: Reach::All,
            })
        };
        let updates: Vec<Update> = (0..5_000).map(put).collect();
        fanout.publish(&updates, clock::now());
        let admin = Admin {
            fanout,
            metrics: Arc::default(),
            overview: watch::channel(Overview::default()).1,
            orders: mpsc::channel(1).0,
            certificate: watch::channel(None).1,
            listens: watch::channel(true).1,
        };
        let dumps = Arc::new(Semaphore::new(1));
        let dump = || {
            let query = DumpQuery {
                r#type: None,
                name: None,
            };
            config_dump(State(admin.clone()), Query(query), dumps.clone())
        };
        let first = dump();
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(dump().status(), StatusCode::SERVICE_UNAVAILABLE);
        let text = axum::body::to_bytes(first.into_body(), 1 << 24).await.unwrap();
        assert!(text.ends_with(b"}\n"));
        let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let clusters = read.pointer("/configs/0/dynamic_active_clusters").unwrap();
        assert_eq!(clusters.as_array().unwrap().len(), 5_000);
        drop(dump()); // read to its end, the first one has given its place back
        let freed = tokio::time::timeout(std::time::Duration::from_secs(20), dumps.acquire()).await;
        assert!(freed.is_ok(), "dropped, the second one too");
    }
}
