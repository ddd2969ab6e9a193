//! One attempt to send: a request, its deadline, and what its answer means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;

use super::notice::Notice;
use super::sign::{SIGNATURE, TIMESTAMP, signature};
use crate::clock;
use crate::config::{Webhook, WebhookKind};
use crate::files::PemFile;
use crate::text::chain;

/// The longest time that a receiver can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The header with the id of an event.
const ID: &str = "x-xds-bridge-id";

/// Why an event did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may be sent again, not before this time if the receiver says so.
    Later(String, Option<Duration>),
    /// The same would fail again.
    Never(String),
}

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Sends to one address.
#[derive(Debug)]
pub(super) struct Post {
    hook: Webhook,
}

impl Post {
    pub(super) const fn new(hook: Webhook) -> Self {
        Self { hook }
    }

    /// What may be shown of the address: what comes behind the host is often a secret.
    pub(super) fn shown(&self) -> String {
        self.hook.url.host().unwrap_or_default().to_owned()
    }

    pub(super) fn wants(&self, notice: &Notice) -> bool {
        self.hook.events.contains(&notice.word)
    }

    /// Sends it once. No answer in this time is an error.
    pub(super) async fn send(&self, notice: &Notice, deadline: Duration) -> Result<(), Failure> {
        let attempt = tokio::time::timeout(deadline, self.attempt(notice));
        let late = |_| Failure::Later(format!("no answer within {deadline:?}"), None);
        attempt.await.map_err(late)?
    }

    async fn attempt(&self, notice: &Notice) -> Result<(), Failure> {
        let later = |text: String| Failure::Later(text, None);
        let body = match self.hook.kind {
            WebhookKind::Json => notice.document.to_string(),
            WebhookKind::Slack => serde_json::json!({ "text": escaped(&notice.text) }).to_string(),
        };
        let hook = self.hook.clone();
        // Files change: they are read for each event, beside the threads that must not wait.
        let read = tokio::task::spawn_blocking(move || files(&hook));
        let (client, secret) = read
            .await
            .map_err(|error| later(error.to_string()))?
            .map_err(later)?;
        let mut request = Request::post(self.hook.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("xds-bridge/", env!("CARGO_PKG_VERSION")))
            .header(ID, &notice.id);
        if let Some(secret) = secret {
            let now = clock::unix_seconds();
            request = request
                .header(TIMESTAMP, now)
                .header(SIGNATURE, signature(&secret, now, body.as_bytes()));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::Never(error.to_string()))?;
        let answer = client
            .request(request)
            .await
            .map_err(|error| later(chain(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let wait = answer.headers().get(RETRY_AFTER).and_then(|value| {
            let seconds = value.to_str().ok()?.trim().parse().ok()?;
            Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
        });
        // The body may repeat the path of the address, which is a secret, and this goes into the log.
        Err(judged(status, wait))
    }
}

/// What an answer other than a success means.
fn judged(status: StatusCode, wait: Option<Duration>) -> Failure {
    let said = format!("it answers {status}");
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Failure::Later(said, wait),
        status if status.is_server_error() => Failure::Later(said, wait),
        status if status.is_redirection() => Failure::Never(format!(
            "it answers {status}: write the address that it has moved to"
        )),
        _ => Failure::Never(said),
    }
}

/// Chats take these for the beginning of links and names.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Whom the receiver has to be certified by, and the secret. Blocks on a disk.
fn files(hook: &Webhook) -> Result<(Https, Option<Vec<u8>>), String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| chain(&error))?;
    let builder = match &hook.ca {
        Some(ca) => {
            let roots = PemFile::read(ca).and_then(|file| file.roots());
            builder.with_root_certificates(roots.map_err(|error| chain(&error))?)
        }
        None if hook.url.scheme_str() == Some("http") => {
            builder.with_root_certificates(rustls::RootCertStore::empty())
        }
        None => builder.with_native_roots().map_err(|error| chain(&error))?,
    };
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(builder.with_no_client_auth())
        .https_or_http()
        .enable_http1()
        .build();
    // Events are seldom: a connection would be closed by the other side meanwhile.
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector);
    let secret = hook.secret_file.as_deref().map(|file| {
        let read = crate::files::read_small(file);
        read.map_err(|error| format!("{}: {}", file.display(), chain(&error)))
    });
    let secret = secret.transpose()?.map(|secret| secret.trim_ascii().to_owned());
    if secret.as_ref().is_some_and(Vec::is_empty) {
        return Err("the file of the secret is empty".to_owned());
    }
    Ok((client, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again() {
        let later = |code| {
            let status = StatusCode::from_u16(code).unwrap();
            matches!(judged(status, None), Failure::Later(..))
        };
        let tried: Vec<u16> = (300..=599).filter(|code| later(*code)).collect();
        let mut wanted = vec![408, 429];
        wanted.extend(500..=599);
        assert_eq!(tried, wanted);
    }

    #[test]
    fn a_chat_takes_nothing_for_a_name() {
        assert_eq!(escaped("<!channel> & co"), "&lt;!channel&gt; &amp; co");
    }
}
