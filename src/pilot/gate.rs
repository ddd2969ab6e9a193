//! Gates by HTTP: an address that has to answer 200 before a rollout goes on. One GET, without redirects, with a deadline,
//! and of the body only what fits into a sentence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use crate::text::{chain, clip_to};

/// For the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a body that are read.
const BODY: usize = 4 << 10;
/// Characters of it in a message.
const SHOWN: usize = 200;

/// The status of the answer, and what its body begins with; or why there is none.
pub(super) async fn ask(address: &str) -> (Option<u16>, String) {
    match tokio::time::timeout(TIMEOUT, get(address)).await {
        Ok(Ok((status, text))) => (Some(status.as_u16()), text),
        Ok(Err(why)) => (None, why),
        Err(_) => (None, format!("no answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn get(address: &str) -> Result<(StatusCode, String), String> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls(address.starts_with("https:")).await?)
        .https_or_http()
        .enable_http1()
        .build();
    // One request: nothing is kept for a next one.
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector);
    let request = Request::get(address)
        .header(
            header::USER_AGENT,
            concat!("xds-bridge/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::new())
        .map_err(|error| chain(&error))?;
    let response = client.request(request).await.map_err(|error| chain(&error))?;
    let status = response.status();
    let text = beginning(response.into_body()).await;
    Ok((status, clip_to(text.trim(), SHOWN)))
}

/// With the root certificates of this machine, which may have none and needs none for plain HTTP.
async fn tls(is_encrypted: bool) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| chain(&error))?;
    if !is_encrypted {
        let none = builder.with_root_certificates(RootCertStore::empty());
        return Ok(none.with_no_client_auth());
    }
    let reading = tokio::task::spawn_blocking(|| builder.with_native_roots());
    let read = reading.await.map_err(|error| chain(&error))?;
    let roots = read.map_err(|error| format!("the root certificates of this machine: {}", chain(&error)))?;
    Ok(roots.with_no_client_auth())
}

/// What a body begins with.
async fn beginning(mut body: Incoming) -> String {
    let mut read = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        let room = BODY - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if read.len() >= BODY {
            break;
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    async fn server() -> String {
        let long = "no ".repeat(100_000);
        let router = Router::new()
            .route("/yes", get(async || "yes"))
            .route(
                "/no",
                get(async || (StatusCode::SERVICE_UNAVAILABLE, "not today\n")),
            )
            .route(
                "/long",
                get(async move || (StatusCode::IM_A_TEAPOT, long.clone())),
            )
            .route(
                "/moved",
                get(async || (StatusCode::FOUND, [(header::LOCATION, "/yes")])),
            )
            .route("/never", get(std::future::pending::<&str>));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn an_answer_is_read_as_far_as_it_fits_into_a_sentence() {
        let _ = ring::default_provider().install_default();
        let base = server().await;
        let asked = async |path: &str| ask(&format!("{base}{path}")).await;
        assert_eq!(asked("/yes").await, (Some(200), "yes".to_owned()));
        assert_eq!(asked("/no").await, (Some(503), "not today".to_owned()));
        assert_eq!(
            asked("/moved").await,
            (Some(302), String::new()),
            "nothing is followed"
        );
        let (status, long) = asked("/long").await;
        assert!(status == Some(418) && long.len() < 400, "{long}");
        for nowhere in ["http://127.0.0.1:1/", "no address", ""] {
            let (status, why) = ask(nowhere).await;
            assert!(status.is_none() && !why.is_empty(), "{nowhere}");
        }
        tokio::time::pause();
        assert_eq!(asked("/never").await, (None, "no answer within 5 s".to_owned()));
    }
}
