//! `/wait`: is an instance drained, or does it serve, in each client? The answer comes when it is so, or when the time is
//! over; with `Accept: text/event-stream`, what is waited for comes as it changes.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{self, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::over::{Over, over};
use super::verdict::view;
use super::{Admin, STOPPING};
use crate::barrier::{Everywhere, Question, Wanted};
use crate::catalog::find::{Found, Target};
use crate::clock;
use crate::hub::Order;
use crate::model::Health;
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
    /// Where an instance listened that has left since then, and that this bridge may not know any more.
    address: Option<SocketAddr>,
    /// Such as `60s`.
    timeout: Option<String>,
}

/// What is asked for: who, what, and until when.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) target: Target,
    pub(super) wanted: Wanted,
    /// Where it listened, if whoever asks knows that.
    pub(super) address: Option<SocketAddr>,
    pub(super) deadline: tokio::time::Instant,
}

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
        let is_one = matches!(target, Target::Named(_) | Target::Instance { .. });
        if self.address.is_some() && !(is_one && wanted == Wanted::Drained) {
            return Err("address= goes with one instance that is to be drained".to_owned());
        }
        Ok(Asked {
            target,
            wanted,
            address: self
                .address
                .map(|at| SocketAddr::new(at.ip().to_canonical(), at.port())),
            deadline: clock::now() + timeout,
        })
    }
}

impl Asked {
    /// The instance as one that is registered no more: where it listened, clients may still have requests under way.
    fn gone(&self) -> Option<Found> {
        let (service, id) = match &self.target {
            Target::Named(name) => name.split_once('/')?,
            Target::Instance { service, id } => (service.as_str(), id.as_str()),
            Target::Node(_) | Target::Zone(_) => return None,
        };
        Some(Found {
            service: service.into(),
            id: id.into(),
            address: self.address?,
            node: Arc::default(),
            zone: Arc::default(),
            created: 0,
            health: Health::Off,
            last: false,
            others: true,
        })
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
    extract::State(admin): extract::State<Admin>,
    Query(query): Query<WaitQuery>,
    headers: HeaderMap,
) -> Response {
    let asked = match query.read() {
        Ok(asked) => asked,
        Err(reason) => return (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
    };
    let found = match find_soon(&admin, &asked).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    answer(admin, asked, found, &headers).await
}

/// One that is to serve may not be registered yet.
async fn find_soon(admin: &Admin, asked: &Asked) -> Result<Vec<Found>, Response> {
    let mut overview = admin.overview.clone();
    loop {
        overview.mark_unchanged();
        let refused = match find(admin, &asked.target).await {
            Ok(found) => return Ok(found),
            Err(refused) => refused,
        };
        if refused.status() == StatusCode::NOT_FOUND
            && let Some(gone) = asked.gone()
        {
            return unless_registered(admin, gone).await;
        }
        let comes =
            matches!(asked.wanted, Wanted::Serving { .. }) && refused.status() == StatusCode::NOT_FOUND;
        if !comes || clock::now() >= asked.deadline {
            return Err(refused);
        }
        let soon = (clock::now() + Duration::from_millis(200)).min(asked.deadline);
        tokio::select! {
            _ = overview.changed() => {}
            () = clock::until(Some(soon)) => {}
        }
    }
}

/// An instance that is not registered any more, unless somebody who takes requests is registered where it listened: then
/// the name is a wrong one.
async fn unless_registered(admin: &Admin, gone: Found) -> Result<Vec<Found>, Response> {
    let there = find(admin, &Target::Node(gone.address.ip().to_string())).await;
    let there = match there {
        Ok(there) => there,
        Err(refused) if refused.status() == StatusCode::NOT_FOUND => Vec::new(),
        Err(refused) => return Err(refused),
    };
    let other = there
        .iter()
        .find(|one| one.address == gone.address && matches!(one.health, Health::Healthy | Health::Unhealthy));
    let Some(other) = other else {
        return Ok(vec![gone]);
    };
    let reason = format!(
        "`{}/{}` is not registered, and at {} `{}/{}` is, which takes requests: is that the one that is meant?\n",
        gone.service, gone.id, gone.address, other.service, other.id
    );
    Err((StatusCode::CONFLICT, reason).into_response())
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
pub(super) async fn answer(admin: Admin, asked: Asked, found: Vec<Found>, headers: &HeaderMap) -> Response {
    let Ok(place) = PLACES.try_acquire() else {
        let busy = "64 others wait already; try again in a moment\n";
        return (StatusCode::SERVICE_UNAVAILABLE, busy).into_response();
    };
    let streams = headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"));
    if !streams {
        let last = all(&admin, &asked, found, |_| {}).await;
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
    tokio::spawn(report_all(admin, asked, found, reports, place));
    let events = ReceiverStream::new(events).map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// Waits for whoever reads the events; ends with them.
async fn report_all(
    admin: Admin,
    asked: Asked,
    found: Vec<Found>,
    reports: mpsc::Sender<Event>,
    _place: SemaphorePermit<'static>,
) {
    let event = |name: &str, view: &Value| Event::default().event(name).data(view.to_string());
    let waiting = all(&admin, &asked, found, |view| {
        // A reader that is slow misses what was in between.
        let _ = reports.try_send(event("progress", view));
    });
    let last = tokio::select! {
        last = waiting => last,
        () = reports.closed() => return,
    };
    if let Some(last) = last {
        let _ = reports.send(event("end", &last)).await;
    }
}

/// Of these addresses, the instances of other services: whoever is stopped there is stopped for them, too.
async fn beside(admin: &Admin, found: &[Found]) -> Vec<Found> {
    let mut others: Vec<Found> = Vec::new();
    let ips: BTreeSet<_> = found.iter().map(|one| one.address.ip()).collect();
    for ip in ips {
        let there = find(admin, &Target::Node(ip.to_string()))
            .await
            .unwrap_or_default();
        others.extend(there.into_iter().filter(|other| {
            other.health != Health::Off
                && found.iter().any(|one| one.address == other.address)
                && !found.iter().any(|one| one.is(other))
        }));
    }
    others
}

/// Waits for all that are meant, and for those that join them meanwhile, as to a zone. `None`: the bridge is stopping.
async fn all(
    admin: &Admin,
    asked: &Asked,
    found: Vec<Found>,
    report: impl FnMut(&Value) + Send,
) -> Option<Value> {
    let report = Mutex::new(report);
    let mut last = json!({ "result": "done", "instances": [] });
    let mut known: BTreeSet<(Arc<str>, Arc<str>, SocketAddr)> = BTreeSet::new();
    let meant: Vec<(Arc<str>, Arc<str>)> = (found.iter())
        .map(|one| (one.service.clone(), one.id.clone()))
        .collect();
    let mut next = found;
    if asked.wanted == Wanted::Drained {
        let others = beside(admin, &next).await;
        next.extend(others);
    }
    while !next.is_empty() {
        known.extend(
            next.iter()
                .map(|one| (one.service.clone(), one.id.clone(), one.address)),
        );
        let waiting = next
            .into_iter()
            .map(|found| -> BoxFuture<'_, Option<(bool, Value)>> {
                Box::pin(one(admin, asked, found, &report))
            });
        let mut answers = futures::StreamExt::buffered(futures::stream::iter(waiting), AT_ONCE);
        while let Some(answer) = futures::StreamExt::next(&mut answers).await {
            let (is_done, mut view) = answer?;
            let is_meant = meant
                .iter()
                .any(|(service, id)| view["instance"] == format!("{service}/{id}"));
            if !is_meant && !matches!(asked.target, Target::Node(_) | Target::Zone(_)) {
                let text = view["text"].as_str().unwrap_or_default();
                view["text"] = json!(format!("it listens at the same address: {text}"));
            }
            if !is_done {
                last["result"] = view["state"].clone();
            }
            if let Some(instances) = last["instances"].as_array_mut() {
                instances.push(view);
            }
        }
        let is_group = matches!(asked.target, Target::Node(_) | Target::Zone(_));
        next = match find(admin, &asked.target).await {
            Ok(now) if is_group && last["result"] == "done" => now,
            _ => Vec::new(),
        };
        next.retain(|one| !known.contains(&(one.service.clone(), one.id.clone(), one.address)));
    }
    Some(last)
}

/// Waits for one of them.
async fn one(
    admin: &Admin,
    asked: &Asked,
    mut found: Found,
    report: &Mutex<impl FnMut(&Value) + Send>,
) -> Option<(bool, Value)> {
    loop {
        let question = Question {
            service: found.service.clone(),
            id: found.id.clone(),
            address: found.address,
            wanted: asked.wanted,
        };
        let tell = |answer: &Everywhere| {
            let view = described(admin, &found, asked.wanted, answer);
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report(&view);
        };
        let answer = tokio::select! {
            answer = admin.barrier.everywhere(&question, asked.deadline, tell) => answer?,
            moved = moves(admin, &found, asked.wanted) => {
                found = moved;
                continue;
            }
        };
        let view = described(admin, &found, asked.wanted, &answer);
        return Some((answer.is_done(), view));
    }
}

/// One that is to serve may register again at another address, as after a restart: that is the one then.
async fn moves(admin: &Admin, found: &Found, wanted: Wanted) -> Found {
    if wanted == Wanted::Drained {
        return std::future::pending().await;
    }
    let target = Target::Instance {
        service: found.service.to_string(),
        id: found.id.to_string(),
    };
    let mut overview = admin.overview.clone();
    loop {
        overview.mark_unchanged();
        if let Ok(now) = find(admin, &target).await
            && now.iter().all(|one| one.address != found.address)
            && let Some(moved) = now.into_iter().next()
        {
            return moved;
        }
        let soon = clock::now() + Duration::from_millis(500);
        tokio::select! {
            _ = overview.changed() => {}
            () = clock::until(Some(soon)) => {}
        }
    }
}

/// The answer about one, and what else there is to know of it.
fn described(admin: &Admin, found: &Found, wanted: Wanted, answer: &Everywhere) -> Value {
    let mut view = view(found, wanted, answer);
    if admin.state.off().is_some() {
        view["scope"] = json!("this bridge alone: shared state is off");
    }
    let is_to_serve = matches!(wanted, Wanted::Serving { .. });
    if is_to_serve
        && view["health"] == "draining"
        && let Some(order) = admin
            .state
            .drains()
            .keys()
            .find_map(|drained| over(drained, found))
    {
        let text = view["text"].as_str().unwrap_or_default();
        let Over { what, ends } = order;
        let by = format!("not healthy ({what} is drained by command, which `{ends}` ends)");
        view["text"] = json!(text.replacen("not healthy", &by, 1));
    }
    view
}
