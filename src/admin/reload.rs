//! `/reload`: the configuration is read again, as on SIGHUP. The answer says what differs and what takes a restart, or what is
//! wrong with the file, which changes nothing then.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{Admin, STOPPING, answer};

/// A source that is new delivers before one that goes is forgotten; below what the commands wait for an answer.
const PATIENCE: Duration = Duration::from_secs(25);

/// What a reload did, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What is in force now.
    pub now: Vec<String>,
    /// Sections that take a restart.
    pub with_restart: Vec<String>,
}

/// Somebody asks for it: what it did, or what is wrong with the file.
pub type Reload = oneshot::Sender<Result<Reloaded, String>>;

pub(super) async fn reload(State(admin): State<Admin>) -> Response {
    let (reply, answered) = oneshot::channel();
    let ask = |reloads: mpsc::Sender<Reload>| async move { reloads.send(reply).await.is_ok() };
    if !ask(admin.reloads).await {
        return (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response();
    }
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(Ok(done))) => answer::json(&json!({ "changed": done.now, "needs_restart": done.with_restart })),
        Ok(Ok(Err(mistakes))) => {
            let text = format!("{mistakes}\nthe configuration in force stays: the new one has mistakes");
            answer::bad(StatusCode::UNPROCESSABLE_ENTITY, &text)
        }
        Ok(Err(_)) => (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response(),
        Err(_) => {
            let text =
                "it is being applied: a source that is new has not delivered yet; see the log and /readyz";
            answer::bad(StatusCode::ACCEPTED, text)
        }
    }
}
