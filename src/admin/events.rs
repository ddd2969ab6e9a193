//! `/events`: what changed, when, and by whose word. With `wait=`, the answer comes when there is something new.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::wait::patience;
use super::{Admin, answer};
use crate::clock;
use crate::journal::Filter;
use crate::text::parse_duration;

/// Events in one answer.
const MOST: usize = 1_000;
/// Who waits at once.
static PLACES: Semaphore = Semaphore::const_new(32);

/// Which.
#[derive(Debug, Deserialize)]
pub(super) struct EventsQuery {
    service: Option<String>,
    /// The last that is known already.
    after: Option<u64>,
    /// Not older than this, such as `10m`.
    since: Option<String>,
    /// Such as `30s`.
    wait: Option<String>,
}

/// Answers.
pub(super) async fn events(State(admin): State<Admin>, Query(query): Query<EventsQuery>) -> Response {
    let read = || -> Result<_, String> {
        let since = query
            .since
            .as_deref()
            .map(|text| parse_duration(text).map_err(|error| format!("since=`{text}`: {error}")));
        Ok((since.transpose()?, patience(query.wait.as_deref())?))
    };
    let (since, wait) = match read() {
        Ok(read) => read,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    let oldest = |age: Duration| {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        clock::unix_millis().saturating_sub(age)
    };
    let filter = Filter {
        after: query.after,
        since: since.map(oldest),
        service: query.service.as_deref(),
    };
    let mut follow = admin.journal.follow();
    let mut found = admin.journal.events(&filter, MOST);
    if let Some(wait) = wait.filter(|_| found.events.is_empty()) {
        let Ok(_place) = PLACES.try_acquire() else {
            let busy = "32 others wait for events already; ask without wait=\n";
            return (StatusCode::SERVICE_UNAVAILABLE, busy).into_response();
        };
        let deadline = clock::now() + wait;
        while found.events.is_empty() {
            tokio::select! {
                changed = follow.changed() => if changed.is_err() { break },
                () = clock::until(Some(deadline)) => break,
            }
            // What was looked at before does not fit.
            let after = Some(found.newest);
            found = admin.journal.events(&Filter { after, ..filter }, MOST);
        }
    }
    let view = json!({
        "events": found.events,
        "older": found.older,
        "newest": found.newest,
        "start": admin.journal.start(),
    });
    answer::json(&view)
}
