//! The client of the admin port: one request to a running bridge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::admin::ORDER_HEADER;

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
    listen: SocketAddr,
    path: &str,
    body: String,
) -> Result<Bytes, ClientError> {
    let address = reachable(listen);
    tokio::time::timeout(TIMEOUT, exchange(method, address, path, body))
        .await
        .map_err(|_| ClientError::Late(address))?
}

async fn exchange(
    method: http::Method,
    address: SocketAddr,
    path: &str,
    body: String,
) -> Result<Bytes, ClientError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| ClientError::Connect { address, source })?;
    let broken = |source| ClientError::Broken { address, source };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, address.to_string())
        .header(ORDER_HEADER, "1")
        .body(Full::new(Bytes::from(body)))
        .map_err(|source| ClientError::Path(path.to_owned(), source))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
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
