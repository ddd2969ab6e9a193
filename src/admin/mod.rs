//! The operator's port: health, readiness, metrics, dumps. Reads only.

mod streams;

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::fanout::Fanout;
use crate::hub::Overview;
use crate::metrics::Metrics;
use crate::model::Status;
use crate::render::{self, Wanted};
use crate::xds::Kind;

/// What the port can see.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The newest generation.
    pub fanout: Arc<Fanout>,
    /// All counters.
    pub metrics: Arc<Metrics>,
    /// How the sources are.
    pub overview: watch::Receiver<Overview>,
}

/// Serves until `stop`.
///
/// # Errors
/// What the transport says when it cannot go on.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/", get(index))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/config_dump", get(config_dump))
        .route("/streams", get(all_streams))
        .with_state(admin);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn index() -> &'static str {
    "xds-bridge\n\n\
     /healthz                             the process answers\n\
     /readyz                              every source has delivered, and how each is\n\
     /metrics                             Prometheus\n\
     /streams[?node=ID]                   who is connected, what was refused, what fleets reject\n\
     /config_dump[?type=cds][&name=NAME]  what is served, as Envoy prints it (type: cds, eds, lds, rds)\n"
}

/// 200 once streams are admitted; the text says how each source is.
async fn ready(State(admin): State<Admin>) -> Response {
    let overview = admin.overview.borrow().clone();
    let mut text = String::from(if overview.ready { "ready\n" } else { "not ready\n" });
    for source in &overview.sources {
        let delivered = if source.delivered {
            "delivered"
        } else {
            "not delivered yet"
        };
        let reason = match &source.status {
            Status::Away { reason } => format!(": {reason}"),
            _ => String::new(),
        };
        // Writing into a String does not fail.
        let _ = writeln!(
            text,
            "{} ({}): {}, {delivered}{reason}",
            source.name,
            source.kind,
            source.status.as_str()
        );
    }
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

#[derive(Debug, Deserialize)]
struct DumpQuery {
    r#type: Option<String>,
    name: Option<String>,
}

async fn config_dump(State(admin): State<Admin>, Query(query): Query<DumpQuery>) -> Response {
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
    // Printing thousands of resources takes a while: not on a thread that serves streams.
    let wanted = Wanted {
        kind,
        name: query.name,
    };
    let dump = tokio::task::spawn_blocking(move || {
        serde_json::to_string_pretty(&render::config_dump(&generation, &wanted))
    });
    match dump.await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "printing failed\n").into_response(),
    }
}
