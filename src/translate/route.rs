//! A listener's route configuration: all claims on its exposure, as virtual hosts.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::retry_policy::RetryHostPredicate;
use envoy_types::pb::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, MaxStreamDuration};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::UInt32Value;
use prost::Message as _;

use super::any::{duration, pack};
use super::table::Claim;
use crate::model::{Clusters, Issue, Matcher};
use crate::xds::{Draft, Kind, Reach};

/// A gRPC stream may be silent for so long; Envoy's default of five minutes cuts quiet watches.
const GRPC_IDLE: Duration = Duration::from_secs(3600);

/// The route configuration `name`, and the claims that lost against an equal one.
#[must_use]
pub fn route(name: &Arc<str>, claims: &[&Claim], defaults: &Clusters, reach: Reach) -> (Draft, Vec<Issue>) {
    let (message, issues) = message(name, claims, defaults);
    let mut needs: Vec<Arc<str>> = claims.iter().map(|c| c.cluster.clone()).collect();
    needs.sort();
    needs.dedup();
    let body = message.encode_to_vec();
    (
        Draft {
            kind: Kind::Route,
            name: name.clone(),
            body,
            needs,
            reach,
        },
        issues,
    )
}

/// The same as a message, for static resources.
#[must_use]
pub fn message(name: &str, claims: &[&Claim], defaults: &Clusters) -> (RouteConfiguration, Vec<Issue>) {
    let mut hosts: BTreeMap<&str, Vec<&Claim>> = BTreeMap::new();
    for claim in claims {
        hosts.entry(&claim.host).or_default().push(claim);
    }
    let mut issues = Vec::new();
    let retry = retry_policy(defaults);
    let virtual_hosts = hosts
        .into_iter()
        .map(|(host, mut claims)| {
            claims.sort_by_key(|c| specificity(c));
            claims.dedup_by(|later, first| {
                let equal = later.matcher == first.matcher && later.headers == first.headers;
                if equal && later.cluster != first.cluster {
                    let reason = format!(
                        "route: {} on host `{host}` is claimed by `{}` too, which keeps it",
                        describe(&later.matcher),
                        first.cluster
                    );
                    issues.push(Issue::warning(&*later.cluster, reason));
                }
                equal
            });
            VirtualHost {
                name: host.to_owned(),
                domains: vec![host.to_owned()],
                routes: claims.into_iter().map(one).collect(),
                retry_policy: retry.clone(),
                ..VirtualHost::default()
            }
        })
        .collect();
    let configuration = RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        // `Host: orders:10001` is the host `orders`.
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    };
    (configuration, issues)
}

/// Most specific first: Envoy takes the first route that matches. Equal claims: whose host it is,
/// then the lesser service name; of one service's, the one that says more than its bare name does.
fn specificity(claim: &Claim) -> impl Ord + use<> {
    let (exact, length) = match &claim.matcher {
        Matcher::Grpc(grpc) => (
            grpc.method.is_some(),
            grpc.service.len() + 2 + grpc.method.as_ref().map_or(0, String::len),
        ),
        Matcher::Prefix(path) => (false, path.len()),
    };
    (
        Reverse((exact, length, claim.headers.len())),
        claim.matcher.clone(),
        claim.headers.clone(),
        claim.kin,
        claim.cluster.clone(),
        (claim.timeout.is_none(), claim.timeout),
    )
}

fn describe(matcher: &Matcher) -> String {
    match matcher {
        Matcher::Prefix(path) => format!("path={path}"),
        Matcher::Grpc(grpc) => match &grpc.method {
            Some(method) => format!("grpc={}/{method}", grpc.service),
            None => format!("grpc={}", grpc.service),
        },
    }
}

fn one(claim: &Claim) -> Route {
    let path = match &claim.matcher {
        Matcher::Prefix(path) => PathSpecifier::Prefix(path.clone()),
        Matcher::Grpc(grpc) => match &grpc.method {
            Some(method) => PathSpecifier::Path(format!("/{}/{method}", grpc.service)),
            None => PathSpecifier::Prefix(format!("/{}/", grpc.service)),
        },
    };
    // A gRPC client brings its own deadline, which Envoy keeps; a stream may take as long as it likes.
    let timeout = match (claim.timeout, claim.grpc) {
        (Some(timeout), _) => Some(duration(timeout)),
        (None, true) => Some(duration(Duration::ZERO)),
        (None, false) => None,
    };
    let max_stream_duration = claim.grpc.then(|| MaxStreamDuration {
        grpc_timeout_header_max: Some(duration(Duration::ZERO)),
        ..MaxStreamDuration::default()
    });
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(path),
            headers: claim
                .headers
                .iter()
                .map(|(name, value)| header(name, value))
                .collect(),
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(claim.cluster.to_string())),
            timeout,
            idle_timeout: claim.grpc.then(|| duration(GRPC_IDLE)),
            max_stream_duration,
            ..RouteAction::default()
        })),
        ..Route::default()
    }
}

fn header(name: &str, value: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(value.to_owned())),
            ..StringMatcher::default()
        })),
        ..HeaderMatcher::default()
    }
}

/// Only what surely never reached a server is tried again, on another one: safe for
/// any request, and what makes a dying server invisible.
fn retry_policy(defaults: &Clusters) -> Option<RetryPolicy> {
    (defaults.retries > 0).then(|| RetryPolicy {
        retry_on: "connect-failure,refused-stream,reset-before-request".to_owned(),
        num_retries: Some(UInt32Value {
            value: defaults.retries,
        }),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(ConfigType::TypedConfig(pack(&PreviousHostsPredicate {}))),
        }],
        host_selection_retry_max_attempts: 5,
        ..RetryPolicy::default()
    })
}
