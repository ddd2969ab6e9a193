//! The format before the present one, which wrote the types of the model as they were then. Only read. Pure.
//!
//! What could not be declared today is left out, as the present format does it.
//! It goes when no bridge that wrote it can be updated to this version any more.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::schema::Keys;
use crate::model::{self, InstanceKeys, ServiceRecord};

/// Of the head of a file.
pub(super) const FORMAT: u32 = 2;

#[derive(Debug, Deserialize)]
pub(super) struct Record {
    instances: Vec<Instance>,
    policy: Option<Policy>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    id: Arc<str>,
    address: SocketAddr,
    health: Health,
    weight: u32,
    zone: Arc<str>,
    version: Arc<str>,
    policy: Policy,
    own: Option<Own>,
    #[serde(default)]
    created: u64,
}

#[derive(Debug, Deserialize)]
struct Own {
    weight: Option<u32>,
    state: Option<State>,
    zone: Option<Arc<str>>,
    version: Option<Arc<str>>,
    health: Health,
    registered_weight: u32,
    registered_zone: Arc<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Policy {
    protocol: Option<Protocol>,
    expose: Option<Expose>,
    routes: Vec<Entry>,
    all_unhealthy: Option<OnAllUnhealthy>,
    timeout: Option<Duration>,
    stream_idle_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
}

/// Routes with their number; still earlier states have a plain list.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Entry {
    Numbered(u32, Rule),
    Plain(Rule),
}

#[derive(Clone, Debug, Deserialize)]
struct Rule {
    host: Option<String>,
    matcher: Matcher,
    headers: Vec<(String, String)>,
    timeout: Option<Duration>,
    stream_idle_timeout: Option<Duration>,
}

#[derive(Clone, Debug, Deserialize)]
enum Matcher {
    /// Still earlier states have the path as it was declared, with a slash at its end maybe.
    Prefix(String),
    Characters(String),
    Grpc {
        service: String,
        method: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Health {
    Healthy,
    Draining,
    Unhealthy,
    Off,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum State {
    Up,
    Drain,
    Off,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Protocol {
    Http1,
    Http2,
    Grpc,
    Tcp,
}

#[derive(Clone, Debug, Deserialize)]
enum Expose {
    Nothing,
    On(Vec<String>),
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum OnAllUnhealthy {
    Open,
    Closed,
    Drop,
}

impl From<Record> for ServiceRecord {
    fn from(record: Record) -> Self {
        Self {
            instances: record.instances.into_iter().map(Into::into).collect(),
            policy: record.policy.map(Into::into),
            ..Self::default()
        }
    }
}

impl From<Instance> for model::Instance {
    fn from(from: Instance) -> Self {
        let mut instance = Self::new(from.id, from.address);
        instance.health = from.health.into();
        instance.weight = from.weight;
        instance.zone = from.zone;
        instance.version = from.version;
        instance.policy = Arc::new(from.policy.into());
        instance.own = from.own.map(|own| Arc::new(own.into()));
        instance.created = from.created;
        instance
    }
}

impl From<Own> for model::Own {
    fn from(own: Own) -> Self {
        let declared = InstanceKeys {
            version: own.version,
            weight: own.weight,
            zone: own.zone,
            state: own.state.map(|state| match state {
                State::Up => model::State::Up,
                State::Drain => model::State::Drain,
                State::Off => model::State::Off,
            }),
            ..InstanceKeys::default()
        };
        Self {
            declared: Keys::of_instance(&declared).instance(),
            health: own.health.into(),
            registered_weight: own.registered_weight,
            registered_zone: own.registered_zone,
            registered_region: Arc::default(),
        }
    }
}

impl From<Policy> for model::Policy {
    fn from(policy: Policy) -> Self {
        let routes = (1..).zip(policy.routes);
        let routes: BTreeMap<u32, model::RouteRule> = routes
            .map(|(position, entry)| match entry {
                Entry::Numbered(number, rule) => (number, rule.into()),
                Entry::Plain(rule) => (position, rule.into()),
            })
            .collect();
        let policy = Self {
            protocol: policy.protocol.map(|protocol| match protocol {
                Protocol::Http1 => model::Protocol::Http1,
                Protocol::Http2 => model::Protocol::Http2,
                Protocol::Grpc => model::Protocol::Grpc,
                Protocol::Tcp => model::Protocol::Tcp,
            }),
            expose: policy.expose.map(|expose| match expose {
                Expose::Nothing => model::Expose::Nothing,
                Expose::On(names) => model::Expose::On(names),
            }),
            routes,
            timeout: policy.timeout,
            stream_idle_timeout: policy.stream_idle_timeout,
            idle_timeout: policy.idle_timeout,
            all_unhealthy: policy.all_unhealthy.map(|rule| match rule {
                OnAllUnhealthy::Open => model::OnAllUnhealthy::Open,
                OnAllUnhealthy::Closed => model::OnAllUnhealthy::Closed,
                OnAllUnhealthy::Drop => model::OnAllUnhealthy::Drop,
            }),
            ..Self::default()
        };
        Keys::of_service(&policy).policy()
    }
}

impl From<Rule> for model::RouteRule {
    fn from(rule: Rule) -> Self {
        let equal = |(name, value)| model::Criterion::Header {
            name,
            test: model::route::Test::Exact(value),
            not: false,
        };
        Self {
            hosts: rule.host.into_iter().collect(),
            criteria: rule.headers.into_iter().map(equal).collect(),
            timeout: rule.timeout,
            stream_idle_timeout: rule.stream_idle_timeout,
            ..Self::of(match rule.matcher {
                Matcher::Prefix(path) => model::Matcher::Prefix(path),
                Matcher::Characters(path) => model::Matcher::Characters(path),
                Matcher::Grpc { service, method } => {
                    model::Matcher::Grpc(model::GrpcMethod { service, method })
                }
            })
        }
    }
}

impl From<Health> for model::Health {
    fn from(health: Health) -> Self {
        match health {
            Health::Healthy => Self::Healthy,
            Health::Draining => Self::Draining,
            Health::Unhealthy => Self::Unhealthy,
            Health::Off => Self::Off,
        }
    }
}
