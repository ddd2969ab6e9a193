//! `/rollouts/SERVICE/events`: what happens to a service, as events of the server, those of lately first.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, SemaphorePermit, broadcast, mpsc};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::Admin;
use crate::clock;
use crate::pilot::Notice;

/// Readers at once.
static PLACES: Semaphore = Semaphore::const_new(32);
/// Below what a connection to this port may take; a reader asks again after that.
const LONGEST: Duration = Duration::from_secs(240);
/// With which a reader that asks again names the last event that it has.
const LAST: &str = "last-event-id";

pub(in crate::admin) async fn events(
    State(admin): State<Admin>,
    Path(service): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Ok(place) = PLACES.try_acquire() else {
        let busy = "32 others read events already; try again in a moment\n";
        return (StatusCode::SERVICE_UNAVAILABLE, busy).into_response();
    };
    let last = headers
        .get(LAST)
        .and_then(|last| last.to_str().ok()?.parse().ok());
    // First, so that nothing is missed in between.
    let notices = admin.rollouts.notices();
    let past = admin.rollouts.past();
    let (sender, events) = mpsc::channel(16);
    tokio::spawn(copy(
        service.into(),
        last.unwrap_or(0),
        past,
        notices,
        sender,
        place,
    ));
    let events = ReceiverStream::new(events).map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// Ends with its reader.
async fn copy(
    service: Arc<str>,
    mut last: u64,
    past: Vec<Arc<Notice>>,
    mut notices: broadcast::Receiver<Arc<Notice>>,
    sender: mpsc::Sender<Event>,
    _place: SemaphorePermit<'static>,
) {
    let mut past = past.into_iter();
    let end = clock::now() + LONGEST;
    loop {
        let notice = match past.next() {
            Some(notice) => notice,
            None => tokio::select! {
                notice = notices.recv() => match notice {
                    Ok(notice) => notice,
                    Err(RecvError::Lagged(missed)) => {
                        let missed = Event::default().event("missed").data(missed.to_string());
                        if sender.send(missed).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    Err(RecvError::Closed) => return,
                },
                () = sender.closed() => return,
                () = clock::until(Some(end)) => return,
            },
        };
        if notice.number <= last || notice.service != service {
            continue;
        }
        last = notice.number;
        // What is made of strings and numbers cannot fail to be JSON.
        let data = serde_json::to_string(&*notice).unwrap_or_default();
        let event = Event::default()
            .event("rollout")
            .id(notice.number.to_string())
            .data(data);
        if sender.send(event).await.is_err() {
            return;
        }
    }
}
