//! What becomes of the requests of a route.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier as Data;
use envoy_types::pb::envoy::config::core::v3::{DataSource, RuntimeFractionalPercent};
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::retry_policy::RetryHostPredicate;
use envoy_types::pb::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter,
};
use envoy_types::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HashPolicy, HostRewriteSpecifier, MaxStreamDuration, RequestMirrorPolicy, UpgradeConfig,
};
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, RetryPolicy, RouteAction, WeightedCluster,
};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};

use super::super::any::{duration, pack};
use super::matching::regex;
use crate::model::route::hash::HashKey;
use crate::model::route::instead::{Redirect, RedirectPath, Respond};
use crate::model::route::retry::Retry;
use crate::model::route::rewrite::{NewHost, Rewrite, segments_expression};
use crate::model::route::shares::{Mirror, Part};
use crate::model::{Action as Wanted, Extras, Paths, Target};
use crate::plan::Claim;

/// `retries`: those of the virtual host.
pub(super) fn action(claim: &Claim, retries: u32) -> Action {
    let extras = claim.action.extras.as_deref();
    match extras.map(|extras| &extras.target) {
        Some(Target::Redirect(to)) => Action::Redirect(redirect(to, &claim.matcher.paths())),
        Some(Target::Respond(with)) => Action::DirectResponse(respond(with)),
        None | Some(Target::Itself | Target::Version(_) | Target::Split(_)) => {
            Action::Route(forward(claim, extras, retries))
        }
    }
}

fn forward(claim: &Claim, extras: Option<&Extras>, retries: u32) -> RouteAction {
    let wanted = &claim.action;
    let target = match extras.map(|extras| &extras.target) {
        Some(Target::Split(parts)) => ClusterSpecifier::WeightedClusters(split(parts)),
        _ => ClusterSpecifier::Cluster(claim.cluster.to_string()),
    };
    let grpc_timeout_header_max = wanted.grpc.then(|| duration(Duration::ZERO));
    let lasts = wanted.max_stream_duration.map(duration);
    let limited = grpc_timeout_header_max.is_some() || lasts.is_some();
    let own_retries = wanted.retries != retries || wanted.retry.is_some() || wanted.per_try_timeout.is_some();
    let mut action = RouteAction {
        cluster_specifier: Some(target),
        timeout: Some(duration(wanted.timeout.value)),
        idle_timeout: wanted.stream_idle_timeout.value.map(duration),
        max_stream_duration: limited.then(|| MaxStreamDuration {
            max_stream_duration: lasts,
            grpc_timeout_header_max,
            ..MaxStreamDuration::default()
        }),
        // One without retries has to say so: without a policy it has that of its virtual host.
        retry_policy: own_retries
            .then(|| retry_policy(wanted.retries, wanted.retry.as_deref(), wanted.per_try_timeout)),
        upgrade_configs: upgrades(wanted, extras),
        ..RouteAction::default()
    };
    if let Some(extras) = extras {
        rewrite(extras, &claim.matcher.paths(), &mut action);
        action.request_mirror_policies = extras.mirrors.iter().map(mirror).collect();
        action.hash_policy = extras.hash.iter().map(hash).collect();
    }
    action
}

/// Of requests that surely never reached a server.
const SAFE: [&str; 3] = ["connect-failure", "refused-stream", "reset-before-request"];

/// Only what surely never reached a server is tried again, on another one: safe for any request, and what makes a
/// dying server invisible. And what the service declares.
pub(super) fn retry_policy(retries: u32, declared: Option<&Retry>, per_try: Option<Duration>) -> RetryPolicy {
    let mut on: Vec<&str> = SAFE.to_vec();
    let mut statuses = Vec::new();
    if let Some(declared) = declared {
        on.extend(declared.on.iter().filter(|kind| !SAFE.contains(kind)));
        if !declared.statuses.is_empty() {
            on.push("retriable-status-codes");
        }
        statuses.extend(declared.statuses.iter().map(|status| u32::from(*status)));
    }
    RetryPolicy {
        retry_on: on.join(","),
        num_retries: Some(UInt32Value {
            value: declared.map_or(retries, |declared| declared.times),
        }),
        per_try_timeout: per_try.filter(|time| !time.is_zero()).map(duration),
        retriable_status_codes: statuses,
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(ConfigType::TypedConfig(pack(&PreviousHostsPredicate {}))),
        }],
        host_selection_retry_max_attempts: 5,
        ..RetryPolicy::default()
    }
}

/// A listener lets requests be upgraded; to a cluster of HTTP/2 that would be a broken stream, not a refusal.
fn upgrades(wanted: &Wanted, extras: Option<&Extras>) -> Vec<UpgradeConfig> {
    let config = |name: &str, enabled| UpgradeConfig {
        upgrade_type: name.to_owned(),
        enabled: Some(BoolValue { value: enabled }),
        ..UpgradeConfig::default()
    };
    let declared = extras.and_then(|extras| extras.upgrades.as_deref());
    let mut configs: Vec<UpgradeConfig> = declared
        .unwrap_or_default()
        .iter()
        .map(|name| config(name, true))
        .collect();
    let off = declared.map_or(wanted.http2, |names| !names.iter().any(|name| name == WEBSOCKET));
    if off {
        configs.push(config(WEBSOCKET, false));
    }
    configs
}

const WEBSOCKET: &str = "websocket";

fn split(parts: &[Part]) -> WeightedCluster {
    let cluster = |part: &Part| ClusterWeight {
        name: part.service.clone(),
        weight: Some(UInt32Value { value: part.weight }),
        ..ClusterWeight::default()
    };
    WeightedCluster {
        clusters: parts.iter().map(cluster).collect(),
        ..WeightedCluster::default()
    }
}

fn mirror(mirror: &Mirror) -> RequestMirrorPolicy {
    copies(&mirror.service, mirror.millionths)
}

/// A cluster that gets copies of this many millionths of the requests.
pub(super) fn copies(cluster: &str, millionths: u32) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: cluster.to_owned(),
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(FractionalPercent {
                numerator: millionths,
                denominator: DenominatorType::Million as i32,
            }),
            ..RuntimeFractionalPercent::default()
        }),
        ..RequestMirrorPolicy::default()
    }
}

/// The first key that a request has decides alone.
pub(super) fn hash(key: &HashKey) -> HashPolicy {
    let policy = match key {
        HashKey::Header(name) => PolicySpecifier::Header(Header {
            header_name: name.clone(),
            ..Header::default()
        }),
        HashKey::Cookie(name, time) => PolicySpecifier::Cookie(Cookie {
            name: name.clone(),
            ttl: time.map(duration),
            path: time.map_or_else(String::new, |_| "/".to_owned()),
            ..Cookie::default()
        }),
        HashKey::Query(name) => PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() }),
        HashKey::Ip => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
    };
    HashPolicy {
        terminal: true,
        policy_specifier: Some(policy),
    }
}

/// What takes the place of the matched part of a path: a prefix of it, or what an expression finds.
enum Replaced {
    Prefix(String),
    Regex(RegexMatchAndSubstitute),
}

/// Envoy replaces characters. What a route matches are segments: `/orders/7` below `/orders` becomes `/7` with `/`,
/// and not `//7`.
fn replaced(paths: &Paths, by: &str) -> Replaced {
    match paths {
        Paths::Segments(path) if path == "/" => Replaced::Prefix(format!("{}/", by.trim_end_matches('/'))),
        Paths::Segments(path) if by.ends_with('/') => {
            Replaced::Regex(substitute(&segments_expression(path), &by.replace('\\', r"\\")))
        }
        _ => Replaced::Prefix(by.to_owned()),
    }
}

fn substitute(pattern: &str, substitution: &str) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute {
        pattern: Some(regex(pattern.to_owned())),
        substitution: substitution.to_owned(),
    }
}

fn rewrite(extras: &Extras, paths: &Paths, action: &mut RouteAction) {
    let replaced = match &extras.rewrite {
        None => None,
        Some(Rewrite::Matched(path)) => Some(replaced(paths, path)),
        Some(Rewrite::Regex {
            pattern,
            substitution,
        }) => Some(Replaced::Regex(substitute(pattern, substitution))),
    };
    match replaced {
        None => {}
        Some(Replaced::Prefix(path)) => action.prefix_rewrite = path,
        Some(Replaced::Regex(regex)) => action.regex_rewrite = Some(regex),
    }
    action.host_rewrite_specifier = extras.host_rewrite.as_ref().map(|host| match host {
        NewHost::Is(host) => HostRewriteSpecifier::HostRewriteLiteral(host.clone()),
        NewHost::Server => HostRewriteSpecifier::AutoHostRewrite(BoolValue { value: true }),
    });
}

fn redirect(to: &Redirect, paths: &Paths) -> RedirectAction {
    let code = match to.code {
        Some(302) => RedirectResponseCode::Found,
        Some(303) => RedirectResponseCode::SeeOther,
        Some(307) => RedirectResponseCode::TemporaryRedirect,
        Some(308) => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    let path = to.path.as_ref().map(|path| match path {
        RedirectPath::Whole(path) => PathRewriteSpecifier::PathRedirect(path.clone()),
        RedirectPath::Matched(path) => match replaced(paths, path) {
            Replaced::Prefix(path) => PathRewriteSpecifier::PrefixRewrite(path),
            Replaced::Regex(regex) => PathRewriteSpecifier::RegexRewrite(regex),
        },
    });
    RedirectAction {
        host_redirect: to.host.clone().unwrap_or_default(),
        port_redirect: to.port.map_or(0, u32::from),
        response_code: code as i32,
        strip_query: to.drop_query,
        scheme_rewrite_specifier: to
            .scheme
            .map(|scheme| SchemeRewriteSpecifier::SchemeRedirect(scheme.to_owned())),
        path_rewrite_specifier: path,
    }
}

fn respond(with: &Respond) -> DirectResponseAction {
    DirectResponseAction {
        status: u32::from(with.status),
        body: (!with.body.is_empty()).then(|| DataSource {
            specifier: Some(Data::InlineString(with.body.clone())),
            ..DataSource::default()
        }),
        ..DirectResponseAction::default()
    }
}
