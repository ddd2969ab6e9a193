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
    AggregatedConfigSource, ApiVersion, ConfigSource, Http2ProtocolOptions,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::UInt32Value;
use prost::Message as _;

use super::any::{duration, pack};
use crate::model::{Clusters, OnAllUnhealthy, Protocol, Service};
use crate::xds::{Draft, Kind, Reach};

pub(crate) const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Retries of a cluster at once. Envoy's default of 3 turns one dead server into failed requests.
const MAX_RETRIES: u32 = 1_000;

/// The cluster of a service.
#[must_use]
pub fn cluster(service: &Service, defaults: &Clusters) -> Draft {
    let own = Clusters {
        on_all_unhealthy: service.on_all_unhealthy(defaults.on_all_unhealthy),
        ..defaults.clone()
    };
    Draft {
        kind: Kind::Cluster,
        name: service.name.clone(),
        body: message(&service.name, service.protocol(), &own).encode_to_vec(),
        needs: vec![Arc::clone(&service.name)],
        reach: Reach::All,
    }
}

/// The same as a message, for static resources.
#[must_use]
pub fn message(name: &str, protocol: Protocol, defaults: &Clusters) -> Cluster {
    let panic = match defaults.on_all_unhealthy {
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
        connect_timeout: Some(duration(defaults.connect_timeout)),
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
        typed_extension_protocol_options: http_options(protocol),
        ..Cluster::default()
    }
}

/// One entry or none: see the module's note on maps.
fn http_options(protocol: Protocol) -> HashMap<String, envoy_types::pb::google::protobuf::Any> {
    match protocol {
        Protocol::Http1 | Protocol::Tcp => HashMap::new(),
        Protocol::Http2 | Protocol::Grpc => {
            let http2 = ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default());
            let options = HttpProtocolOptions {
                upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
                    ExplicitHttpConfig {
                        protocol_config: Some(http2),
                    },
                )),
                ..HttpProtocolOptions::default()
            };
            HashMap::from([(HTTP_OPTIONS.to_owned(), pack(&options))])
        }
    }
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
