//! A plain HTTP/1.1 client for admin ports, registries and requests through Envoy.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// No answer in so long is an error.
const DEADLINE: Duration = Duration::from_secs(10);

/// The client; clones share its connections.
#[derive(Clone)]
pub(crate) struct Http(Client<HttpConnector, Full<Bytes>>);

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Http {
    /// Opens a connection for each request: right for programs that are restarted.
    pub(crate) fn fresh() -> Self {
        Self(
            Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build_http(),
        )
    }

    /// Keeps connections, as a client of a service does.
    pub(crate) fn keeping() -> Self {
        Self(
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build_http(),
        )
    }

    /// One request. `Err` when there is no answer at all.
    pub(crate) async fn send(
        &self,
        method: &str,
        url: &str,
        host: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Result<Reply, String> {
        let headers: Vec<(&str, &str)> = host.iter().map(|host| ("host", *host)).collect();
        self.send_with(method, url, &headers, body).await
    }

    /// The same with these headers.
    pub(crate) async fn send_with(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, String> {
        let mut request = http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).map_err(|e| e.to_string())?;
        let exchange = async {
            let response = self.0.request(request).await.map_err(|e| causes(&e))?;
            let status = response.status().as_u16();
            let body = response
                .into_body()
                .collect()
                .await
                .map_err(|e| causes(&e))?
                .to_bytes();
            Ok(Reply {
                status,
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        tokio::time::timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no answer in {DEADLINE:?}")))
    }

    /// GET.
    pub(crate) async fn get(&self, url: &str) -> Result<Reply, String> {
        self.send("GET", url, None, "").await
    }

    /// The body of a GET; any status but 200 is an error.
    pub(crate) async fn text(&self, url: &str) -> Result<String, String> {
        let reply = self.get(url).await?;
        if reply.status == 200 {
            Ok(reply.body)
        } else {
            Err(format!("{}: {}", reply.status, reply.body))
        }
    }
}

/// An error with all it comes from, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
