//! Servers that answer each request with what they saw of it, by HTTP/1 and HTTP/2.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

/// The header in which a server says what it saw.
pub(super) const SEEN: &str = "x-adopt-seen";

/// Starts the server of a cluster, until the runtime ends.
pub(super) async fn start(cluster: String) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, cluster.clone()));
        }
    });
    Ok(address)
}

async fn serve(stream: TcpStream, cluster: String) {
    let mut first = [0; 4];
    // What HTTP/2 begins with.
    let http2 = matches!(stream.peek(&mut first).await, Ok(4)) && first == *b"PRI ";
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(&cluster, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let io = TokioIo::new(stream);
    let ended = if http2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.serve_connection(io, service).await
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        builder.serve_connection(io, service).with_upgrades().await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to an echo server ended");
    }
}

fn answer(cluster: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let headers = request.headers();
    let host = headers.get("host").and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let mut seen = BTreeMap::from([
        ("cluster".to_owned(), cluster.to_owned()),
        ("method".to_owned(), request.method().to_string()),
        ("path".to_owned(), path.to_owned()),
        ("host".to_owned(), host.unwrap_or_default().to_owned()),
    ]);
    seen.extend(
        joined(headers)
            .into_iter()
            .map(|(name, value)| (format!("header {name}"), value)),
    );
    let mut response = Response::new(Full::new(Bytes::new()));
    if headers.contains_key("upgrade") {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket")] {
            response
                .headers_mut()
                .insert(name, http::HeaderValue::from_static(value));
        }
    }
    let seen = serde_json::to_string(&seen).unwrap_or_default();
    if let Ok(seen) = seen.parse() {
        response.headers_mut().insert(SEEN, seen);
    }
    response
}

/// Headers by name, those of one name in the order in which they came.
pub(super) fn joined(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        all.entry(name.to_string())
            .and_modify(|others| others.extend([", ", &value]))
            .or_insert_with(|| value.to_string());
    }
    all
}
