//! A listener's route configuration: the claims on its exposure that count, as virtual hosts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::retry_policy::RetryHostPredicate;
use envoy_types::pb::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, MaxStreamDuration, UpgradeConfig,
};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};
use prost::Message as _;

use super::any::{duration, pack};
use super::table::Claim;
use crate::model::{Clusters, Paths};
use crate::xds::{Draft, Kind, Reach};

/// A gRPC stream may be silent for so long; Envoy's default of five minutes cuts quiet watches.
const GRPC_IDLE: Duration = Duration::from_secs(3600);

/// The route configuration `name` of these claims, as [`super::owners::decide`] leaves them.
#[must_use]
pub fn route(name: &Arc<str>, claims: &[&Claim], defaults: &Clusters, reach: Reach) -> Draft {
    let mut needs: Vec<Arc<str>> = claims.iter().map(|c| c.cluster.clone()).collect();
    needs.sort();
    needs.dedup();
    Draft {
        kind: Kind::Route,
        name: name.clone(),
        body: message(name, claims, defaults).encode_to_vec(),
        needs,
        reach,
    }
}

/// The same as a message, for static resources.
#[must_use]
pub fn message(name: &str, claims: &[&Claim], defaults: &Clusters) -> RouteConfiguration {
    let mut hosts: BTreeMap<&str, Vec<Route>> = BTreeMap::new();
    for claim in claims {
        hosts.entry(&claim.host).or_default().push(one(claim));
    }
    let retry = retry_policy(defaults);
    let virtual_hosts = hosts
        .into_iter()
        .map(|(host, routes)| VirtualHost {
            name: host.to_owned(),
            domains: vec![host.to_owned()],
            routes,
            retry_policy: retry.clone(),
            ..VirtualHost::default()
        })
        .collect();
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        // `Host: orders:10001` is the host `orders`.
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    }
}

fn one(claim: &Claim) -> Route {
    let path = match claim.matcher.paths() {
        Paths::Exactly(path) => PathSpecifier::Path(path),
        // What Envoy calls a separated prefix ends with no slash; everything is below the root.
        Paths::Segments(path) if path != "/" => PathSpecifier::PathSeparatedPrefix(path),
        Paths::Segments(path) | Paths::Characters(path) => PathSpecifier::Prefix(path),
    };
    // Envoy would cut every answer after 15 s; what is silent ends by the idle timeout. A gRPC client
    // brings its own deadline, which Envoy keeps.
    let timeout = claim.timeout.unwrap_or(Duration::ZERO);
    let idle = claim
        .stream_idle_timeout
        .or_else(|| claim.grpc.then_some(GRPC_IDLE));
    // A listener lets requests be upgraded; to a cluster of HTTP/2 that would be a broken stream, not a refusal.
    let upgrade_configs = claim.http2.then(|| UpgradeConfig {
        upgrade_type: "websocket".to_owned(),
        enabled: Some(BoolValue { value: false }),
        ..UpgradeConfig::default()
    });
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
            timeout: Some(duration(timeout)),
            idle_timeout: idle.map(duration),
            max_stream_duration,
            upgrade_configs: upgrade_configs.into_iter().collect(),
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
