//! A service's cluster: type EDS over ADS, named as the service.

use std::collections::HashMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiVersion, ConfigSource, Http1ProtocolOptions, Http2ProtocolOptions,
    HttpProtocolOptions as CommonHttpOptions,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::UInt32Value;
use prost::Message as _;

use super::any::{duration, pack};
use crate::model::{ClusterSettings, OnAllUnhealthy, Protocol};
use crate::xds::{Draft, Kind, Reach};

pub(crate) const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Retries of a cluster at once. Envoy's default of 3 turns one dead server into failed requests.
const MAX_RETRIES: u32 = 1_000;

/// The cluster of a service.
#[must_use]
pub fn cluster(name: &Arc<str>, settings: &ClusterSettings) -> Draft {
    Draft {
        kind: Kind::Cluster,
        name: name.clone(),
        body: message(name, settings).encode_to_vec(),
        needs: vec![Arc::clone(name)],
        reach: Reach::All,
    }
}

/// The same as a message, for static resources.
#[must_use]
pub fn message(name: &str, settings: &ClusterSettings) -> Cluster {
    let panic = match settings.all_unhealthy {
        // Without endpoints there is no panic; those that only drain still get what there is.
        OnAllUnhealthy::Open | OnAllUnhealthy::Drop => 1.0,
        OnAllUnhealthy::Closed => 0.0,
    };
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: String::new(),
        }),
        connect_timeout: Some(duration(settings.connect_timeout)),
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: panic }),
            ..CommonLbConfig::default()
        }),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                // Overload is the server's to judge; what we must not do is fail a healthy deploy.
                max_connections: Some(UInt32Value { value: u32::MAX }),
                max_pending_requests: Some(UInt32Value { value: u32::MAX }),
                max_requests: Some(UInt32Value { value: u32::MAX }),
                max_retries: Some(UInt32Value { value: MAX_RETRIES }),
                ..Thresholds::default()
            }],
            ..CircuitBreakers::default()
        }),
        typed_extension_protocol_options: http_options(settings),
        ..Cluster::default()
    }
}

/// One entry or none: see the module's note on maps.
fn http_options(settings: &ClusterSettings) -> HashMap<String, envoy_types::pb::google::protobuf::Any> {
    let protocol = match settings.protocol {
        Protocol::Tcp => return HashMap::new(),
        Protocol::Http1 => ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()),
        Protocol::Http2 | Protocol::Grpc => {
            ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default())
        }
    };
    let options = HttpProtocolOptions {
        common_http_protocol_options: settings.idle_timeout.map(|idle| CommonHttpOptions {
            idle_timeout: Some(duration(idle)),
            ..CommonHttpOptions::default()
        }),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(protocol),
        })),
        ..HttpProtocolOptions::default()
    };
    HashMap::from([(HTTP_OPTIONS.to_owned(), pack(&options))])
}

/// "From the same stream as everything else."
#[must_use]
pub fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use envoy_types::pb::envoy::config::cluster::v3::cluster::LbPolicy;

    use super::*;
    use crate::model::{Clusters, Effective, Policy, Service};

    #[test]
    fn envoy_closes_idle_connections_to_http1_servers_first() {
        let idle = |protocol, idle_timeout| {
            let service = Service {
                policy: Policy {
                    protocol,
                    idle_timeout,
                    ..Policy::default()
                },
                ..Service::default()
            };
            let any = message("orders", &Effective::of(&service, &Clusters::DEFAULT).cluster)
                .typed_extension_protocol_options
                .remove(HTTP_OPTIONS)?;
            let options = HttpProtocolOptions::decode(&*any.value).unwrap();
            Some(options.common_http_protocol_options?.idle_timeout?.seconds)
        };
        let two = Some(Duration::from_secs(2));
        assert_eq!((idle(None, None), idle(None, two)), (Some(4), Some(2)));
        assert_eq!(idle(None, Some(Duration::ZERO)), Some(0), "never");
        for (protocol, declared) in [
            (Protocol::Grpc, Some(2)),
            (Protocol::Http2, Some(2)),
            (Protocol::Tcp, None),
        ] {
            assert_eq!(
                (idle(Some(protocol), None), idle(Some(protocol), two)),
                (None, declared),
                "{protocol:?}"
            );
        }
    }

    /// What one of gRPC's own clients refuses, all others do without: the cluster is shared with them.
    #[test]
    fn the_cluster_is_what_each_grpc_client_accepts() {
        let service = Service {
            policy: Policy {
                protocol: Some(Protocol::Grpc),
                ..Policy::default()
            },
            ..Service::default()
        };
        let cluster = message("orders", &Effective::of(&service, &Clusters::DEFAULT).cluster);
        assert_eq!(
            cluster.lb_policy(),
            LbPolicy::RoundRobin,
            "the C core refuses LEAST_REQUEST"
        );
        if let Some(list) = &cluster.load_balancing_policy {
            let last = list
                .policies
                .last()
                .and_then(|p| p.typed_extension_config.as_ref());
            assert!(last.is_some_and(|p| p.name.ends_with(".round_robin")));
        }
        if let Some(outlier) = &cluster.outlier_detection {
            // Node's process can end without one of them.
            assert!(outlier.success_rate_minimum_hosts.is_some());
            assert!(outlier.success_rate_request_volume.is_some());
            assert!(outlier.success_rate_stdev_factor.is_some());
            assert!(outlier.enforcing_success_rate.is_some());
        }
        assert!(
            cluster.transport_socket.is_none(),
            "Go and Java refuse an explicit raw_buffer"
        );
        let from = cluster.eds_cluster_config.and_then(|eds| eds.eds_config);
        assert_eq!(from, Some(ads()));
    }
}
