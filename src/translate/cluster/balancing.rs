//! The load balancing policy of a cluster.
//!
//! The cluster is the one of gRPC's own clients, too: the C core refuses `lb_policy: LEAST_REQUEST`, all of them MAGLEV
//! and RANDOM. So `lb_policy` stays `ROUND_ROBIN`, and a list says the rest: each client takes the first policy of it that
//! it knows. Only types that Envoy 1.36 has stand in it: it prints no `/config_dump` at all with one that it lacks
//! (`wrr_locality`, which would keep the weights of zones for gRPC's clients).

use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    LbConfig, RoundRobinLbConfig, SlowStartConfig as LegacySlowStart,
};
use envoy_types::pb::envoy::config::cluster::v3::load_balancing_policy::Policy;
use envoy_types::pb::envoy::config::cluster::v3::{Cluster, LoadBalancingPolicy};
use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::load_balancing_policies::client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin;
use envoy_types::pb::envoy::extensions::load_balancing_policies::common::v3::SlowStartConfig;
use envoy_types::pb::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use envoy_types::pb::envoy::extensions::load_balancing_policies::maglev::v3::Maglev;
use envoy_types::pb::envoy::extensions::load_balancing_policies::random::v3::Random;
use envoy_types::pb::envoy::extensions::load_balancing_policies::ring_hash::v3::RingHash;
use envoy_types::pb::envoy::extensions::load_balancing_policies::ring_hash::v3::ring_hash::HashFunction;
use envoy_types::pb::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use prost::{Message, Name};

use super::wrapped;
use crate::model::ClusterKeys;
use crate::model::cluster::Balancing;
use crate::translate::any::{duration, pack};

/// The less busy one of this number of servers is taken; gRPC's clients refuse 1.
const CHOICES: u32 = 2;

/// Sets the policy, unless it is the default.
pub(super) fn set(cluster: &mut Cluster, keys: &ClusterKeys) {
    let window = keys.slow_start.filter(|time| !time.is_zero()).map(duration);
    let first = match keys.lb.unwrap_or_default() {
        Balancing::RoundRobin => {
            cluster.lb_config = window.map(|window| {
                LbConfig::RoundRobinLbConfig(RoundRobinLbConfig {
                    slow_start_config: Some(LegacySlowStart {
                        slow_start_window: Some(window),
                        ..LegacySlowStart::default()
                    }),
                })
            });
            return;
        }
        Balancing::LeastRequest => policy(
            "least_request",
            &LeastRequest {
                choice_count: wrapped(CHOICES),
                slow_start_config: window.map(|window| SlowStartConfig {
                    slow_start_window: Some(window),
                    ..SlowStartConfig::default()
                }),
                ..LeastRequest::default()
            },
        ),
        Balancing::Random => policy("random", &Random::default()),
        Balancing::RingHash => policy(
            "ring_hash",
            &RingHash {
                // Go and Java refuse one without it; Node refuses sizes.
                hash_function: HashFunction::XxHash as i32,
                ..RingHash::default()
            },
        ),
        Balancing::Maglev => policy("maglev", &Maglev::default()),
        Balancing::Wrr => policy(
            "client_side_weighted_round_robin",
            &ClientSideWeightedRoundRobin::default(),
        ),
    };
    cluster.load_balancing_policy = Some(LoadBalancingPolicy {
        policies: vec![first, policy("round_robin", &RoundRobin::default())],
    });
}

fn policy<M: Message + Name>(name: &str, config: &M) -> Policy {
    Policy {
        typed_extension_config: Some(TypedExtensionConfig {
            name: format!("envoy.load_balancing_policies.{name}"),
            typed_config: Some(pack(config)),
        }),
    }
}
