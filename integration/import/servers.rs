//! Servers that answer with the request as they get it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Servers that answer with what they see, by their labels in the cases.
pub(super) struct Servers {
    all: Vec<(String, SocketAddr, JoinHandle<()>)>,
    /// What `/health` is answered with, by label.
    pub(super) health: Arc<Mutex<BTreeMap<String, u16>>>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for (_, _, task) in &self.all {
            task.abort();
        }
    }
}

impl Servers {
    pub(super) async fn start() -> Self {
        let mut all = Vec::new();
        let health: Arc<Mutex<BTreeMap<String, u16>>> = Arc::default();
        for n in 1..=6 {
            let label = format!("p{n}");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("its address");
            let name: Arc<str> = label.as_str().into();
            let statuses = health.clone();
            let answer = move |request: Request| {
                let seen = seen(&name, &request);
                let asked = request.uri().path().starts_with("/health");
                let status = statuses
                    .lock()
                    .expect("a lock")
                    .get(&*name)
                    .copied()
                    .filter(|_| asked);
                let status = StatusCode::from_u16(status.unwrap_or(200)).expect("a status");
                async move {
                    (
                        status,
                        [("content-type", "application/json"), ("x-from", "server")],
                        seen,
                    )
                        .into_response()
                }
            };
            let task = tokio::spawn(async move {
                axum::serve(listener, Router::new().fallback(answer))
                    .await
                    .expect("a server");
            });
            all.push((label, address, task));
        }
        Self { all, health }
    }

    pub(super) fn port(&self, label: &str) -> u16 {
        let found = self.all.iter().find(|(name, _, _)| name == label);
        found.expect("a label from p1 to p6").1.port()
    }

    /// With `@p1@` replaced.
    pub(super) fn placed(&self, text: &str) -> String {
        let replaced = |text: String, (label, address, _): &(String, SocketAddr, JoinHandle<()>)| {
            text.replace(&format!("@{label}@"), &address.port().to_string())
        };
        self.all.iter().fold(text.to_owned(), replaced)
    }
}

/// The request as a server gets it. A header that comes more than once is one with commas.
fn seen(label: &str, request: &Request) -> String {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in request.headers() {
        let value = value.to_str().unwrap_or("?");
        let all = headers.entry(name.to_string()).or_default();
        *all = if all.is_empty() {
            value.to_owned()
        } else {
            format!("{all}, {value}")
        };
    }
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    json!({ "label": label, "path": path, "headers": headers }).to_string()
}
