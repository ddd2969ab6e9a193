//! The table of keys: a row for each, in the order of the documents. Pure.

use super::cluster_rows;
use super::field::{Field, Routes};
use super::rollout_rows;
use super::row::{Row, Value};
use super::values::{callers, duration, expose, needs, show_exposures, show_needs, weight, word};
use crate::model::key::Key;
use crate::model::label::label;
use crate::model::locality::LocalityRule;
use crate::model::policy::{AllowMode, InstanceKeys, OnAllUnhealthy, Policy, Protocol, State};
use crate::model::route::hash::HashKey;
use crate::model::route::retry::Retry as RouteRetry;
use crate::text::show_duration;

/// `Key => Row`; a numbered key stands here with its first number. The compiler demands a row for each key.
macro_rules! rows {
    ($($key:ident $(($first:literal))? => $row:expr,)*) => {
        impl Key {
            /// All keys, in the order of their rows; of numbered ones the first.
            pub const ALL: &'static [Self] = &[$(Self::$key $(($first))?),*];

            /// What there is to know about it.
            #[must_use]
            pub fn row(self) -> &'static Row {
                match self {
                    $(Self::$key { .. } => {
                        static ROW: Row = $row;
                        &ROW
                    })*
                }
            }
        }
    };
}

rows! {
    Version => Row {
        name: "version",
        numbered: false,
        since: "0.1",
        help: "a commit id or release",
        default: "none",
        fallback: "has no version",
        value: Value::Instance(&Field {
            get: |keys: &InstanceKeys| &keys.version,
            set: |keys| &mut keys.version,
            read: |text| label(text, "a commit id or release"),
            show: ToString::to_string,
        }),
    },
    Weight => Row {
        name: "weight",
        numbered: false,
        since: "0.1",
        help: "share of the traffic, 0 to 128000; 0 takes it out",
        default: "Consul's `Weights`, else 1",
        fallback: "has the registry's own weight",
        value: Value::Instance(&Field {
            get: |keys: &InstanceKeys| &keys.weight,
            set: |keys| &mut keys.weight,
            read: weight,
            show: ToString::to_string,
        }),
    },
    Zone => Row {
        name: "zone",
        numbered: false,
        since: "0.1",
        help: "locality zone",
        default: "Consul: node meta `zone`, then `Locality.Zone` of the service or node, then the datacenter",
        fallback: "has the registry's own zone",
        value: Value::Instance(&Field {
            get: |keys: &InstanceKeys| &keys.zone,
            set: |keys| &mut keys.zone,
            read: |text| label(text, "a zone name"),
            show: ToString::to_string,
        }),
    },
    Region => Row {
        name: "region",
        numbered: false,
        since: "0.1",
        help: "locality region: for clients that prefer near instances, see `locality`",
        default: "Consul: node meta `region`, then `Locality.Region` of the service or node",
        fallback: "has the registry's own region",
        value: Value::Instance(&Field {
            get: |keys: &InstanceKeys| &keys.region,
            set: |keys| &mut keys.region,
            read: |text| label(text, "a region name"),
            show: ToString::to_string,
        }),
    },
    State => Row {
        name: "state",
        numbered: false,
        since: "0.1",
        help: "`up`; `drain`: no new requests while any other instance is left, those in flight finish; `off`: not in \
               Envoy at all",
        default: "`up` (Consul's maintenance mode: `drain`)",
        fallback: "is up",
        value: Value::Instance(&Field {
            get: |keys: &InstanceKeys| &keys.state,
            set: |keys| &mut keys.state,
            read: |text| word(text, State::parse, State::WORDS),
            show: |state| state.as_str().to_owned(),
        }),
    },
    Share => rollout_rows::SHARE,
    Data => rollout_rows::DATA,
    DataReads => rollout_rows::DATA_READS,
    Protocol => Row {
        name: "protocol",
        numbered: false,
        since: "0.1",
        help: "`http1` (or `http`), `http2`, `grpc`, `tcp`; by TLS, see `tls`: `https`, `https2`, `grpcs`",
        default: "`grpc` with a route `grpc=`, `tcp` with none but `port=` and `sni=`, else `http1`",
        fallback: "declares no protocol",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.protocol,
            set: |policy| &mut policy.protocol,
            read: |text| word(text, Protocol::parse, Protocol::WORDS),
            show: |protocol| protocol.as_str().to_owned(),
        }),
    },
    Expose => Row {
        name: "expose",
        numbered: false,
        since: "0.1",
        help: "exposures by name, separated by commas; `none`: no routes",
        default: "`internal`",
        fallback: "does not say where the service is exposed",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.expose,
            set: |policy| &mut policy.expose,
            read: expose,
            show: show_exposures,
        }),
    },
    Route(1) => Row {
        name: "route",
        numbered: true,
        since: "0.1",
        help: "`host=api.x path=/orders header=x-canary:1 timeout=2s stream-idle-timeout=1h`; `grpc=shop.Orders`; \
               `grpc=shop.Orders/Get`",
        default: "none",
        fallback: "does not declare this route",
        value: Value::Service(&Routes),
    },
    Timeout => Row {
        name: "timeout",
        numbered: false,
        since: "0.1",
        help: "of routes that name none: when the whole answer must have come; `0s`: never too late",
        default: "`0s`; gRPC: the client's deadline",
        fallback: "has routes without a timeout, unless they say one",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.timeout,
            set: |policy| &mut policy.timeout,
            read: duration,
            show: |time| show_duration(*time),
        }),
    },
    StreamIdleTimeout => Row {
        name: "stream-idle-timeout",
        numbered: false,
        since: "0.1",
        help: "of routes that name none: how long nothing may pass either way, on a request, an event stream or a \
               WebSocket; `0s`: no limit",
        default: "`5m`; gRPC: `1h`",
        fallback: "has routes with the operator's stream idle timeout, unless they say one",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.stream_idle_timeout,
            set: |policy| &mut policy.stream_idle_timeout,
            read: duration,
            show: |time| show_duration(*time),
        }),
    },
    PerTryTimeout => Row {
        name: "per-try-timeout",
        numbered: false,
        since: "0.1",
        help: "of routes that name none: how long one try may take before the next one begins (see `retry`); `0s`: as \
               long as all of them",
        default: "`0s`",
        fallback: "has routes whose tries have no timeout of their own, unless they say one",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.per_try_timeout,
            set: |policy| &mut policy.per_try_timeout,
            read: duration,
            show: |time| show_duration(*time),
        }),
    },
    MaxStreamDuration => Row {
        name: "max-stream-duration",
        numbered: false,
        since: "0.1",
        help: "of routes that name none: how long a request or stream may take, whatever passes; `0s`: no limit",
        default: "`0s`",
        fallback: "has routes whose streams may take as long as they like, unless they say otherwise",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.max_stream_duration,
            set: |policy| &mut policy.max_stream_duration,
            read: duration,
            show: |time| show_duration(*time),
        }),
    },
    Retry => Row {
        name: "retry",
        numbered: false,
        since: "0.1",
        help: "of routes that name none: what is tried again beside requests that surely never reached a server, and how \
               often: `5xx,reset:3`, `503:2`, `unavailable:3` (gRPC), `3`, `off`; tries after a failed answer may \
               repeat what the first one did",
        default: "only what never reached a server, `clusters.retries` times",
        fallback: "has routes with the operator's retries, unless they say others",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.retry,
            set: |policy| &mut policy.retry,
            read: |text| RouteRetry::parse(text).map(Some),
            show: RouteRetry::show,
        }),
    },
    Hash => Row {
        name: "hash",
        numbered: false,
        since: "0.1",
        help: "of routes that name none: what a server is chosen by where the cluster hashes: `header:x-user`, \
               `cookie:user`, `cookie:user:1h` (set where it is missing), `query:user`, `ip`; of several, separated by \
               commas, the first that a request has",
        default: "none",
        fallback: "has routes that hash nothing, unless they say so",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.hash,
            set: |policy| &mut policy.hash,
            read: |text| HashKey::parse_all(text).map(Some),
            show: |keys| HashKey::show_all(keys),
        }),
    },
    Allow => Row {
        name: "allow",
        numbered: false,
        since: "0.1",
        help: "who may call it, by names that `[callers]` in bridge.toml gives to identities in clients' certificates: \
               `web,edge`; others get 403, and so does everybody on a listener that asks for no certificates",
        default: "whoever gets to its routes",
        fallback: "may be called by nobody",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.allow,
            set: |policy| &mut policy.allow,
            read: callers,
            show: |names| names.join(","),
        }),
    },
    AllowMode => Row {
        name: "allow-mode",
        numbered: false,
        since: "0.1",
        help: "`enforce`; `log`: who may not call gets through and is counted (Envoy's `http.LISTENER.rbac.callers.shadow_denied`)",
        default: "`enforce`",
        fallback: "enforces its `allow`",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.allow_mode,
            set: |policy| &mut policy.allow_mode,
            read: |text| word(text, AllowMode::parse, AllowMode::WORDS),
            show: |mode| mode.as_str().to_owned(),
        }),
    },
    IdleTimeout => Row {
        name: "idle-timeout",
        numbered: false,
        since: "0.1",
        help: "when Envoy closes an idle connection to the server; below the server's own, or requests fail while it \
               closes; `0s`: never",
        default: "`clusters.idle_timeout`; HTTP/2 and gRPC: Envoy's 1h",
        fallback: "takes the operator's `clusters.idle_timeout`",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.idle_timeout,
            set: |policy| &mut policy.idle_timeout,
            read: duration,
            show: |time| show_duration(*time),
        }),
    },
    AllUnhealthy => Row {
        name: "all-unhealthy",
        numbered: false,
        since: "0.1",
        help: "when none of its instances is healthy: `open`: all get requests; `closed`: none, 503; `drop`: none is \
               even in the assignment",
        default: "`clusters.on_all_unhealthy`",
        fallback: "takes the operator's rule",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.all_unhealthy,
            set: |policy| &mut policy.all_unhealthy,
            read: |text| word(text, OnAllUnhealthy::parse, OnAllUnhealthy::WORDS),
            show: |rule| rule.as_str().to_owned(),
        }),
    },
    Needs => Row {
        name: "needs",
        numbered: false,
        since: "0.1",
        help: "the services that this one calls, separated by commas: what the Envoys of its fleet see, where \
               `[fleets.NAME]` says so; `none`: nobody",
        default: "none",
        fallback: "declares nobody that it calls",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.needs,
            set: |policy| &mut policy.needs,
            read: needs,
            show: |names| show_needs(names),
        }),
    },
    Locality => Row {
        name: "locality",
        numbered: false,
        since: "0.1",
        help: "`prefer`: a client that says where it is calls the instances of its own zone, then of its region, then \
               the others; `prefer:50`: the next ones get a part only when less than 50 % of the nearer ones are healthy; \
               `off`: where a client is makes no difference",
        default: "`clusters.locality`",
        fallback: "takes the operator's rule",
        value: Value::Service(&Field {
            get: |policy: &Policy| &policy.locality,
            set: |policy| &mut policy.locality,
            read: |text| LocalityRule::parse(text).map(Some),
            show: ToString::to_string,
        }),
    },
    Lb => cluster_rows::LB,
    HealthCheck => cluster_rows::HEALTH_CHECK,
    Outlier => cluster_rows::OUTLIER,
    Limits => cluster_rows::LIMITS,
    ConnectTimeout => cluster_rows::CONNECT_TIMEOUT,
    MaxConnectionDuration => cluster_rows::MAX_CONNECTION_DURATION,
    MaxRequestsPerConnection => cluster_rows::MAX_REQUESTS_PER_CONNECTION,
    TcpKeepalive => cluster_rows::TCP_KEEPALIVE,
    Http2 => cluster_rows::HTTP2,
    ProxyProtocol => cluster_rows::PROXY_PROTOCOL,
    SlowStart => cluster_rows::SLOW_START,
    Tls => cluster_rows::TLS,
    Rollout => rollout_rows::ROLLOUT,
    RolloutSteps => rollout_rows::STEPS,
    RolloutStepTime => rollout_rows::STEP_TIME,
    RolloutMinRequests => rollout_rows::MIN_REQUESTS,
    RolloutMargin => rollout_rows::MARGIN,
    RolloutDeadline => rollout_rows::DEADLINE,
    RolloutNoData => rollout_rows::NO_DATA,
    RolloutGates => rollout_rows::GATES,
    RolloutMetric => rollout_rows::METRIC,
    VersionHeader => rollout_rows::VERSION_HEADER,
    Sticky => rollout_rows::STICKY,
}
