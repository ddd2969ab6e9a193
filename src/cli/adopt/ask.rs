//! One request to an Envoy on loopback, and its answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::echo::{SEEN, joined};
use crate::adopt::probe::{Answer, Probe};

/// Nothing on loopback takes longer.
const DEADLINE: Duration = Duration::from_secs(20);
/// The longest body that is compared, bytes.
const MAX_BODY: usize = 65_536;
/// Headers that differ from one request to the next.
const OF_CHANCE: [&str; 5] = [
    "date",
    "x-envoy-upstream-service-time",
    "header x-request-id",
    "content-length",
    SEEN,
];

/// Sends a request there.
pub(super) async fn ask(at: SocketAddr, probe: &Probe) -> Result<Answer, String> {
    let exchange = exchange(at, probe);
    let answer = tokio::time::timeout(DEADLINE, exchange).await;
    answer.map_err(|_| format!("no answer in {DEADLINE:?}"))?
}

async fn exchange(at: SocketAddr, probe: &Probe) -> Result<Answer, String> {
    let show = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(at).await.map_err(|e| show(&e))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| show(&e))?;
    let driver = tokio::spawn(connection.with_upgrades());
    let mut headers = HeaderMap::new();
    headers.insert("host", probe.host.parse().map_err(|_| "no host".to_owned())?);
    for (name, value) in &probe.headers {
        let name: HeaderName = name.parse().map_err(|_| format!("no header {name}"))?;
        let value: HeaderValue = value.parse().map_err(|_| format!("no value of {name}"))?;
        headers.append(name, value);
    }
    let mut request = http::Request::builder()
        .method(probe.method.as_str())
        .uri(&probe.path)
        .body(Empty::<Bytes>::new())
        .map_err(|e| show(&e))?;
    *request.headers_mut() = headers;
    let response = sender.send_request(request).await.map_err(|e| show(&e))?;
    let (head, body) = response.into_parts();
    let mut answer = Answer {
        status: head.status.as_u16(),
        headers: joined(&head.headers),
        ..Answer::default()
    };
    if let Some(seen) = head.headers.get(SEEN) {
        let seen: BTreeMap<String, String> = serde_json::from_slice(seen.as_bytes()).map_err(|e| show(&e))?;
        answer.cluster = seen.get("cluster").cloned();
        answer.seen = seen;
        answer.seen.remove("cluster");
    } else {
        let body = Limited::new(body, MAX_BODY)
            .collect()
            .await
            .map_err(|e| e.to_string())?;
        answer.body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    }
    driver.abort();
    for name in OF_CHANCE {
        answer.headers.remove(name);
        answer.seen.remove(name);
    }
    Ok(answer)
}
