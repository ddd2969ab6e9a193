//! The operator's port: health, readiness, metrics, dumps, and one order: `/accept`.

mod listen;
mod sources;
mod streams;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::fanout::Fanout;
use crate::hub::{Order, Overview};
use crate::metrics::Metrics;
use crate::render::{self, Wanted};
use crate::xds::Kind;

/// So many dumps at once, printed or not yet read: each takes 80 MB for 5,000 services.
const DUMPS: usize = 2;
/// A dump is handed out in pieces of so many bytes.
const PIECE: usize = 64 << 10;

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
}

/// Serves until `stop`.
///
/// # Errors
/// What the transport says when it cannot go on.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) -> std::io::Result<()> {
    let dumps = Arc::new(Semaphore::new(DUMPS));
    let dump = move |admin: State<Admin>, query: Query<DumpQuery>| config_dump(admin, query, dumps.clone());
    let router = Router::new()
        .route("/", get(index))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/config_dump", get(dump))
        .route("/sources", get(all_sources))
        .route("/streams", get(all_streams))
        .route("/accept", post(accept))
        .with_state(admin);
    listen::serve(listener, router, listen::Patience::default(), stop).await
}

async fn index() -> &'static str {
    "xds-bridge\n\n\
     /healthz                             the process answers\n\
     /readyz                              every source has delivered, and how each is\n\
     /sources                             all about each source: state, what is withheld, wrong entries\n\
     /metrics                             Prometheus\n\
     /accept?source=NAME (POST)           let removals go that the guard withholds\n\
     /streams[?node=ID]                   who is connected, what was refused, what fleets reject\n\
     /config_dump[?type=cds][&name=NAME]  what is served, as Envoy prints it (type: cds, eds, lds, rds)\n"
}

/// 200 once streams are admitted; the text says how each source is.
async fn ready(State(admin): State<Admin>) -> Response {
    let overview = admin.overview.borrow().clone();
    let text = sources::words(&overview, clock::now());
    let status = if overview.ready {
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

/// Asked of the hub itself: nothing of it is kept ready for nobody.
async fn all_sources(State(admin): State<Admin>) -> Response {
    let (reply, answer) = oneshot::channel();
    let sent = admin.orders.send(Order::Tell { reply }).await;
    let Some(detail) = answer.await.ok().filter(|_| sent.is_ok()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response();
    };
    let view = sources::json(&detail, clock::now());
    (
        [(header::CONTENT_TYPE, "application/json")],
        format!("{view:#}\n"),
    )
        .into_response()
}

const STOPPING: &str = "the bridge is stopping\n";

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
struct DumpQuery {
    r#type: Option<String>,
    name: Option<String>,
}

async fn config_dump(
    State(admin): State<Admin>,
    Query(query): Query<DumpQuery>,
    dumps: Arc<Semaphore>,
) -> Response {
    let kind = match query.r#type.as_deref() {
        None => None,
        Some(word) => match Kind::ALL.into_iter().find(|kind| kind.short() == word) {
            Some(kind) => Some(kind),
            None => return (StatusCode::BAD_REQUEST, "type must be cds, eds, lds or rds\n").into_response(),
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
    // Printing thousands of resources takes a while: not on a thread that serves streams.
    let wanted = Wanted {
        kind,
        name: query.name,
    };
    // The permit goes along: printing does not end because the client has gone.
    let dump = tokio::task::spawn_blocking(move || {
        let text = serde_json::to_string_pretty(&render::config_dump(&generation, &wanted));
        text.map(|text| (text + "\n", permit))
    });
    match dump.await {
        Ok(Ok((text, permit))) => {
            ([(header::CONTENT_TYPE, "application/json")], pieces(text, permit)).into_response()
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "printing failed\n").into_response(),
    }
}

/// A body that gives the permit back when it was sent, or is dropped.
fn pieces(text: String, permit: OwnedSemaphorePermit) -> Body {
    let left = (Bytes::from(text), permit);
    Body::from_stream(stream::unfold(left, async |(mut text, permit)| {
        let piece = text.split_to(text.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok::<_, std::convert::Infallible>(piece), (text, permit)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    async fn a_dump_that_nobody_reads_takes_the_place_of_others_and_gives_it_back() {
        let fanout = Arc::new(Fanout::new(1, false));
        fanout.publish(&[], tokio::time::Instant::now());
        let admin = Admin {
            fanout,
            metrics: Arc::default(),
            overview: watch::channel(Overview::default()).1,
            orders: mpsc::channel(1).0,
        };
        let dumps = Arc::new(Semaphore::new(1));
        let dump = || {
            let query = DumpQuery {
                r#type: None,
                name: None,
            };
            config_dump(State(admin.clone()), Query(query), dumps.clone())
        };
        let first = dump().await;
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(dump().await.status(), StatusCode::SERVICE_UNAVAILABLE);
        let text = axum::body::to_bytes(first.into_body(), 1 << 20).await.unwrap();
        assert!(text.starts_with(b"{") && text.ends_with(b"}\n"));
        assert_eq!(dump().await.status(), StatusCode::OK, "read, or dropped");
        assert_eq!(dump().await.status(), StatusCode::OK);
    }
}
