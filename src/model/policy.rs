//! What servers declare, as data: the policy of a service, and the keys of one instance. Pure.
//!
//! A field per key, `None` where the key is not declared. How a value is read and which of two counts is in
//! [`super::keys`], for all keys in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::cluster::ClusterKeys;
use super::key::Key;
use super::locality::LocalityRule;
use super::rollouts::RolloutKeys;
use super::rollouts::Share;
use super::route::RouteRule;
use super::route::hash::HashKey;
use super::route::retry::Retry;

/// What a service (one version of it) wants of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Policy {
    /// `protocol`
    pub protocol: Option<Protocol>,
    /// `expose`: exposures by name, comma separated; `none` = no route at all.
    pub expose: Option<Expose>,
    /// `route` (1), `route-2`, … by their number.
    pub routes: BTreeMap<u32, RouteRule>,
    /// `timeout`: of each route that has none of its own; zero: no timeout.
    pub timeout: Option<Duration>,
    /// `stream-idle-timeout`: of each route that has none of its own; zero: never.
    pub stream_idle_timeout: Option<Duration>,
    /// `per-try-timeout`: of each route that has none of its own; zero: none.
    pub per_try_timeout: Option<Duration>,
    /// `max-stream-duration`: of each route that has none of its own; zero: no limit.
    pub max_stream_duration: Option<Duration>,
    /// `retry`: of each route that has none of its own.
    pub retry: Option<Retry>,
    /// `hash`: of each route that has none of its own.
    pub hash: Option<Vec<HashKey>>,
    /// `allow`: who may call it, by name; sorted.
    pub allow: Option<Vec<String>>,
    /// `allow-mode`
    pub allow_mode: Option<AllowMode>,
    /// `idle-timeout`: of connections from Envoy to its servers; zero: never.
    pub idle_timeout: Option<Duration>,
    /// `all-unhealthy`
    pub all_unhealthy: Option<OnAllUnhealthy>,
    /// `needs`: services by name; sorted.
    pub needs: Option<Vec<Arc<str>>>,
    /// `locality`
    pub locality: Option<LocalityRule>,
    /// `lb`, `health-check` and the others of its cluster.
    pub cluster: ClusterKeys,
    /// `rollout` and the others of its versions.
    pub rollout: RolloutKeys,
    /// Policy keys that are there and cannot be read.
    pub slips: BTreeSet<Key>,
}

impl Policy {
    /// How long a request may take, as far as that is declared: of each route the stream's own bound, else its
    /// timeout; the longest of all. `unbounded`: of one that has neither, where others have. `None`: nothing is declared.
    #[must_use]
    pub fn longest_request(&self, unbounded: Duration) -> Option<Duration> {
        let bound = |route: Option<&RouteRule>| {
            let stream = route
                .and_then(|route| route.max_stream_duration)
                .or(self.max_stream_duration);
            let timeout = route.and_then(|route| route.timeout).or(self.timeout);
            let bounds = [stream, timeout].into_iter().flatten();
            bounds.filter(|bound| !bound.is_zero()).max()
        };
        // Where its own host has a route, that one has the bounds of the service.
        let routes = self.routes.values().map(|route| bound(Some(route)));
        let all: Vec<Option<Duration>> = routes.chain([bound(None)]).collect();
        let longest = all.iter().flatten().max().copied()?;
        let open = all.iter().any(Option::is_none);
        Some(if open { longest.max(unbounded) } else { longest })
    }
}

/// The keys that an instance declares of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceKeys {
    /// `version`
    pub version: Option<Arc<str>>,
    /// `weight`, 0..=[`super::MAX_WEIGHT`]; 0 means: no traffic.
    pub weight: Option<u32>,
    /// `zone`
    pub zone: Option<Arc<str>>,
    /// `region`
    pub region: Option<Arc<str>>,
    /// `state`
    pub state: Option<State>,
    /// `share`: of its version.
    pub share: Option<Share>,
    /// `data`: the version of the stored data that it writes.
    pub data: Option<u64>,
    /// `data-reads`: the first and the last that it reads.
    pub data_reads: Option<(u64, u64)>,
    /// Instance keys that are there and cannot be read.
    pub slips: BTreeSet<Key>,
}

/// `expose`, read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expose {
    /// `none`: cluster and endpoints only.
    Nothing,
    /// Names of exposures that the operator defined.
    On(Vec<String>),
}

/// `state`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Takes traffic (the default).
    Up,
    /// No new requests; those in flight finish.
    Drain,
    /// Not in Envoy at all.
    Off,
}

impl State {
    /// All of its words, for messages.
    pub const WORDS: &str = "up, drain or off";

    /// Reads the declared word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "up" => Self::Up,
            "drain" => Self::Drain,
            "off" => Self::Off,
            _ => return None,
        })
    }

    /// The declared word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Drain => "drain",
            Self::Off => "off",
        }
    }
}

/// What an instance speaks; decides the upstream protocol of its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1, the default.
    #[default]
    Http1,
    /// HTTP/2 without TLS (prior knowledge).
    Http2,
    /// gRPC: HTTP/2, and routes without a response timeout.
    Grpc,
    /// HTTP/1.1 by TLS.
    Https,
    /// HTTP/2 by TLS.
    Https2,
    /// gRPC by TLS.
    Grpcs,
    /// Bytes: a cluster and endpoints, but no HTTP routes.
    Tcp,
}

impl Protocol {
    /// All of its words, for messages.
    pub const WORDS: &str = "http1, http2, grpc, https, https2, grpcs or tcp";

    /// Reads the declared word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "http1" | "http" => Self::Http1,
            "http2" | "h2" => Self::Http2,
            "grpc" => Self::Grpc,
            "https" => Self::Https,
            "https2" => Self::Https2,
            "grpcs" => Self::Grpcs,
            "tcp" => Self::Tcp,
            _ => return None,
        })
    }

    /// The declared word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Https => "https",
            Self::Https2 => "https2",
            Self::Grpcs => "grpcs",
            Self::Tcp => "tcp",
        }
    }

    /// What is spoken inside of TLS, or without it.
    #[must_use]
    pub const fn plain(self) -> Self {
        match self {
            Self::Https => Self::Http1,
            Self::Https2 => Self::Http2,
            Self::Grpcs => Self::Grpc,
            plain => plain,
        }
    }

    /// It says by itself that connections are encrypted.
    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Https | Self::Https2 | Self::Grpcs)
    }
}

impl Policy {
    /// Who may call the service by `allow`, by name: nobody where that cannot be read. `None`: everybody may.
    #[must_use]
    pub fn admits(&self) -> Option<&[String]> {
        let unread = self.slips.contains(&Key::Allow);
        self.allow.as_deref().or_else(|| unread.then_some(&[][..]))
    }

    /// The same where others are refused, and not only counted.
    #[must_use]
    pub fn admits_only(&self) -> Option<&[String]> {
        self.admits().filter(|_| self.allow_mode != Some(AllowMode::Log))
    }
}

/// `allow-mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AllowMode {
    /// Who may not call is only counted.
    Log,
    /// Who may not call gets 403, the default.
    Enforce,
}

impl AllowMode {
    /// All of its words, for messages.
    pub const WORDS: &str = "enforce or log";

    /// Reads the declared word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "enforce" => Self::Enforce,
            "log" => Self::Log,
            _ => return None,
        })
    }

    /// The declared word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Log => "log",
        }
    }
}

/// What becomes of a service that is all unhealthy ([`super::Service::all_unhealthy`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnAllUnhealthy {
    /// All get traffic (`healthy_panic_threshold` 1 %).
    Open,
    /// None gets traffic: 503 (`healthy_panic_threshold` 0 %). They stay in the assignment as they are.
    Closed,
    /// None is in the assignment: 503, and clients that share calls out themselves see none either.
    Drop,
}

impl OnAllUnhealthy {
    /// All of its words, for messages.
    pub const WORDS: &str = "open, closed or drop";

    /// Reads the declared word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "open" => Self::Open,
            "closed" => Self::Closed,
            "drop" => Self::Drop,
            _ => return None,
        })
    }

    /// The declared word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Drop => "drop",
        }
    }
}
