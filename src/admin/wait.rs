//! `/wait`: is an instance drained, or does it serve, in each client? The answer comes when it is so, or when the time is
//! over; with `Accept: text/event-stream`, what is waited for comes as it changes.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::verdict::view;
use super::{Admin, STOPPING};
use crate::barrier::{Everywhere, Question, Wanted};
use crate::catalog::find::{Found, Target};
use crate::clock;
use crate::hub::Order;
use crate::text::{parse_duration, show_duration};

/// Instances of a node or zone that are waited for at once.
const AT_ONCE: usize = 64;
/// The longest wait: below what a connection to this port may take. Who wants to wait longer asks again.
const LONGEST: Duration = Duration::from_secs(240);
/// Without `timeout`.
const DEFAULT: Duration = Duration::from_secs(60);
/// Waits at once.
static PLACES: Semaphore = Semaphore::const_new(64);

/// Who is waited for.
#[derive(Debug, Deserialize)]
pub(super) struct WaitQuery {
    /// `SERVICE/ID`, to be drained.
    drained: Option<String>,
    /// `SERVICE/ID`, to serve.
    serving: Option<String>,
    /// `SERVICE/ID`, beside `until`, as the following.
    name: Option<String>,
    /// With `instance`: for names with slashes.
    service: Option<String>,
    instance: Option<String>,
    /// All instances of a node.
    node: Option<String>,
    /// All instances of a zone.
    zone: Option<String>,
    /// `drained` or `serving`.
    until: Option<String>,
    /// This number of clients at least.
    clients: Option<usize>,
    /// Such as `60s`.
    timeout: Option<String>,
}

/// What is asked for: who, what, and for how long.
type Asked = (Target, Wanted, Duration);

impl WaitQuery {
    fn read(self) -> Result<Asked, String> {
        let timeout = patience(self.timeout.as_deref())?.unwrap_or(DEFAULT);
        let serving = Wanted::Serving {
            clients: self.clients.unwrap_or(0),
        };
        let until = match self.until.as_deref() {
            None => None,
            Some("drained") => Some(Wanted::Drained),
            Some("serving") => Some(serving),
            Some(_) => return Err("until: drained or serving".to_owned()),
        };
        let target = match (self.name, self.service.zip(self.instance), self.node, self.zone) {
            (Some(name), None, None, None) => Some(Target::Named(name)),
            (None, Some((service, id)), None, None) => Some(Target::Instance { service, id }),
            (None, None, Some(node), None) => Some(Target::Node(node)),
            (None, None, None, Some(zone)) => Some(Target::Zone(zone)),
            _ => None,
        };
        let (target, wanted) = match (self.drained, self.serving, target, until) {
            (Some(name), None, None, None) => (Target::Named(name), Wanted::Drained),
            (None, Some(name), None, None) => (Target::Named(name), serving),
            (None, None, Some(target), Some(wanted)) => (target, wanted),
            _ => {
                return Err(
                    "say drained=SERVICE/ID, serving=SERVICE/ID, or until= and one of name=, service= with \
                     instance=, node= and zone="
                        .to_owned(),
                );
            }
        };
        Ok((target, wanted, timeout))
    }
}

/// How long somebody wants to wait.
pub(super) fn patience(text: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    let patience = parse_duration(text).map_err(|error| format!("`{text}`: {error}"))?;
    if patience > LONGEST {
        let longest = show_duration(LONGEST);
        return Err(format!("`{text}`: at most {longest}; ask again after that"));
    }
    Ok(Some(patience))
}

pub(super) async fn wait(
    State(admin): State<Admin>,
    Query(query): Query<WaitQuery>,
    headers: HeaderMap,
) -> Response {
    let asked = match query.read() {
        Ok(asked) => asked,
        Err(reason) => return (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
    };
    let (target, wanted, timeout) = asked;
    let deadline = clock::now() + timeout;
    let found = match find_soon(&admin, &target, wanted, deadline).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    answer(admin, found, wanted, deadline, &headers).await
}

/// One that is to serve may not be registered yet.
async fn find_soon(
    admin: &Admin,
    target: &Target,
    wanted: Wanted,
    deadline: tokio::time::Instant,
) -> Result<Vec<Found>, Response> {
    let mut overview = admin.overview.clone();
    loop {
        overview.mark_unchanged();
        let refused = match find(admin, target).await {
            Ok(found) => return Ok(found),
            Err(refused) => refused,
        };
        let comes = matches!(wanted, Wanted::Serving { .. }) && refused.status() == StatusCode::NOT_FOUND;
        if !comes || clock::now() >= deadline {
            return Err(refused);
        }
        let soon = (clock::now() + Duration::from_millis(200)).min(deadline);
        tokio::select! {
            _ = overview.changed() => {}
            () = clock::until(Some(soon)) => {}
        }
    }
}

/// The instances that are meant.
pub(super) async fn find(admin: &Admin, target: &Target) -> Result<Vec<Found>, Response> {
    if !admin.overview.borrow().ready {
        let reason = "not all sources have delivered yet; try again in a moment\n";
        return Err((StatusCode::SERVICE_UNAVAILABLE, reason).into_response());
    }
    let (reply, answer) = oneshot::channel();
    let target = target.clone();
    let sent = admin.orders.send(Order::Find { target, reply }).await;
    match answer.await {
        Ok(Ok(found)) if sent.is_ok() => Ok(found),
        Ok(Err(not_found)) => Err((StatusCode::NOT_FOUND, format!("{not_found}\n")).into_response()),
        _ => Err((StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response()),
    }
}

/// Waits for all of them; with events where that is asked for.
pub(super) async fn answer(
    admin: Admin,
    found: Vec<Found>,
    wanted: Wanted,
    deadline: tokio::time::Instant,
    headers: &HeaderMap,
) -> Response {
    let Ok(place) = PLACES.try_acquire() else {
        let busy = "64 others wait already; try again in a moment\n";
        return (StatusCode::SERVICE_UNAVAILABLE, busy).into_response();
    };
    let streams = headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"));
    if !streams {
        let last = all(&admin, &found, wanted, deadline, |_, _| {}).await;
        drop(place);
        let Some(view) = last else {
            return (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response();
        };
        let status = if view["result"] == "done" {
            StatusCode::OK
        } else {
            StatusCode::GATEWAY_TIMEOUT
        };
        let json = [(header::CONTENT_TYPE, "application/json")];
        return (status, json, format!("{view:#}\n")).into_response();
    }
    let (reports, events) = mpsc::channel(16);
    tokio::spawn(report_all(admin, found, wanted, deadline, reports, place));
    let events = ReceiverStream::new(events).map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// Waits for whoever reads the events; ends with them.
async fn report_all(
    admin: Admin,
    found: Vec<Found>,
    wanted: Wanted,
    deadline: tokio::time::Instant,
    reports: mpsc::Sender<Event>,
    _place: SemaphorePermit<'static>,
) {
    let event = |name: &str, view: &Value| Event::default().event(name).data(view.to_string());
    let waiting = all(&admin, &found, wanted, deadline, |found, answer| {
        // A reader that is slow misses what was in between.
        let _ = reports.try_send(event("progress", &view(found, wanted, answer)));
    });
    let last = tokio::select! {
        last = waiting => last,
        () = reports.closed() => return,
    };
    if let Some(last) = last {
        let _ = reports.send(event("end", &last)).await;
    }
}

/// Waits for all of them at once. `None`: the bridge is stopping.
async fn all(
    admin: &Admin,
    found: &[Found],
    wanted: Wanted,
    deadline: tokio::time::Instant,
    report: impl FnMut(&Found, &Everywhere) + Send,
) -> Option<Value> {
    let report = Mutex::new(report);
    let mut waiting: Vec<BoxFuture<'_, Option<(bool, Value)>>> = Vec::new();
    for one in found {
        let report = &report;
        waiting.push(Box::pin(async move {
            let question = Question {
                service: one.service.clone(),
                id: one.id.clone(),
                address: one.address,
                wanted,
            };
            let tell = |answer: &Everywhere| {
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                report(one, answer);
            };
            let answer = admin.barrier.everywhere(&question, deadline, tell).await?;
            let mut view = view(one, wanted, &answer);
            if admin.state.off().is_some() {
                view["scope"] = json!("this bridge alone: shared state is off");
            }
            Some((answer.is_done(), view))
        }));
    }
    let mut answers = futures::StreamExt::buffered(futures::stream::iter(waiting), AT_ONCE);
    let mut last = json!({ "result": "done", "instances": [] });
    while let Some(answer) = futures::StreamExt::next(&mut answers).await {
        let (is_done, view) = answer?;
        if !is_done {
            last["result"] = view["state"].clone();
        }
        if let Some(instances) = last["instances"].as_array_mut() {
            instances.push(view);
        }
    }
    Some(last)
}
