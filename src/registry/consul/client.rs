//! Sends one request and types its answer. Reads the index of a 200 only (errors
//! carry `X-Consul-Index: 1`), and no more of a body than a limit.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{Notify, watch};

use super::agent;
use super::departure::{self, Turns};
use super::error::{Error, Failure};
use super::peering::{self, Peering};
use super::query::{Mode, Query, Scope};
use super::rights::{self, Grant, Right};
use super::token::{Secret, Token};
use super::transport::{Pool, Transport};
use crate::registry::budget::{Budget, Held, Known};

/// So many answers `100 Continue` (or any other 1xx) to one request; none is ever needed.
const MOST_INTERIM: u32 = 16;

/// One agent, one pool of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Arc<Agent>,
    pool: Pool,
    /// Of blocking reads that share a connection.
    turns: Option<Turns>,
    /// What answers may hold.
    budget: Budget,
}

#[derive(Debug)]
struct Agent {
    scope: Scope,
    token: Token,
    slack: Duration,
}

/// A good answer. What its headers mean depends on `X-Consul-Query-Backend` (since Consul 1.10). Health reads
/// with an `index` are streamed by default, on servers and client agents, also with `?consistent`; all other
/// reads are not. Measured on 1.14.11:
///
/// | header | `blocking-query`, or no such header | `streaming` |
/// |---|---|---|
/// | `X-Consul-Index` | of what was read | of the last event in the agent's own copy. Not comparable: higher when an instance was registered again under another service name, lower when anything else raised the index of the service |
/// | `X-Consul-KnownLeader` | whether the server has a leader | always `false`: no meaning |
/// | `X-Consul-LastContact` | the age of a follower's answer | always 0: no meaning |
/// | `X-Consul-Effective-Consistency` | the consistency that was served | repeats the request, `consistent` also without a quorum: no meaning, never read |
/// | a 200 | a server answered | the agent has a copy; with a low `index` also while no server lives |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `X-Consul-Index`, never 0.
    pub index: u64,
    /// `X-Consul-Query-Backend`
    pub backend: Backend,
    /// `X-Consul-KnownLeader`; `None` of a streamed answer.
    pub known_leader: Option<bool>,
    /// `X-Consul-LastContact`: how old a follower's answer may be; `None` of a streamed answer.
    pub last_contact: Option<Duration>,
    /// `X-Consul-Results-Filtered-By-ACLs` (Consul 1.11 and newer): the token hides something.
    pub filtered: bool,
    /// Many requests share one connection (HTTP/2).
    pub multiplexed: bool,
    /// 404 where that means: nothing there.
    pub missing: bool,
    /// JSON.
    pub body: Bytes,
    /// Its part of the bytes that all reads may hold.
    pub held: Held,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The servers, or an agent that does not say.
    Servers,
    /// The agent, from its own copy, which it keeps up to date by an event stream.
    Stream,
}

/// What is sent.
struct Ask {
    method: Method,
    /// With its query.
    path: String,
    body: Bytes,
    /// Of the answer.
    longest: usize,
    deadline: Duration,
    /// Its answer does not tell in time whether it has left.
    blocks: bool,
}

/// Any answer.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    multiplexed: bool,
    body: Bytes,
    held: Held,
}

impl Client {
    /// `slack` is how much longer than Consul itself may take an answer is waited for.
    #[must_use]
    pub fn new(transport: Transport, scope: Scope, token_file: Option<PathBuf>, slack: Duration) -> Self {
        let token = Token::new(token_file);
        Self {
            agent: Arc::new(Agent { scope, token, slack }),
            pool: Pool::new(Arc::new(transport)),
            turns: None,
            budget: Budget::default(),
        }
    }

    /// What answers hold counts here.
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
            turns: None,
            budget: self.budget.clone(),
        }
    }

    /// The same for blocking reads that share one connection of HTTP/2: that there is no room for one more
    /// on it is [`Failure::NotSent`].
    #[must_use]
    pub fn shared(&self) -> Self {
        Self {
            turns: Some(Turns::default()),
            ..self.apart()
        }
    }

    /// Where the agent is.
    #[must_use]
    pub fn address(&self) -> &str {
        self.pool.transport().address()
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

    /// The same when nothing is wrong with the token: only what was the same at the last look counts.
    ///
    /// # Errors
    /// [`Failure::Token`]
    pub async fn look_at_token(&self) -> Result<bool, Failure> {
        self.agent.token.look().await
    }

    /// Told of each token after the first.
    #[must_use]
    pub fn rotations(&self) -> watch::Receiver<u64> {
        self.agent.token.rotations()
    }

    /// Reads the files of TLS again: what stands by now is for new connections. `None`: nothing new.
    pub async fn look_at_tls(&self) -> Option<Result<(), Failure>> {
        let transport = self.pool.transport().clone();
        let looked = tokio::task::spawn_blocking(move || transport.look());
        looked.await.ok().flatten()
    }

    /// Reads once; after a 403 once more, when there is a newer token.
    ///
    /// # Errors
    /// Whatever is not a 200 with an index (or a 404 where that is an answer).
    pub async fn read(&self, query: &Query, mode: Mode) -> Result<Answer, Error> {
        let ask = Ask {
            method: Method::GET,
            path: query.path(&self.agent.scope, mode),
            body: Bytes::new(),
            longest: query.longest(),
            deadline: mode.held() + self.agent.slack,
            blocks: matches!(mode, Mode::Blocking { .. }),
        };
        let reply = self.ask(&ask).await;
        reply
            .and_then(|reply| answer(query, reply))
            .map_err(|failure| self.error(query.subject(), &ask.path, failure))
    }

    /// Which of these the token gives. Nobody can tell of what a peer exports: that is under other rules.
    ///
    /// # Errors
    /// When there is no answer, or the token is not known.
    pub async fn grant(&self, rights: &[Right]) -> Result<Grant, Error> {
        if self.agent.scope.peer.is_some() {
            return Ok(Grant::Unknown);
        }
        let mut grant = Grant::All;
        for some in rights.chunks(rights::MOST) {
            let ask = Ask {
                method: Method::POST,
                path: rights::path(&self.agent.scope),
                body: rights::body(&self.agent.scope, some),
                longest: rights::LONGEST,
                deadline: self.agent.slack,
                blocks: false,
            };
            let reply = self.ask(&ask).await;
            let part = reply
                .and_then(|reply| rights::grant(some, reply.status, &reply.body))
                .map_err(|failure| self.error("the rights of the token".to_owned(), &ask.path, failure))?;
            grant = grant.and(part);
        }
        Ok(grant)
    }

    /// Whether the agent says that it is a server. False also when it says nothing: that takes `agent:read`.
    pub async fn is_server(&self) -> bool {
        let ask = Ask {
            method: Method::GET,
            path: agent::PATH.to_owned(),
            body: Bytes::new(),
            longest: agent::LONGEST,
            deadline: self.agent.slack,
            blocks: false,
        };
        let reply = self.ask(&ask).await;
        reply.is_ok_and(|reply| reply.status == StatusCode::OK && agent::is_server(&reply.body))
    }

    /// How the peering is whose services are read.
    ///
    /// # Errors
    /// When there is no answer, or none that says anything of it.
    pub async fn peering(&self, name: &str) -> Result<Peering, Error> {
        let ask = Ask {
            method: Method::GET,
            path: peering::path(&self.agent.scope, name),
            body: Bytes::new(),
            longest: peering::LONGEST,
            deadline: self.agent.slack,
            blocks: false,
        };
        let reply = self.ask(&ask).await;
        reply
            .and_then(|reply| peering::read(reply.status, &reply.body))
            .map_err(|failure| self.error(format!("peering {name}"), &ask.path, failure))
    }

    fn error(&self, subject: String, path: &str, failure: Failure) -> Error {
        let url = format!("{}{path}", self.address());
        Error {
            subject,
            url,
            failure,
        }
    }

    /// Sends it; after a 403 once more when the token is another one by now.
    async fn ask(&self, ask: &Ask) -> Result<Reply, Failure> {
        let token = self.agent.token.get().await?;
        let reply = self.send(ask, token.as_deref()).await?;
        if reply.status != StatusCode::FORBIDDEN || self.reload_token().await.is_err() {
            return Ok(reply); // what is wrong with the file says who looks at it
        }
        let now = self.agent.token.get().await?;
        if now == token {
            return Ok(reply);
        }
        self.send(ask, now.as_deref()).await
    }

    async fn send(&self, ask: &Ask, token: Option<&Secret>) -> Result<Reply, Failure> {
        let url = format!("{}{}", self.pool.transport().base(), ask.path);
        let mut request = Request::builder().method(ask.method.clone()).uri(url);
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(token.text()).map_err(http::Error::from)?;
            value.set_sensitive(true);
            request = request.header("x-consul-token", value);
        }
        let (http, underway) = self.pool.http();
        let turns = self.turns.as_ref().filter(|_| ask.blocks);
        let not_sent = || Failure::NotSent {
            after: self.agent.slack,
            shared: underway.any(),
        };
        let turn = match turns.map(|turns| turns.clone().lock_owned()) {
            Some(turn) => Some(
                tokio::time::timeout(self.agent.slack, turn)
                    .await
                    .map_err(|_| not_sent())?,
            ),
            None => None,
        };
        let (body, left) = departure::mark(ask.body.clone(), turn);
        let mut request = request.body(body.boxed())?;
        let interim = Arc::new((AtomicU32::new(0), Notify::new()));
        let counted = interim.clone();
        hyper::ext::on_informational(&mut request, move |_| {
            if counted.0.fetch_add(1, Ordering::Relaxed) >= MOST_INTERIM {
                counted.1.notify_one();
            }
        });
        let exchange = async {
            let response = http.request(request).await.map_err(Failure::Send)?;
            let (head, stream) = response.into_parts();
            let (body, share) = self.collect(stream, ask.longest).await?;
            Ok(Reply {
                status: head.status,
                headers: head.headers,
                multiplexed: head.version == http::Version::HTTP_2,
                body,
                held: share,
            })
        };
        let waiting = async {
            if turns.is_some() && tokio::time::timeout(self.agent.slack, left.wait()).await.is_err() {
                return;
            }
            let _one = underway.begin();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            result = tokio::time::timeout(ask.deadline, exchange) => {
                result.map_err(|_| Failure::Deadline(ask.deadline))?
            }
            () = waiting => Err(not_sent()),
            () = interim.1.notified() => Err(Failure::Interim),
        }
    }

    /// A whole body, and its part of the bytes that all may hold.
    async fn collect(&self, mut body: Incoming, limit: usize) -> Result<(Bytes, Held), Failure> {
        let mut share = self.budget.share();
        let mut parts = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::Body(Box::new(error)))?;
            let Ok(data) = frame.into_data() else { continue };
            if parts.len() + data.len() > limit {
                return Err(Failure::TooLong { limit });
            }
            share.grow(data.len()).await.map_err(Failure::Memory)?;
            parts.extend_from_slice(&data);
        }
        Ok((parts.freeze(), share.keep()))
    }
}

fn answer(query: &Query, reply: Reply) -> Result<Answer, Failure> {
    let missing = query.may_be_missing() && reply.status == StatusCode::NOT_FOUND;
    if reply.status != StatusCode::OK && !missing {
        return Err(Failure::of(reply.status, &reply.body));
    }
    let headers = &reply.headers;
    let index = number(headers, "x-consul-index").ok_or(Failure::NoIndex)?;
    let backend = match text(headers, "x-consul-query-backend") {
        Some("streaming") => Backend::Stream,
        _ => Backend::Servers,
    };
    let means_something = backend == Backend::Servers;
    let known_leader = text(headers, "x-consul-knownleader").and_then(|t| t.parse().ok());
    let last_contact = number(headers, "x-consul-lastcontact").map(Duration::from_millis);
    Ok(Answer {
        // 0 would make the next blocking read return at once, for ever.
        index: index.max(1),
        backend,
        known_leader: known_leader.filter(|_| means_something),
        last_contact: last_contact.filter(|_| means_something),
        filtered: text(headers, "x-consul-results-filtered-by-acls") == Some("true"),
        multiplexed: reply.multiplexed,
        missing,
        body: reply.body,
        held: reply.held,
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name).and_then(|value| value.parse().ok())
}
