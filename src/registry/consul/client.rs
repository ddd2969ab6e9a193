//! Sends one read and types its answer. Reads the index of a 200 only (errors
//! carry `X-Consul-Index: 1`), and no more of a body than a limit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use rs_consul::{Config, Consul, HttpsClient};

use super::error::{Error, Failure};
use super::query::{Mode, Query, Scope};
use super::token::Token;

/// Of an error's body, for the message.
const WORDS: usize = 200;

/// One agent, one pool of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Arc<Agent>,
    http: HttpsClient,
}

#[derive(Debug)]
struct Agent {
    address: String,
    scope: Scope,
    token: Token,
    slack: Duration,
}

/// A good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `X-Consul-Index`, never 0.
    pub index: u64,
    /// `X-Consul-KnownLeader`
    pub known_leader: Option<bool>,
    /// `X-Consul-LastContact`: how old a follower's answer may be.
    pub last_contact: Option<Duration>,
    /// `X-Consul-Results-Filtered-By-ACLs` (Consul 1.11 and newer): the token hides something.
    pub filtered: bool,
    /// Many requests share one connection (HTTP/2).
    pub multiplexed: bool,
    /// 404 where that means: nothing there.
    pub missing: bool,
    /// JSON.
    pub body: Bytes,
}

impl Client {
    /// `address` is `http://host:port` or `https://host:port`; `slack` is how much longer
    /// than Consul itself may take an answer is waited for.
    #[must_use]
    pub fn new(
        http: HttpsClient,
        address: String,
        scope: Scope,
        token_file: Option<PathBuf>,
        slack: Duration,
    ) -> Self {
        let token = Token::new(token_file);
        Self {
            agent: Arc::new(Agent {
                address,
                scope,
                token,
                slack,
            }),
            http,
        }
    }

    /// The same agent and token over other connections.
    #[must_use]
    pub fn over(&self, http: HttpsClient) -> Self {
        Self {
            agent: self.agent.clone(),
            http,
        }
    }

    /// Where the agent is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.agent.address
    }

    /// Which part of Consul is read.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.agent.scope
    }

    /// Reads the token file again. True when the token is another one.
    ///
    /// # Errors
    /// [`Failure::Token`]
    pub async fn reload_token(&self) -> Result<bool, Failure> {
        self.agent.token.reload().await
    }

    /// rs-consul on the same connections: for names without special characters, and
    /// where neither health, headers nor a status beside 200 matter.
    ///
    /// # Errors
    /// [`Failure::Token`]
    pub async fn simple(&self) -> Result<Consul, Failure> {
        let token = self.agent.token.get().await?;
        let config = Config {
            address: self.agent.address.clone(),
            token,
            ..Config::default()
        };
        Ok(Consul::new_with_client(config, self.http.clone()))
    }

    /// Reads once; after a 403 once more, when the token file holds a new token.
    ///
    /// # Errors
    /// Whatever is not a 200 with an index (or a 404 where that is an answer).
    pub async fn read(&self, query: &Query, mode: Mode) -> Result<Answer, Error> {
        let url = format!("{}{}", self.agent.address, query.path(&self.agent.scope, mode));
        let once = || self.send(&url, query, mode.held() + self.agent.slack);
        let mut result = once().await;
        if matches!(result, Err(Failure::Refused { .. })) && self.reload_token().await.unwrap_or(false) {
            result = once().await;
        }
        result.map_err(|failure| Error {
            subject: query.subject(),
            url,
            failure,
        })
    }

    async fn send(&self, url: &str, query: &Query, deadline: Duration) -> Result<Answer, Failure> {
        let mut request = Request::get(url);
        if let Some(token) = self.agent.token.get().await? {
            let mut value = HeaderValue::try_from(token).map_err(http::Error::from)?;
            value.set_sensitive(true);
            request = request.header("x-consul-token", value);
        }
        let request = request.body(BoxBody::new(Empty::new()))?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(Failure::Send)?;
            let (head, body) = response.into_parts();
            let limit = query.longest();
            let body = Limited::new(body, limit).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Failure::TooLong { limit }
                } else {
                    Failure::Body(error)
                }
            })?;
            Ok::<_, Failure>((head, body.to_bytes()))
        };
        let (head, body) = tokio::time::timeout(deadline, exchange)
            .await
            .map_err(|_| Failure::Deadline(deadline))??;
        let missing = query.may_be_missing() && head.status == StatusCode::NOT_FOUND;
        match head.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND if missing => {}
            StatusCode::FORBIDDEN => return Err(Failure::Refused { said: words(&body) }),
            status => {
                return Err(Failure::Status {
                    status: status.as_u16(),
                    said: words(&body),
                });
            }
        }
        let index = number(&head.headers, "x-consul-index").ok_or(Failure::NoIndex)?;
        Ok(Answer {
            // 0 would make the next blocking read return at once, for ever.
            index: index.max(1),
            known_leader: text(&head.headers, "x-consul-knownleader").and_then(|t| t.parse().ok()),
            last_contact: number(&head.headers, "x-consul-lastcontact").map(Duration::from_millis),
            filtered: text(&head.headers, "x-consul-results-filtered-by-acls") == Some("true"),
            multiplexed: head.version == http::Version::HTTP_2,
            missing,
            body,
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name).and_then(|value| value.parse().ok())
}

fn words(body: &[u8]) -> String {
    let head = &body[..body.len().min(WORDS)];
    String::from_utf8_lossy(head)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim()
        .to_owned()
}
