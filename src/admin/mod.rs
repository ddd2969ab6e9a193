//! The operator's port: health, readiness, metrics, dumps, and two orders: `/accept` and `/forget`.

mod analyze;
mod answer;
mod drains;
mod dump;
mod errors;
mod events;
mod guard;
mod listen;
mod lists;
mod loads;
mod over;
mod page;
mod preview;
mod reload;
mod rollouts;
mod sources;
mod status;
mod streams;
mod verdict;
mod wait;
mod why;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{self, DefaultBodyLimit, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::barrier::Barrier;
use crate::clock;
use crate::fanout::Fanout;
use crate::floods::Floods;
use crate::hub::{Forgotten, Order, Overview};
use crate::intake::Loads;
use crate::journal::Journal;
use crate::metrics::{MAX_ENTRIES, Metrics};
use crate::pilot::Desk;
use crate::state::State;
pub use guard::ORDER_HEADER;
pub use reload::{Reload, Reloaded};

/// What the port can see.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The newest generation.
    pub fanout: Arc<Fanout>,
    /// What clients report of their requests.
    pub loads: Arc<Loads>,
    /// All counters.
    pub metrics: Arc<Metrics>,
    /// How the sources are.
    pub overview: watch::Receiver<Overview>,
    /// The way to the hub.
    pub orders: mpsc::Sender<Order>,
    /// Who waits for all clients.
    pub barrier: Barrier,
    /// What there is to know of the discovery port's certificate.
    pub certificate: watch::Receiver<Option<String>>,
    /// Whether the discovery port takes connections.
    pub listens: watch::Receiver<bool>,
    /// What bridges share.
    pub state: State,
    /// What changed.
    pub journal: Arc<Journal>,
    /// What is rolled out.
    pub rollouts: Desk,
    /// The way to have the configuration read again.
    pub reloads: mpsc::Sender<Reload>,
}

/// Who may use the port, and how many at once.
#[derive(Clone, Debug)]
pub struct Access {
    /// `admin.hosts`: its names besides `localhost` and IP addresses.
    pub hosts: Vec<String>,
    /// Connections at once.
    pub connections: usize,
    /// `admin.token_file`
    pub token_file: Option<PathBuf>,
}

/// What each request is measured by.
#[derive(Clone, Debug)]
struct Guarded {
    hosts: Arc<[String]>,
    token: Option<PathBuf>,
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
        token: access.token_file,
        metrics: admin.metrics.clone(),
        floods: floods.clone(),
    };
    let dumps = dump::Dumps::new();
    let dump = async move |admin: extract::State<Admin>, query: Query<dump::Narrowed>| {
        dump::config_dump(&admin.fanout, query.0, &dumps)
    };
    let router = Router::new()
        .route("/", get(index))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/config_dump", get(dump))
        .route("/sources", get(all_sources))
        .route("/streams", get(all_streams))
        .route("/status", get(status::status))
        .route("/wait", get(wait::wait))
        .route("/why", get(why::why))
        .route("/services", get(lists::services))
        .route("/routes", get(lists::routes))
        .route("/page/{file}", get(page::file))
        .route("/analyze", get(analyze::analyze))
        .route("/events", get(events::events))
        .route("/loads", get(all_loads))
        .route("/errors", get(all_errors))
        .route("/drain", post(drains::drain))
        .route("/undrain", post(drains::undrain))
        .route("/drains", get(drains::drains))
        .route("/rollouts", get(rollouts::list))
        .route("/rollouts/{service}", get(rollouts::show))
        .route("/rollouts/{service}/history", get(rollouts::history))
        .route("/rollouts/{service}/events", get(rollouts::events))
        .route("/rollouts/{service}/{verb}", post(rollouts::order))
        .route("/data/{name}", get(rollouts::data).put(rollouts::set_data))
        .route("/reload", post(reload::reload))
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

/// A page for browsers, a list for programs.
async fn index(headers: HeaderMap) -> Response {
    if page::is_wanted(&headers) {
        return page::index();
    }
    WAYS.into_response()
}

const WAYS: &str = "xds-bridge\n\n\
     /healthz                             the process answers\n\
     /readyz                              every source has delivered, and how each is\n\
     /sources                             all about each source: state, what is withheld, wrong entries\n\
     /metrics                             Prometheus\n\
     /wait?drained=SERVICE/ID             wait until nobody sends it requests any more; serving=: until each client has it\n\
     /why?service=NAME[&instance=ID]      why it is served as it is; request=GET%20https://…[&client=NODE]: what becomes of it\n\
     /services[?search=PART]              services with their instances, versions, routes and warnings\n\
     /routes[?host=PART]                  routes in the order in which they are tried\n\
     /analyze                             what is wrong with what is registered, declared and served, with codes\n\
     /events[?service=NAME&since=10m]     what changed, when, and by which registry\n\
     /drains                              what is drained by operators\n\
     /drain?name=SERVICE/ID[&wait=60s]    POST with the header x-xds-bridge: 1; drain an instance (or node=, zone=)\n\
     /undrain?name=SERVICE/ID             the same; end that\n\
     /rollouts[/SERVICE[/history|/events]]  what is rolled out, how it stands, what happened\n\
     /rollouts/SERVICE/ORDER              POST with the header x-xds-bridge: 1; start, pause, resume, promote, abort, retry\n\
     /data/SERVICE[?number=N]             which schema is stored; the same with PUT: from now on\n\
     /reload                              POST with the header x-xds-bridge: 1; read the configuration again, as on SIGHUP\n\
     /accept?source=NAME                  POST with the header x-xds-bridge: 1; let removals go that the guard withholds\n\
     /forget?service=NAME                 the same; end the routes of a service whose last instance left\n\
     /plan[?service=NAME]                 the same, with a declaration or a bridge.toml as body; what it would change\n\
     /status[?client=ID]                  how far each client is with what is published, those that are behind first\n\
     /streams[?node=ID]                   who is connected, what was refused, what fleets reject\n\
     /loads[?service=NAME][&node=ID]      requests in progress and their results, as Envoys and gRPC clients report them\n\
     /errors[?service=NAME]               which errors there are, while a rollout is judged: method, status, message, server\n\
     /config_dump[?type=cds][&name=NAME]  what is served, as Envoy prints it (type: cds, eds, lds, rds, sds)\n";

/// 200 once streams are admitted; the text says how each source is.
async fn ready(extract::State(admin): extract::State<Admin>) -> Response {
    let overview = admin.overview.borrow().clone();
    let mut text = sources::words(&overview, clock::now());
    if let Some(note) = &*admin.certificate.borrow() {
        // Writing into a String does not fail.
        let _ = writeln!(text, "discovery port: {note}");
    }
    if let Some(words) = admin.state.words() {
        let _ = writeln!(text, "shared state: {words}");
    }
    // Who connects because of this answer must not be refused.
    let status = if overview.ready && *admin.listens.borrow() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, text).into_response()
}

async fn metrics(extract::State(admin): extract::State<Admin>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], admin.metrics.text()).into_response()
}

#[derive(Debug, Deserialize)]
struct StreamsQuery {
    node: Option<String>,
}

async fn all_streams(
    extract::State(admin): extract::State<Admin>,
    Query(query): Query<StreamsQuery>,
) -> Response {
    let view = streams::view(&admin.fanout, query.node.as_deref());
    answer::json(&view)
}

#[derive(Debug, Deserialize)]
struct LoadsQuery {
    service: Option<String>,
    node: Option<String>,
}

async fn all_loads(
    extract::State(admin): extract::State<Admin>,
    Query(query): Query<LoadsQuery>,
) -> Response {
    let view = loads::view(&admin.loads, query.service.as_deref(), query.node.as_deref());
    answer::json(&view)
}

#[derive(Debug, Deserialize)]
struct ErrorsQuery {
    service: Option<String>,
}

async fn all_errors(
    extract::State(admin): extract::State<Admin>,
    Query(query): Query<ErrorsQuery>,
) -> Response {
    let view = errors::view(admin.loads.errors(), query.service.as_deref());
    answer::json(&view)
}

/// Requested from the hub: nothing of it is kept ready.
async fn all_sources(extract::State(admin): extract::State<Admin>) -> Response {
    let (reply, answer) = oneshot::channel();
    let order = Order::Describe {
        most: MAX_ENTRIES,
        reply,
    };
    let sent = admin.orders.send(order).await;
    let Some(detail) = answer.await.ok().filter(|_| sent.is_ok()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response();
    };
    let mut view = sources::json(&detail, clock::now());
    view["discovery_port"] = json!({ "note": *admin.certificate.borrow() });
    answer::json(&view)
}

/// The longest body of a request for a plan, bytes.
const PLAN: usize = 4 << 20;

pub(super) const STOPPING: &str = "the bridge is stopping\n";

#[derive(Debug, Deserialize)]
struct AcceptQuery {
    source: String,
}

/// The operator believes what the guard does not.
async fn accept(extract::State(admin): extract::State<Admin>, Query(query): Query<AcceptQuery>) -> Response {
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
async fn forget(extract::State(admin): extract::State<Admin>, Query(query): Query<ForgetQuery>) -> Response {
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
