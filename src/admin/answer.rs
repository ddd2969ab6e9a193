//! Answers of the port in their two forms: JSON, and a sentence that says what is wrong.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// For programs, and for people who look at it.
pub(super) fn json(view: &Value) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, format!("{view:#}\n")).into_response()
}

/// What is wrong, in a sentence without an end of line.
pub(super) fn bad(status: StatusCode, reason: &str) -> Response {
    (status, format!("{reason}\n")).into_response()
}
