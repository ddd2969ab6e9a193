//! The client of the admin port: one request to a running bridge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::admin::ORDER_HEADER;
use crate::config::Admin;

/// Deadline for the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody listens.
    #[error("no bridge answers on {address} (is it running? `admin.listen` in bridge.toml says where)")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// It broke off.
    #[error("the bridge on {address} broke off")]
    Broken {
        /// Where.
        address: SocketAddr,
        /// How.
        source: hyper::Error,
    },
    /// The path is not valid in a request.
    #[error("{0} cannot be requested")]
    Path(String, #[source] http::Error),
    /// It took too long.
    #[error("the bridge on {0} did not answer in time")]
    Late(SocketAddr),
    /// It stopped answering.
    #[error("the bridge on {0} stopped before it was finished")]
    Stopped(SocketAddr),
    /// There is no token to show.
    #[error("reading admin.token_file {}", file.display())]
    Token {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It refused.
    #[error("the bridge on {address} answered {status}: {text}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// HTTP status.
        status: http::StatusCode,
        /// Its reason.
        text: String,
    },
}

/// The body of the response to a request for this path.
pub(super) async fn request(
    method: http::Method,
    admin: &Admin,
    path: &str,
    body: String,
) -> Result<Bytes, ClientError> {
    let address = reachable(admin.listen);
    tokio::time::timeout(TIMEOUT, exchange(method, address, admin, path, body))
        .await
        .map_err(|_| ClientError::Late(address))?
}

impl ClientError {
    /// Whether the same request may succeed later, as when the bridge restarts.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } | Self::Late(_) | Self::Stopped(_) => true,
            Self::Refused { status, .. } => *status == http::StatusCode::SERVICE_UNAVAILABLE,
            Self::Path(..) | Self::Token { .. } => false,
        }
    }
}

/// Follows the events of a response until `take` (an event's name and data) returns something. `patience`: how long
/// that may take by the request itself.
pub(super) async fn follow<T>(
    admin: &Admin,
    path: &str,
    patience: Duration,
    mut take: impl FnMut(&str, &str) -> Option<T>,
) -> Result<T, ClientError> {
    let address = reachable(admin.listen);
    let request = authorized(head(http::Method::GET, address, path), admin)?
        .header(http::header::ACCEPT, "text/event-stream")
        .body(Full::default())
        .map_err(|source| ClientError::Path(path.to_owned(), source))?;
    let mut found = None;
    let reading = send(address, request, async |response| {
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            return Ok((status, body.collect().await?.to_bytes()));
        }
        let mut events = Events::default();
        while let (None, Some(frame)) = (&found, body.frame().await) {
            if let Ok(data) = frame?.into_data() {
                found = events.read(&data, &mut take);
            }
        }
        Ok((status, Bytes::new()))
    });
    match tokio::time::timeout(patience + TIMEOUT, reading).await {
        Err(_) => Err(ClientError::Late(address)),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) => found.ok_or(ClientError::Stopped(address)),
    }
}

/// The longest line of an event; what is longer is cut.
const LINE: usize = 1 << 20;

/// Events of the server, read as they come.
#[derive(Debug, Default)]
struct Events {
    line: Vec<u8>,
    name: String,
    data: String,
}

impl Events {
    fn read<T>(&mut self, bytes: &[u8], take: &mut impl FnMut(&str, &str) -> Option<T>) -> Option<T> {
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() < LINE {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.line)
                .trim_end_matches('\r')
                .to_owned();
            self.line.clear();
            match line.split_once(':') {
                Some(("event", value)) => value.trim_start().clone_into(&mut self.name),
                Some(("data", value)) => value.trim_start().clone_into(&mut self.data),
                _ if line.is_empty() && !self.name.is_empty() => {
                    let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
                    if let Some(found) = take(&name, &data) {
                        return Some(found);
                    }
                }
                _ => {} // a comment that keeps the connection alive
            }
        }
        None
    }
}

/// The same of a port that is no bridge's, or that only has to answer.
pub(super) async fn get(listen: SocketAddr, path: &str) -> Result<Bytes, ClientError> {
    let admin = Admin {
        listen,
        hosts: Vec::new(),
        token_file: None,
    };
    request(http::Method::GET, &admin, path, String::new()).await
}

async fn exchange(
    method: http::Method,
    address: SocketAddr,
    admin: &Admin,
    path: &str,
    body: String,
) -> Result<Bytes, ClientError> {
    let head = authorized(head(method, address, path), admin)?;
    let request = head.body(Full::new(Bytes::from(body)));
    let request = request.map_err(|source| ClientError::Path(path.to_owned(), source))?;
    send(address, request, async |response| {
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    })
    .await
}

/// With the token of the port, where it has one.
fn authorized(head: http::request::Builder, admin: &Admin) -> Result<http::request::Builder, ClientError> {
    let Some(file) = &admin.token_file else {
        return Ok(head);
    };
    let token = std::fs::read_to_string(file).map_err(|source| ClientError::Token {
        file: file.clone(),
        source,
    })?;
    Ok(head.header(http::header::AUTHORIZATION, format!("Bearer {}", token.trim())))
}

fn head(method: http::Method, address: SocketAddr, path: &str) -> http::request::Builder {
    http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, address.to_string())
        .header(ORDER_HEADER, "1")
}

/// Sends one request on a connection of its own; a response that is no success is an error.
async fn send(
    address: SocketAddr,
    request: http::Request<Full<Bytes>>,
    read: impl AsyncFnOnce(http::Response<Incoming>) -> Result<(http::StatusCode, Bytes), hyper::Error>,
) -> Result<Bytes, ClientError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| ClientError::Connect { address, source })?;
    let broken = |source| ClientError::Broken { address, source };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        read(response).await
    };
    // The connection does the work; it ends with the exchange.
    let (status, body) = tokio::select! {
        done = exchange => done.map_err(broken)?,
        ended = connection => {
            ended.map_err(broken)?;
            return Err(ClientError::Late(address));
        }
    };
    if status.is_success() {
        return Ok(body);
    }
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    Err(ClientError::Refused {
        address,
        status,
        text,
    })
}

/// `0.0.0.0` is where a server listens, not where one connects to.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = ": keep\n\nevent: progress\ndata: {\"a\":1}\n\nevent: end\r\ndata: 2\r\n\r\n";
        for size in [1, 3, 100] {
            let (mut events, mut all) = (Events::default(), Vec::new());
            let mut end = None;
            for part in text.as_bytes().chunks(size) {
                end = end.or(events.read(part, &mut |name, data| {
                    all.push(format!("{name} {data}"));
                    (name == "end").then(|| data.to_owned())
                }));
            }
            assert_eq!((all.len(), end.as_deref()), (2, Some("2")), "{size}");
            assert_eq!(all[0], "progress {\"a\":1}");
        }
    }
}
