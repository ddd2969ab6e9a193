//! A good answer: its index, what its headers mean, and its body. Reads the index of a 200 only: errors carry
//! `X-Consul-Index: 1`.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::error::Failure;
use super::query::Query;
use crate::registry::budget::Held;

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
    /// `X-Consul-Results-Filtered-By-ACLs` (Consul 1.11 and newer): the token hides something.
    pub filtered: bool,
    /// Many requests share one connection (HTTP/2).
    pub multiplexed: bool,
    /// 404 where that is a good answer.
    pub missing: bool,
    /// JSON.
    pub body: Bytes,
    /// Its share of the bytes that all reads may hold.
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

/// A response with its whole body, good or not.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) multiplexed: bool,
    pub(super) body: Bytes,
    pub(super) held: Held,
}

impl Answer {
    /// A 200 with an index, or a 404 where that is a good answer.
    pub(super) fn read(query: &Query, reply: Reply) -> Result<Self, Failure> {
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
        Ok(Self {
            // With 0 every blocking read would return at once.
            index: index.max(1),
            backend,
            known_leader: known_leader.filter(|_| means_something),
            filtered: text(headers, "x-consul-results-filtered-by-acls") == Some("true"),
            multiplexed: reply.multiplexed,
            missing,
            body: reply.body,
            held: reply.held,
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name).and_then(|value| value.parse().ok())
}
