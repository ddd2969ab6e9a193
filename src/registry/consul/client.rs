//! Sends one request at a time to one agent, and reads no more of a body than a limit: reads, the rights of the token,
//! the state of a peering, and what kind of agent it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::{Notify, watch};

use super::agent;
use super::answer::{Answer, Reply};
use super::body;
use super::error::{Error, Failure};
use super::peering::{self, Peering};
use super::query::{Mode, Query, Scope};
use super::rights::{self, Grant, Right};
use super::send_signal::{self, SendOrder};
use super::token::{Secret, Token};
use super::transport::{Pool, Transport};
use crate::registry::budget::{Budget, Known};

/// Interim responses (1xx) to one request, at most; none is ever needed.
const MAX_INTERIM: u32 = 16;

/// One agent, one pool of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Arc<Agent>,
    pool: Pool,
    /// Of blocking reads that share a connection.
    order: Option<SendOrder>,
    /// The bytes that answers may hold.
    budget: Budget,
}

#[derive(Debug)]
struct Agent {
    scope: Scope,
    token: Token,
    slack: Duration,
}

/// One request.
pub(super) struct Call {
    pub(super) method: Method,
    /// With its query.
    pub(super) path: String,
    pub(super) body: Bytes,
    /// Longest body of the response, in bytes.
    pub(super) longest: usize,
    pub(super) deadline: Duration,
    /// Its response may take minutes, so it does not show in time whether the request was sent.
    pub(super) blocks: bool,
}

impl Client {
    /// `slack`: how much longer than Consul itself may take we wait for an answer.
    #[must_use]
    pub fn new(transport: Transport, scope: Scope, token_file: Option<PathBuf>, slack: Duration) -> Self {
        let token = Token::new(token_file);
        Self {
            agent: Arc::new(Agent { scope, token, slack }),
            pool: Pool::new(Arc::new(transport)),
            order: None,
            budget: Budget::default(),
        }
    }

    /// Its answers count towards this budget.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Where what is known of this registry counts.
    #[must_use]
    pub fn known(&self) -> Known {
        self.budget.known()
    }

    /// The same agent and token over other connections.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self {
            agent: self.agent.clone(),
            pool: Pool::new(self.pool.transport().clone()),
            order: None,
            budget: self.budget.clone(),
        }
    }

    /// The same for blocking reads that share one HTTP/2 connection: when there is no room for one more on it, they
    /// fail with [`Failure::NotSent`].
    #[must_use]
    pub fn shared(&self) -> Self {
        Self {
            order: Some(SendOrder::default()),
            ..self.apart()
        }
    }

    /// Where the agent is.
    #[must_use]
    pub fn address(&self) -> &str {
        self.pool.transport().address()
    }

    /// How much longer than Consul itself may take we wait for an answer.
    pub(super) fn slack(&self) -> Duration {
        self.agent.slack
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

    /// The same for a token that works: only content that was the same at the last check counts.
    ///
    /// # Errors
    /// [`Failure::Token`]
    pub async fn check_token(&self) -> Result<bool, Failure> {
        self.agent.token.check().await
    }

    /// Changes with each token after the first.
    #[must_use]
    pub fn rotations(&self) -> watch::Receiver<u64> {
        self.agent.token.rotations()
    }

    /// Reads the files of TLS again, for new connections. `None`: nothing new.
    pub async fn check_tls(&self) -> Option<Result<(), Failure>> {
        let transport = self.pool.transport().clone();
        let checked = tokio::task::spawn_blocking(move || transport.check());
        checked.await.ok().flatten()
    }

    /// Reads once; after a 403 once more, when there is a newer token.
    ///
    /// # Errors
    /// Whatever is not a 200 with an index (or a 404 where that is an answer).
    pub async fn read(&self, query: &Query, mode: Mode) -> Result<Answer, Error> {
        let call = Call {
            method: Method::GET,
            path: query.path(&self.agent.scope, mode),
            body: Bytes::new(),
            longest: query.longest(),
            deadline: mode.held() + self.agent.slack,
            blocks: matches!(mode, Mode::Blocking { .. } | Mode::Following { .. }),
        };
        let reply = self.call(&call).await;
        reply
            .and_then(|reply| Answer::read(query, reply))
            .map_err(|failure| self.error(query.subject(), &call.path, failure))
    }

    /// Which of these the token gives. Unknown for what a peer exports: other rules apply to that.
    ///
    /// # Errors
    /// When there is no answer, or the token is not known.
    pub async fn grant(&self, rights: &[Right]) -> Result<Grant, Error> {
        if self.agent.scope.peer.is_some() {
            return Ok(Grant::Unknown);
        }
        let mut grant = Grant::All;
        for some in rights.chunks(rights::MAX_RIGHTS) {
            let call = Call {
                method: Method::POST,
                path: rights::path(&self.agent.scope),
                body: rights::body(&self.agent.scope, some),
                longest: rights::LONGEST,
                deadline: self.agent.slack,
                blocks: false,
            };
            let reply = self.call(&call).await;
            let part = reply
                .and_then(|reply| rights::grant(some, reply.status, &reply.body))
                .map_err(|failure| self.error("the rights of the token".to_owned(), &call.path, failure))?;
            grant = grant.and(part);
        }
        Ok(grant)
    }

    /// Whether the agent says that it is a server. False also when it says nothing: that takes `agent:read`.
    pub async fn is_server(&self) -> bool {
        let call = Call {
            method: Method::GET,
            path: agent::PATH.to_owned(),
            body: Bytes::new(),
            longest: agent::LONGEST,
            deadline: self.agent.slack,
            blocks: false,
        };
        let reply = self.call(&call).await;
        reply.is_ok_and(|reply| reply.status == StatusCode::OK && agent::is_server(&reply.body))
    }

    /// The state of the peering whose services are read.
    ///
    /// # Errors
    /// When there is no answer, or none that says anything about it.
    pub async fn peering(&self, name: &str) -> Result<Peering, Error> {
        let call = Call {
            method: Method::GET,
            path: peering::path(&self.agent.scope, name),
            body: Bytes::new(),
            longest: peering::LONGEST,
            deadline: self.agent.slack,
            blocks: false,
        };
        let reply = self.call(&call).await;
        reply
            .and_then(|reply| peering::read(reply.status, &reply.body))
            .map_err(|failure| self.error(format!("peering {name}"), &call.path, failure))
    }

    fn error(&self, subject: String, path: &str, failure: Failure) -> Error {
        let url = format!("{}{path}", self.address());
        Error {
            subject,
            url,
            failure,
            anonymous: self.pool.transport().is_anonymous(),
        }
    }

    /// Sends it; after a 403 once more when the token has changed since.
    pub(super) async fn call(&self, call: &Call) -> Result<Reply, Failure> {
        let token = self.agent.token.get().await?;
        let reply = self.send(call, token.as_deref()).await?;
        if reply.status != StatusCode::FORBIDDEN || self.reload_token().await.is_err() {
            return Ok(reply); // a broken token file is reported by the file watcher
        }
        let now = self.agent.token.get().await?;
        if now == token {
            return Ok(reply);
        }
        self.send(call, now.as_deref()).await
    }

    async fn send(&self, call: &Call, token: Option<&Secret>) -> Result<Reply, Failure> {
        let url = format!("{}{}", self.pool.transport().base(), call.path);
        let mut request = Request::builder().method(call.method.clone()).uri(url);
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(token.text()).map_err(http::Error::from)?;
            value.set_sensitive(true);
            request = request.header("x-consul-token", value);
        }
        let (http, in_flight) = self.pool.http();
        let order = self.order.as_ref().filter(|_| call.blocks);
        let not_sent = || Failure::NotSent {
            after: self.agent.slack,
            shared: in_flight.any(),
        };
        let turn = match order.map(|order| order.clone().lock_owned()) {
            Some(turn) => Some(
                tokio::time::timeout(self.agent.slack, turn)
                    .await
                    .map_err(|_| not_sent())?,
            ),
            None => None,
        };
        let (body, sent) = send_signal::track(call.body.clone(), turn);
        let mut request = request.body(body.boxed())?;
        let interim = Arc::new((AtomicU32::new(0), Notify::new()));
        let counted = interim.clone();
        hyper::ext::on_informational(&mut request, move |_| {
            if counted.0.fetch_add(1, Ordering::Relaxed) >= MAX_INTERIM {
                counted.1.notify_one();
            }
        });
        let exchange = async {
            let response = http.request(request).await.map_err(Failure::Send)?;
            let (head, stream) = response.into_parts();
            let (body, share) = body::collect(stream, call.longest, self.budget.share()).await?;
            Ok(Reply {
                status: head.status,
                headers: head.headers,
                multiplexed: head.version == http::Version::HTTP_2,
                body,
                held: share,
            })
        };
        let waiting = async {
            if order.is_some() && tokio::time::timeout(self.agent.slack, sent.wait()).await.is_err() {
                return;
            }
            let _one = in_flight.begin();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            result = tokio::time::timeout(call.deadline, exchange) => {
                result.map_err(|_| Failure::Deadline(call.deadline))?
            }
            () = waiting => Err(not_sent()),
            () = interim.1.notified() => Err(Failure::Interim),
        }
    }
}
