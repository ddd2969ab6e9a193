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
use crate::rollout::Order;
use crate::state::StateError;
use crate::text::clip_to;

pub(super) use events::events;

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
        Ok(true) => view::list_text(&admin.rollouts).into_response(),
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
        Ok(true) => view::one_text(&admin.rollouts, &admin.loads, &service, &seen).into_response(),
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
        Ok(true) => view::history_text(&service, &seen).into_response(),
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
        "pause" => Order::Pause { why },
        "resume" => Order::Resume,
        "promote" => Order::Promote { all: query.all },
        "abort" => Order::Abort { why },
        "retry" => Order::Retry { version },
        _ => {
            let reason = format!(
                "`{}` is no order: start, pause, resume, promote, abort or retry",
                clip_to(&verb, TEXT)
            );
            return bad(StatusCode::NOT_FOUND, &reason);
        }
    };
    let by = by(query.by.as_deref());
    let service: Arc<str> = service.into();
    match admin.rollouts.order(&service, &order, query.dry_run, &by).await {
        Ok(record) => {
            tracing::warn!(%service, order = verb, by, "an operator's order for a rollout");
            format!("{service}: {}\n", view::line(&record)).into_response()
        }
        Err(refused) => bad(status(&refused), &refused.to_string()),
    }
}

/// The number of what is stored.
pub(super) async fn data(extract::State(admin): extract::State<Admin>, Path(name): Path<String>) -> Response {
    match admin.rollouts.data().get(name.as_str()) {
        Some(data) => format!(
            "{name}: {} (by {}, {})\n",
            data.number,
            data.by,
            view::ago(data.since)
        )
        .into_response(),
        None => bad(
            StatusCode::NOT_FOUND,
            &format!("nobody has said which schema the data of `{name}` have: xds-bridge data {name} NUMBER"),
        ),
    }
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
        Refused::Busy(_) | Refused::State(StateError::Store(_) | StateError::Full) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// A service that is rolled out, and whose record this bridge can read.
fn seen(rollouts: &Desk, service: &str) -> Result<Sight, Box<Response>> {
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
