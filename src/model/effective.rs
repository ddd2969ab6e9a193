//! What is in force for one service: what it declares, over what the operator sets for all. Made once for each
//! service; what is generated for it is made of this, and no generator knows a default of its own. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::ClusterKeys;
use super::locality::LocalityRule;
use super::network::Clusters;
use super::policy::{Expose, OnAllUnhealthy, Protocol};
use super::rollouts::{Mode, RolloutKeys, VersionHeader};
use super::route::hash::HashKey;
use super::route::instead::Respond;
use super::route::retry::Retry;
use super::route::{Extras, Matcher, RouteRule, Target};
use super::service::Service;

/// A gRPC stream may be silent for this time; Envoy's default of five minutes cuts quiet watches.
const GRPC_STREAM_IDLE: Duration = Duration::from_secs(3600);

/// Where a service is exposed that does not declare it.
const EXPOSURE: &str = "internal";

/// What is in force for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Of its cluster.
    pub cluster: ClusterSettings,
    /// Whether clients that say where they are prefer its near instances.
    pub locality: LocalityRule,
    /// Where its declared routes are.
    pub expose: Expose,
    /// Its declared routes, by their number.
    pub routes: Vec<EffectiveRoute>,
    /// What becomes of requests that it gets by its name.
    pub by_name: Action,
    /// How requests find one of its versions.
    pub versions: VersionSettings,
}

/// How requests find a version, where a service is split by version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionSettings {
    /// It is split even with one version: rollouts decide how much each gets.
    pub rolled_out: bool,
    /// A request asks for a version by this header.
    pub header: Option<Arc<str>>,
    /// What the version is chosen by; `None`: each request by itself.
    pub sticky: Option<HashKey>,
}

impl VersionSettings {
    fn of(keys: &RolloutKeys, defaults: &Clusters) -> Self {
        Self {
            rolled_out: keys.mode.unwrap_or(defaults.rollout) == Mode::Auto,
            header: match &keys.header {
                Some(VersionHeader::Off) => None,
                Some(VersionHeader::Name(name)) => Some(name.clone()),
                None => Some(VersionHeader::DEFAULT.into()),
            },
            sticky: keys.sticky.clone(),
        }
    }
}

/// What a cluster is made of, beside its name. Two that are equal are the same cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Whose cluster it is: that of one of its versions has another name.
    pub service: Arc<str>,
    /// What its servers speak.
    pub protocol: Protocol,
    /// What happens when none of its instances is healthy.
    pub all_unhealthy: OnAllUnhealthy,
    /// TCP connect timeout.
    pub connect_timeout: Duration,
    /// When Envoy closes an idle connection to a server; zero: never. `None`: when Envoy does it by itself.
    pub idle_timeout: Option<Duration>,
    /// Envoy shows its servers the certificate of the `[tls.NAME]` that it names.
    pub shows_certificate: bool,
    /// A figure of its servers that clients report with their load.
    pub metric: Option<Arc<str>>,
    /// What else it declares of its cluster, as far as it fits.
    pub declared: ClusterKeys,
}

impl ClusterSettings {
    /// By what name the servers in a cluster are known: that of their service, also in the cluster of one version.
    #[must_use]
    pub fn servers<'a>(&'a self, cluster: &'a str) -> &'a str {
        let version = cluster.strip_prefix(&*self.service);
        if version.is_some_and(|version| version.starts_with('@')) {
            &self.service
        } else {
            cluster
        }
    }
}

/// A declared route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveRoute {
    /// Which requests.
    pub rule: RouteRule,
    /// What becomes of them.
    pub action: Action,
}

/// What becomes of the requests of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Action {
    /// A gRPC service: its calls bring their own deadlines, and may be silent for longer.
    pub grpc: bool,
    /// The cluster speaks HTTP/2, where no request can be upgraded.
    pub http2: bool,
    /// When the whole answer must have come; zero: never too late.
    pub timeout: Setting<Duration>,
    /// How long nothing may pass either way; zero: no limit. `None`: as long as the listener allows.
    pub stream_idle_timeout: Setting<Option<Duration>>,
    /// How often a request that never reached a server is tried on another one.
    pub retries: u32,
    /// What is tried again beside that, as often as it says.
    pub retry: Option<Arc<Retry>>,
    /// How long one try may take; zero or `None`: as long as all of them.
    pub per_try_timeout: Option<Duration>,
    /// How long a request may take, whatever passes; zero: no limit.
    pub max_stream_duration: Option<Duration>,
    /// What few routes declare; `None`: nothing of it.
    pub extras: Option<Arc<Extras>>,
}

/// A value, and whether the service or the route declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting<T> {
    /// False: it is a default.
    pub declared: bool,
    /// What is in force.
    pub value: T,
}

impl<T> Setting<T> {
    /// What is declared, if anything, or else the default.
    fn of(declared: Option<T>, default: T) -> Self {
        Self {
            declared: declared.is_some(),
            value: declared.unwrap_or(default),
        }
    }
}

impl Effective {
    /// What is in force for a service.
    #[must_use]
    pub fn of(service: &Service, defaults: &Clusters) -> Self {
        let policy = &service.policy;
        let protocol = service.protocol();
        let expose = policy.expose.clone();
        let route = |rule: &RouteRule| {
            let mut rule = rule.clone();
            if rule.imported.is_some() && policy.expose.is_some() {
                // What the service declares by our own key is stronger than what is imported.
                rule.expose.clear();
            }
            EffectiveRoute {
                action: Action::of(service, protocol, Some(&rule), defaults),
                rule,
            }
        };
        let mut declared = policy.cluster.fitting(protocol);
        let encrypted = policy.protocol.is_some_and(Protocol::is_encrypted);
        if encrypted && declared.tls.is_none() {
            declared.tls = Some(Arc::default());
        }
        let cluster = ClusterSettings {
            service: service.name.clone(),
            protocol,
            all_unhealthy: policy.all_unhealthy.unwrap_or(defaults.on_all_unhealthy),
            connect_timeout: declared
                .connect_timeout
                .take()
                .unwrap_or(defaults.connect_timeout),
            idle_timeout: policy.idle_timeout.or(match protocol {
                // A server that closes a connection as the next request comes fails that request: Envoy closes it
                // before. HTTP/2 servers announce it by GOAWAY.
                Protocol::Http1 => Some(defaults.idle_timeout),
                _ => None,
            }),
            shows_certificate: declared
                .tls
                .as_ref()
                .and_then(|tls| defaults.secrets.get(tls.name.as_ref()?))
                .is_some_and(|identity| *identity),
            metric: policy.rollout.metric.clone().or_else(|| defaults.metric.clone()),
            declared,
        };
        Self {
            cluster,
            locality: policy.locality.unwrap_or(defaults.locality),
            expose: expose.unwrap_or_else(|| Expose::On(vec![EXPOSURE.to_owned()])),
            routes: policy.routes.values().map(route).collect(),
            by_name: Action::of(service, protocol, None, defaults),
            versions: VersionSettings::of(&policy.rollout, defaults),
        }
    }
}

impl Action {
    /// The same requests get 403: a filter that they need cannot be there.
    #[must_use]
    pub fn refused(&self) -> Self {
        let body = "refused: a check that this route needs is not set up\n";
        self.answered(403, body.to_owned())
    }

    /// The version of the service that alone is to have its requests.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.extras.as_deref().and_then(Extras::version)
    }

    /// The same requests are answered by Envoy itself.
    #[must_use]
    pub fn answered(&self, status: u16, body: String) -> Self {
        Self {
            extras: Some(Arc::new(Extras {
                target: Target::Respond(Respond { status, body }),
                ..Extras::default()
            })),
            ..self.clone()
        }
    }

    /// `rule`: `None` for the requests that a service gets by its name.
    fn of(service: &Service, protocol: Protocol, rule: Option<&RouteRule>, defaults: &Clusters) -> Self {
        let policy = &service.policy;
        let by_route = rule.is_some_and(|rule| matches!(rule.matcher, Matcher::Grpc(_)));
        let grpc = protocol == Protocol::Grpc || by_route;
        let timeout = rule.and_then(|rule| rule.timeout).or(policy.timeout);
        let idle = rule.and_then(|rule| rule.stream_idle_timeout);
        let idle = idle.or(policy.stream_idle_timeout);
        let retry = rule
            .and_then(|rule| rule.retry.as_ref())
            .or(policy.retry.as_ref());
        let mut extras = rule.map(|rule| rule.extras.clone()).unwrap_or_default();
        if let (true, Some(hash)) = (extras.hash.is_empty(), &policy.hash) {
            extras.hash.clone_from(hash);
        }
        Self {
            grpc,
            http2: matches!(protocol, Protocol::Http2 | Protocol::Grpc),
            // Envoy would cut every answer after 15 s; what is silent ends by the idle timeout. A gRPC client
            // brings its own deadline, which Envoy keeps.
            timeout: Setting::of(timeout, Duration::ZERO),
            stream_idle_timeout: Setting::of(idle.map(Some), grpc.then_some(GRPC_STREAM_IDLE)),
            retries: defaults.retries,
            retry: retry.cloned().map(Arc::new),
            per_try_timeout: rule
                .and_then(|rule| rule.per_try_timeout)
                .or(policy.per_try_timeout),
            max_stream_duration: rule
                .and_then(|rule| rule.max_stream_duration)
                .or(policy.max_stream_duration),
            extras: (extras != Extras::default()).then(|| Arc::new(extras)),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::model::declaration::{self, Spelling};

    /// What is in force for a service that declares these keys, in one line; each route in its own.
    fn seen(keys: &[(&str, &str)]) -> String {
        let declared = declaration::parse("x", Spelling::Plain, keys.iter().copied(), &mut Vec::new());
        let service = Service {
            policy: declared.policy,
            ..Service::default()
        };
        let Effective {
            cluster,
            locality: _,
            expose,
            routes,
            by_name,
            versions: _,
        } = Effective::of(&service, &Clusters::DEFAULT);
        let ClusterSettings {
            service: _,
            protocol,
            all_unhealthy,
            connect_timeout,
            idle_timeout,
            shows_certificate: _,
            metric: _,
            declared: _,
        } = cluster;
        let action = |a: &Action| {
            let (timeout, idle) = (a.timeout, a.stream_idle_timeout);
            let mark = |declared: bool| if declared { "!" } else { "" };
            format!(
                "timeout {:?}{} idle {:?}{} retries {}{}{}\n",
                timeout.value,
                mark(timeout.declared),
                idle.value,
                mark(idle.declared),
                a.retries,
                if a.grpc { " grpc" } else { "" },
                if a.http2 { " h2" } else { "" },
            )
        };
        let head = format!(
            "{protocol:?} {expose:?} {all_unhealthy:?} connect {connect_timeout:?} idle {idle_timeout:?}\n"
        );
        let routes = routes
            .iter()
            .map(|r| format!("{}: {}", r.rule, action(&r.action)));
        head + &format!("by name: {}", action(&by_name)) + &routes.collect::<String>()
    }

    #[test]
    fn what_is_not_declared_is_as_the_operator_sets_it() {
        expect![[r#"
            Http1 On(["internal"]) Open connect 1s idle Some(4s)
            by name: timeout 0ns idle None retries 4
        "#]]
        .assert_eq(&seen(&[]));
        expect![[r#"
            Grpc On(["internal"]) Open connect 1s idle None
            by name: timeout 0ns idle Some(3600s) retries 4 grpc h2
            grpc=shop.Orders: timeout 0ns idle Some(3600s) retries 4 grpc h2
        "#]]
        .assert_eq(&seen(&[("route", "grpc=shop.Orders")]));
    }

    #[test]
    fn a_route_comes_before_its_service_and_that_before_the_operator() {
        expect![[r#"
            Http2 On(["edge"]) Drop connect 1s idle Some(2s)
            by name: timeout 5s! idle Some(60s)! retries 4 h2
            path=/a: timeout 5s! idle Some(60s)! retries 4 h2
            path=/b timeout=1s stream-idle-timeout=0s: timeout 1s! idle Some(0ns)! retries 4 h2
        "#]]
        .assert_eq(&seen(&[
            ("protocol", "http2"),
            ("expose", "edge"),
            ("all-unhealthy", "drop"),
            ("idle-timeout", "2s"),
            ("timeout", "5s"),
            ("stream-idle-timeout", "1m"),
            ("route", "path=/a"),
            ("route-2", "path=/b timeout=1s stream-idle-timeout=0s"),
        ]));
    }
}
