//! `/rollouts` and `/data`: what is rolled out, how it stands, what a person decides of it, and what happens, as events.

mod events;
mod view;

use std::sync::Arc;

use axum::extract::{self, Path, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::answer::bad;
use super::{Admin, answer};
use crate::pilot::{Desk, Refused, Sight};
use crate::rollout::{Order, Person};
use crate::state::StateError;
use crate::text::{clip_to, on_lines};
use crate::xds::Kind;

pub(super) use events::events;

/// Names that may have been meant.
const NEAR: usize = 3;
/// How like the name they are at least; 1: the same.
const LIKE: f64 = 0.84;
/// Characters of who gives an order, and of why.
const TEXT: usize = 200;

/// How the answer is to look.
#[derive(Debug, Deserialize)]
pub(super) struct Format {
    /// `json` (the default) or `text`
    format: Option<String>,
}

/// What an order needs beside its verb.
#[derive(Debug, Default, Deserialize)]
pub(super) struct OrderQuery {
    version: Option<String>,
    #[serde(default, rename = "dry-run")]
    dry_run: bool,
    #[serde(default)]
    all: bool,
    reason: Option<String>,
    by: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DataQuery {
    number: u32,
    by: Option<String>,
    #[serde(default)]
    force: bool,
}

/// All of them.
pub(super) async fn list(
    extract::State(admin): extract::State<Admin>,
    Query(query): Query<Format>,
) -> Response {
    match is_text(&query) {
        Ok(true) => on_lines(&view::list_text(&admin.rollouts)).into_response(),
        Ok(false) => answer::json(&view::list(&admin.rollouts)),
        Err(reason) => bad(StatusCode::BAD_REQUEST, reason),
    }
}

/// One.
pub(super) async fn show(
    extract::State(admin): extract::State<Admin>,
    Path(service): Path<String>,
    Query(query): Query<Format>,
) -> Response {
    let seen = match seen(&admin.rollouts, &service) {
        Ok(seen) => seen,
        Err(answer) => return *answer,
    };
    let service: Arc<str> = service.into();
    match is_text(&query) {
        Ok(true) => on_lines(&view::one_text(&admin.rollouts, &admin.loads, &service, &seen)).into_response(),
        Ok(false) => answer::json(&view::one(&admin.rollouts, &admin.loads, &service, &seen)),
        Err(reason) => bad(StatusCode::BAD_REQUEST, reason),
    }
}

/// What happened to one.
pub(super) async fn history(
    extract::State(admin): extract::State<Admin>,
    Path(service): Path<String>,
    Query(query): Query<Format>,
) -> Response {
    let seen = match seen(&admin.rollouts, &service) {
        Ok(seen) => seen,
        Err(answer) => return *answer,
    };
    match is_text(&query) {
        Ok(true) => on_lines(&view::history_text(&service, &seen)).into_response(),
        Ok(false) => answer::json(&json!({ "service": service, "history": seen.record.history })),
        Err(reason) => bad(StatusCode::BAD_REQUEST, reason),
    }
}

/// An order of a person.
pub(super) async fn order(
    extract::State(admin): extract::State<Admin>,
    Path((service, verb)): Path<(String, String)>,
    Query(query): Query<OrderQuery>,
) -> Response {
    let version = query.version.filter(|version| !version.is_empty()).map(Arc::from);
    let why = clip_to(query.reason.as_deref().unwrap_or_default(), TEXT);
    let order = match verb.as_str() {
        "start" => Order::Start { version },
        "pause" => Order::Pause,
        "resume" => Order::Resume,
        "promote" => Order::Promote { all: query.all },
        "abort" => Order::Abort,
        "retry" => Order::Retry { version },
        _ => {
            let reason = format!(
                "`{}` is no order: start, pause, resume, promote, abort or retry",
                clip_to(&verb, TEXT)
            );
            return bad(StatusCode::NOT_FOUND, &reason);
        }
    };
    let who = by(query.by.as_deref());
    let service: Arc<str> = service.into();
    let by = Person { who, why };
    match admin
        .rollouts
        .order(&service, &order, query.dry_run, by.clone())
        .await
    {
        Ok(carried) => {
            tracing::warn!(%service, order = verb, by = by.who, why = by.why, "an operator's order for a rollout");
            let said = carried.said.iter().map(|said| format!("  {said}\n"));
            let line = view::line(&carried.record);
            on_lines(&format!("{service}: {line}\n{}", said.collect::<String>())).into_response()
        }
        Err(refused) => bad(status(&refused), &refused.to_string()),
    }
}

/// The number of what is stored.
pub(super) async fn data(extract::State(admin): extract::State<Admin>, Path(name): Path<String>) -> Response {
    let stored = admin.rollouts.data();
    if let Some(data) = stored.get(name.as_str()) {
        let (number, since) = (data.number, view::ago(data.since));
        return on_lines(&format!("{name}: {number} (by {}, {since})\n", data.by)).into_response();
    }
    if let Err(refused) = admin.rollouts.is_current() {
        return bad(status(&refused), &refused.to_string());
    }
    if admin.rollouts.is_known(&name.as_str().into()).await {
        let text = format!(
            "{name}: no number is stored, so every version gets requests; say it by `xds-bridge data {name} NUMBER`\n"
        );
        return on_lines(&text).into_response();
    }
    let generation = admin.fanout.current();
    let clusters = generation
        .iter()
        .flat_map(|generation| generation.all(Kind::Cluster));
    // The clusters of versions are called `SERVICE@VERSION`.
    let services = clusters.map(|(_, cluster)| cluster.name.split('@').next().unwrap_or_default());
    let reason = format!(
        "no service is called `{}`, and no number is stored under this name{}",
        clip_to(&name, TEXT),
        near(&name, services.chain(stored.keys().map(|other| &**other)))
    );
    bad(StatusCode::NOT_FOUND, &reason)
}

/// Says it.
pub(super) async fn set_data(
    extract::State(admin): extract::State<Admin>,
    Path(name): Path<String>,
    Query(query): Query<DataQuery>,
) -> Response {
    let (name, by): (Arc<str>, String) = (name.into(), by(query.by.as_deref()));
    match admin
        .rollouts
        .set_data(&name, query.number, &by, query.force)
        .await
    {
        Ok(true) => format!("{name}: {}\n", query.number).into_response(),
        Ok(false) => {
            let note = "no service is registered under this name now; it holds for one that comes";
            format!("{name}: {} ({note})\n", query.number).into_response()
        }
        Err(refused) => bad(status(&refused), &refused.to_string()),
    }
}

/// `; did you mean …?`, where a name is like this one.
fn near<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> String {
    let like = |other: &&str| strsim::jaro_winkler(other, name) >= LIKE;
    let mut all: Vec<&str> = others.filter(like).collect();
    all.sort_by(|a, b| {
        let distance = |other| strsim::osa_distance(other, name);
        (distance(a), a).cmp(&(distance(b), b))
    });
    all.dedup();
    all.truncate(NEAR);
    if all.is_empty() {
        return String::new();
    }
    let all: Vec<String> = all
        .iter()
        .map(|name| format!("`{}`", clip_to(name, TEXT)))
        .collect();
    format!("; did you mean {}?", all.join(" or "))
}

/// Who it is; nobody is unnamed.
fn by(text: Option<&str>) -> String {
    let text = text.filter(|text| !text.is_empty());
    clip_to(text.unwrap_or("somebody"), TEXT)
}

fn is_text(query: &Format) -> Result<bool, &'static str> {
    match query.format.as_deref() {
        None | Some("json") => Ok(false),
        Some("text") => Ok(true),
        Some(_) => Err("format: json or text"),
    }
}

const fn status(refused: &Refused) -> StatusCode {
    match refused {
        Refused::Unknown(_) => StatusCode::NOT_FOUND,
        Refused::Disabled
        | Refused::Not(_)
        | Refused::State(StateError::Off(_) | StateError::Unreadable(_)) => StatusCode::CONFLICT,
        Refused::Busy(_) | Refused::Away(_) | Refused::State(StateError::Store(_) | StateError::Full) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// One that is rolled out, where anything is, and whose record this bridge can read.
fn seen(rollouts: &Desk, service: &str) -> Result<Sight, Box<Response>> {
    if let Some(refused) = rollouts.off() {
        return Err(Box::new(bad(status(&refused), &refused.to_string())));
    }
    if let Some(unreadable) = rollouts.unreadable(service) {
        let refused = Refused::State(StateError::Unreadable(unreadable));
        return Err(Box::new(bad(status(&refused), &refused.to_string())));
    }
    rollouts.one(service).ok_or_else(|| Box::new(unknown(service)))
}

fn unknown(service: &str) -> Response {
    let reason = format!(
        "`{}` is not rolled out; a service is with rollout = auto, or after `xds-bridge rollout start SERVICE`",
        clip_to(service, TEXT)
    );
    bad(StatusCode::NOT_FOUND, &reason)
}
