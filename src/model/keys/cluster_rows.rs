//! The rows of the keys that shape a cluster; their values are those of [`crate::model::cluster`]. Pure.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use super::field::Field;
use super::row::{Row, Value};
use super::values::{duration, word};
use crate::model::cluster::{
    Balancing, HealthCheck, Http2, Limits, Outlier, ProxyProtocol, TcpKeepalive, Tls, at_least, count,
};
use crate::model::policy::Policy;
use crate::text::show_duration;

/// A value of several words.
fn shared<T>(value: Result<T, String>) -> Result<Option<Arc<T>>, String> {
    value.map(|value| Some(Arc::new(value)))
}

/// As its type shows itself.
fn shown<T: Display>(value: &T) -> String {
    value.to_string()
}

pub(super) const LB: Row = Row {
    name: "lb",
    numbered: false,
    since: "0.1",
    help: "how requests are shared out: `round_robin`, `least_request`, `random`, `ring_hash`, `maglev`, `wrr` (by the \
           load that servers report, ORCA)",
    default: "`round_robin`",
    fallback: "is balanced in turn",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.cluster.lb,
        set: |policy| &mut policy.cluster.lb,
        read: |text| word(text, Balancing::parse, Balancing::WORDS),
        show: |lb| lb.as_str().to_owned(),
    }),
};

pub(super) const HEALTH_CHECK: Row = Row {
    name: "health-check",
    numbered: false,
    since: "0.1",
    help: "each Envoy asks each server itself: `http:/healthz`, `grpc`, `grpc:shop.Orders` or `tcp`, then `interval=10s \
           timeout=2s unhealthy=3 healthy=2 host=NAME status=200-399`; beside the registry's health, not in its place",
    default: "none; of its words those shown, the service's name as host, status 200",
    fallback: "declares no health check",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.cluster.health_check,
        set: |policy| &mut policy.cluster.health_check,
        read: |text| shared(HealthCheck::parse(text)),
        show: shown,
    }),
};

pub(super) const OUTLIER: Row = Row {
    name: "outlier",
    numbered: false,
    since: "0.1",
    help: "servers that fail requests get none for a while: `errors=5` (5xx or no answer, in a row), `gateway-errors=5` \
           (502 to 504), `failure-rate=50%` (of 50 requests or more in an interval), `interval=10s ejection=30s \
           max-ejected=50%`; or `off`",
    default: "`off`; of its words `errors=5`, unless another one ejects, and those shown",
    fallback: "declares no ejection",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.cluster.outlier,
        set: |policy| &mut policy.cluster.outlier,
        read: |text| shared(Outlier::parse(text)),
        show: shown,
    }),
};

pub(super) const LIMITS: Row = Row {
    name: "limits",
    numbered: false,
    since: "0.1",
    help: "what one Envoy sends to all of its servers at once: `connections=1000 pending=1000 requests=1000`, and \
           `retries=100` or `retry-budget=20% min-retries=10`; above it requests fail with 503 at once",
    default: "no limits; `retries=1000`",
    fallback: "declares no limits",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.cluster.limits,
        set: |policy| &mut policy.cluster.limits,
        read: |text| shared(Limits::parse(text)),
        show: shown,
    }),
};

pub(super) const CONNECT_TIMEOUT: Row = Row {
    name: "connect-timeout",
    numbered: false,
    since: "0.1",
    help: "when a connection to a server must stand",
    default: "`clusters.connect_timeout`",
    fallback: "takes the operator's `clusters.connect_timeout`",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.cluster.connect_timeout,
        set: |policy| &mut policy.cluster.connect_timeout,
        read: |text| at_least("", text, Duration::from_millis(1)).map(Some),
        show: |time| show_duration(*time),
    }),
};

pub(super) const MAX_CONNECTION_DURATION: Row = Row {
    name: "max-connection-duration",
    numbered: false,
    since: "0.1",
    help: "a connection to a server gets no new requests after this time; `0s`: no limit",
    default: "`0s`",
    fallback: "has connections without an age",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.cluster.max_connection_duration,
        set: |policy| &mut policy.cluster.max_connection_duration,
        read: duration,
        show: |time| show_duration(*time),
    }),
};

pub(super) const MAX_REQUESTS_PER_CONNECTION: Row = Row {
    name: "max-requests-per-connection",
    numbered: false,
    since: "0.1",
    help: "how many requests a connection to a server gets at most; `0`: no limit",
    default: "`0`",
    fallback: "has connections for any number of requests",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.cluster.max_requests_per_connection,
        set: |policy| &mut policy.cluster.max_requests_per_connection,
        read: |text| count("", text, 0..=u32::MAX).map(Some),
        show: ToString::to_string,
    }),
};

pub(super) const TCP_KEEPALIVE: Row = Row {
    name: "tcp-keepalive",
    numbered: false,
    since: "0.1",
    help: "probes on silent connections to servers: `60s`, or `idle=60s interval=10s probes=3`, in whole seconds",
    default: "none; of its words the system's values",
    fallback: "has connections without probes",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.cluster.tcp_keepalive,
        set: |policy| &mut policy.cluster.tcp_keepalive,
        read: |text| shared(TcpKeepalive::parse(text)),
        show: shown,
    }),
};

pub(super) const HTTP2: Row = Row {
    name: "http2",
    numbered: false,
    since: "0.1",
    help: "of connections by `http2` and `grpc`: `streams=100` (requests at once on one connection), `window=1MiB \
           connection-window=1MiB`, `keepalive=30s keepalive-timeout=5s` (pings)",
    default: "Envoy's; no pings",
    fallback: "has connections with Envoy's HTTP/2 options",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.cluster.http2,
        set: |policy| &mut policy.cluster.http2,
        read: |text| shared(Http2::parse(text)),
        show: shown,
    }),
};

pub(super) const PROXY_PROTOCOL: Row = Row {
    name: "proxy-protocol",
    numbered: false,
    since: "0.1",
    help: "connections to servers begin with the client's address: `v1` (text) or `v2`; not with protocol `grpc`, and \
           gRPC's own clients cannot dial such a service",
    default: "none",
    fallback: "has connections without it",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.cluster.proxy_protocol,
        set: |policy| &mut policy.cluster.proxy_protocol,
        read: |text| word(text, ProxyProtocol::parse, ProxyProtocol::WORDS),
        show: |version| version.as_str().to_owned(),
    }),
};

pub(super) const SLOW_START: Row = Row {
    name: "slow-start",
    numbered: false,
    since: "0.1",
    help: "a new instance gets its full share only after this time; with lb `round_robin` or `least_request`; `0s`: at \
           once",
    default: "`0s`",
    fallback: "gets its full share at once",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.cluster.slow_start,
        set: |policy| &mut policy.cluster.slow_start,
        read: duration,
        show: |time| show_duration(*time),
    }),
};

pub(super) const TLS: Row = Row {
    name: "tls",
    numbered: false,
    since: "0.1",
    help: "connections to its servers are encrypted, and their certificates checked by the CA of `[tls.NAME]` in \
           bridge.toml (or `system`: whom Envoy's machine trusts): `shop`, `shop sni=orders.example.com \
           san=spiffe://shop/orders`; a certificate in `[tls.NAME]` is shown to them",
    default: "none; with protocol `https`, `https2` or `grpcs`: `system`. `sni`: the service's name; `san`: as `sni`",
    fallback: "gets no requests of its service: nothing is sent unencrypted instead",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.cluster.tls,
        set: |policy| &mut policy.cluster.tls,
        read: |text| shared(Tls::parse(text)),
        show: shown,
    }),
};
