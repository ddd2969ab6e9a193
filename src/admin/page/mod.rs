//! The page for people: static files in the binary, which ask the API of this port for everything.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

const INDEX: &str = include_str!("index.html");
const FILES: [(&str, &str, &str); 3] = [
    ("app.js", "text/javascript; charset=utf-8", include_str!("app.js")),
    (
        "views.js",
        "text/javascript; charset=utf-8",
        include_str!("views.js"),
    ),
    ("style.css", "text/css; charset=utf-8", include_str!("style.css")),
];

/// Nothing is fetched from elsewhere, and no other page may show this one in a frame.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A browser asks for HTML, a program does not.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// The page.
pub(super) fn index() -> Response {
    answered("text/html; charset=utf-8", INDEX)
}

/// What it consists of.
pub(super) async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => answered(kind, text),
        None => (StatusCode::NOT_FOUND, "the page has no such file\n").into_response(),
    }
}

fn answered(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The next version of the program has other files.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
