//! The connections: rs-consul's client type, with HTTP/2 over TLS where the agent
//! offers it (hundreds of watches on one connection), and HTTP/1.1 otherwise.
//!
//! Never a plain `h2c` connection (agents do not speak it), and never another TLS provider than ring.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{ConfigBuilderExt, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rs_consul::HttpsClient;
use rustls::{ClientConfig, RootCertStore};

use super::error::Failure;

/// A frozen agent is seen after two of these over HTTP/2; without, never.
const KEEPALIVE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(5);
/// Agents count idle connections against the limit per client: few are kept, and not for long.
const IDLE_CONNECTIONS: usize = 8;
const IDLE_FOR: Duration = Duration::from_secs(10);

/// A pool of connections of its own. The agent allows 250 HTTP/2 streams on one
/// connection and the pool holds one of them: no more than about 200 requests at once.
///
/// # Errors
/// [`Failure::Roots`] for https on a machine without root certificates.
pub fn transport(address: &str) -> Result<HttpsClient, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let tls = if address.starts_with("https:") {
        tls.with_native_roots()
            .map_err(Failure::Roots)?
            .with_no_client_auth()
    } else {
        // Plain HTTP needs no certificates, and must start where there are none.
        tls.with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    };
    let mut http = HttpConnector::new();
    http.enforce_http(false); // https goes through it too
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT));
    http.set_keepalive(Some(KEEPALIVE * 3));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(http);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_FOR)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .http2_keep_alive_interval(KEEPALIVE)
        .http2_keep_alive_timeout(KEEPALIVE);
    let client: Client<_, _> = builder.build(connector);
    Ok(client)
}
