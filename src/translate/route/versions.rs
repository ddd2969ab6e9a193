//! The routes of a service whose requests are shared out among its versions: one for each version that a request may ask
//! for, then one with the share of each. A share that changes is another route, and touches no cluster.
//!
//! A failed request is tried again with the stable version: its instances stand in the cluster of each other version
//! with the next priority, and a retry leaves the priorities out that were tried before. So it works in each Envoy, and
//! without an aggregate cluster (which can end Envoy's process up to 1.40.0).

use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::retry_policy::RetryPriority;
use envoy_types::pb::envoy::config::route::v3::retry_policy::retry_priority::ConfigType;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::{ClusterWeight, RandomValueSpecifier};
use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, RouteAction, WeightedCluster};
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};

use super::super::any::pack;
use super::action::{copies, hash, retry_policy};
use super::wire::Route;
use crate::plan::{Claim, Part, Split};

/// Those of a claim; `route`: to the service's own cluster.
pub(super) fn routes(claim: &Claim, split: &Split, route: &Route) -> Vec<Route> {
    let Some(Action::Route(action)) = &route.action else {
        return vec![route.clone()];
    };
    let forced = split.forced().map(|(header, part)| {
        let mut route = with(route, to_version(action, part));
        if let Some(wanted) = &mut route.r#match {
            wanted.headers.push(asks_for(header, &part.version));
        }
        route
    });
    let shared = with(route, shared(claim, split, action));
    forced.chain([shared]).collect()
}

fn with(route: &Route, action: RouteAction) -> Route {
    Route {
        action: Some(Action::Route(action)),
        ..route.clone()
    }
}

fn to_version(action: &RouteAction, part: &Part) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(part.cluster.to_string())),
        ..action.clone()
    }
}

fn asks_for(header: &str, version: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: header.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(version.to_owned())),
            ..StringMatcher::default()
        })),
        ..HeaderMatcher::default()
    }
}

fn shared(claim: &Claim, split: &Split, action: &RouteAction) -> RouteAction {
    let mut action = action.clone();
    action.cluster_specifier = Some(weighted(split, split.sticky.is_some()));
    if let Some(key) = &split.sticky {
        action.hash_policy.insert(0, hash(key));
    }
    if let Some((cluster, millionths)) = &split.mirror {
        action.request_mirror_policies.push(copies(cluster, *millionths));
    }
    if split.has_spare() {
        let wanted = &claim.action;
        let mut policy = action
            .retry_policy
            .take()
            .unwrap_or_else(|| retry_policy(wanted.retries, wanted.retry.as_deref(), wanted.per_try_timeout));
        policy.retry_priority = Some(leaves_those_tried());
        action.retry_policy = Some(policy);
    }
    action
}

fn leaves_those_tried() -> RetryPriority {
    RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&PreviousPrioritiesConfig {
            update_frequency: 1,
        }))),
    }
}

/// Each version with its share. The weights have one sum at all times, and the stable version is the last: a user who is
/// chosen for another one by a hash stays with it while its share grows.
pub(in crate::translate) fn weighted(split: &Split, hashed: bool) -> ClusterSpecifier {
    let weight = |part: &Part| ClusterWeight {
        name: part.cluster.to_string(),
        weight: Some(UInt32Value { value: part.weight }),
        ..ClusterWeight::default()
    };
    ClusterSpecifier::WeightedClusters(WeightedCluster {
        clusters: split.shared().map(weight).collect(),
        random_value_specifier: hashed
            .then_some(RandomValueSpecifier::UseHashPolicy(BoolValue { value: true })),
        ..WeightedCluster::default()
    })
}
