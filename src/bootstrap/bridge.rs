//! The static cluster by which an Envoy reaches the bridge, or several of them, and the
//! streams it opens there.

use std::time::Duration;

use envoy_types::pb::envoy::config::bootstrap::v3::ClusterManager;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily,
};
use envoy_types::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use envoy_types::pb::envoy::config::core::v3::{
    ApiConfigSource, ApiVersion, BackoffStrategy, GrpcService, Http2ProtocolOptions, KeepaliveSettings,
    RetryPolicy, api_config_source::ApiType,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};

use super::address::BridgeAddress;
use crate::translate::{cluster, pack, proto_duration};

/// Its name.
const BRIDGE: &str = crate::model::service::BRIDGE_CLUSTER;

/// A ping this often, and a connection without a reply for this time is closed. The sum is how long an
/// Envoy stays with a bridge that is frozen or cut off, with a margin below 10 s (docs/clients.md).
const KEEPALIVE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(2)];

/// Delta ADS, and a reconnect backoff of 0.2 to 2 s: by default an Envoy that lost its bridge
/// for 10 s takes 1.5 to 9.3 s more to come back (measured).
pub(super) fn ads() -> ApiConfigSource {
    let retry = RetryPolicy {
        retry_back_off: Some(BackoffStrategy {
            base_interval: Some(proto_duration(Duration::from_millis(200))),
            max_interval: Some(proto_duration(Duration::from_secs(2))),
        }),
        ..RetryPolicy::default()
    };
    ApiConfigSource {
        api_type: ApiType::DeltaGrpc as i32,
        transport_api_version: ApiVersion::V3 as i32,
        set_node_on_first_message_only: true,
        grpc_services: vec![GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: BRIDGE.to_owned(),
                retry_policy: Some(retry),
                ..EnvoyGrpc::default()
            })),
            ..GrpcService::default()
        }],
        ..ApiConfigSource::default()
    }
}

/// Where load reports go: to the bridge that takes the stream, over the same connection. Envoy itself tries again each
/// 5 s, whatever is said here.
pub(super) fn load_reports() -> ClusterManager {
    let reports = ApiConfigSource {
        api_type: ApiType::Grpc as i32,
        transport_api_version: ApiVersion::V3 as i32,
        grpc_services: vec![GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: BRIDGE.to_owned(),
                ..EnvoyGrpc::default()
            })),
            ..GrpcService::default()
        }],
        ..ApiConfigSource::default()
    };
    ClusterManager {
        load_stats_config: Some(reports),
        ..ClusterManager::default()
    }
}

/// One cluster with all addresses: when a connection ends, Envoy takes the next.
pub(super) fn cluster(bridges: &[BridgeAddress]) -> Cluster {
    let [interval, timeout] = KEEPALIVE.map(|d| Some(proto_duration(d)));
    let http2 = Http2ProtocolOptions {
        connection_keepalive: Some(KeepaliveSettings {
            interval,
            timeout,
            ..KeepaliveSettings::default()
        }),
        ..Http2ProtocolOptions::default()
    };
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(http2)),
        })),
        ..HttpProtocolOptions::default()
    };
    // By default Envoy keeps the IPv6 addresses of a name that has any: `localhost` would never
    // reach a bridge on 127.0.0.1.
    let named = bridges.iter().any(|b| matches!(b, BridgeAddress::Name { .. }));
    let (discovery, family) = if named {
        (DiscoveryType::StrictDns, DnsLookupFamily::All)
    } else {
        (DiscoveryType::Static, DnsLookupFamily::default())
    };
    Cluster {
        name: BRIDGE.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery as i32)),
        dns_lookup_family: family as i32,
        connect_timeout: Some(proto_duration(Duration::from_secs(1))),
        typed_extension_protocol_options: [(cluster::HTTP_OPTIONS.to_owned(), pack(&options))].into(),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: BRIDGE.to_owned(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: bridges.iter().map(endpoint).collect(),
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }),
        ..Cluster::default()
    }
}

fn endpoint(bridge: &BridgeAddress) -> LbEndpoint {
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(bridge.socket()),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    }
}
