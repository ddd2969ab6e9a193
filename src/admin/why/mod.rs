//! `/why`: why a service or an instance is served as it is, and what becomes of a request. In words, or as JSON.

mod clients;
mod fleets;
mod holders;
mod instances;
mod request;
mod service;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use super::Admin;
use super::answer::json;

/// What is asked.
#[derive(Debug, Deserialize)]
pub(super) struct WhyQuery {
    service: Option<String>,
    instance: Option<String>,
    request: Option<String>,
    client: Option<String>,
    #[serde(default)]
    json: bool,
}

/// An answer, both ways.
#[derive(Debug)]
struct Answer {
    words: String,
    json: Value,
}

/// Why there is none.
#[derive(Debug)]
enum Unanswered {
    /// What is asked for is unknown.
    Unknown(String),
    /// It is not asked rightly.
    Wrong(String),
    /// Not now.
    NotNow(&'static str),
}

const HOW: &str = "ask /why?service=NAME[&instance=ID] or /why?request=GET%20https://api.example.com/orders[&client=NODE]\n";

/// Answers.
pub(super) async fn why(State(admin): State<Admin>, Query(query): Query<WhyQuery>) -> Response {
    let answer = match (&query.service, &query.request) {
        (Some(name), None) => service::why(&admin, name, query.instance.as_deref()).await,
        (None, Some(text)) => request::why(&admin, text, query.client.as_deref()).await,
        _ => return (StatusCode::BAD_REQUEST, HOW).into_response(),
    };
    match answer {
        Ok(answer) if query.json => json(&answer.json),
        Ok(answer) => answer.words.into_response(),
        Err(Unanswered::Unknown(why)) => (StatusCode::NOT_FOUND, why).into_response(),
        Err(Unanswered::Wrong(why)) => (StatusCode::BAD_REQUEST, why).into_response(),
        Err(Unanswered::NotNow(why)) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}
