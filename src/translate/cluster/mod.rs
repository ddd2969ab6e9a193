//! A service's cluster: type EDS over ADS, named as the service.

mod balancing;
mod connection;
mod health;
pub mod proxyless;

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;

use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiVersion, ConfigSource, SelfConfigSource,
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::UInt32Value;
use prost::Message as _;

use super::any::duration;
use crate::model::cluster::Outlier;
use crate::model::{ClusterSettings, OnAllUnhealthy};
use crate::xds::{Draft, Kind, Reach};

pub(crate) const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The cluster of a service.
#[must_use]
pub fn cluster(name: &Arc<str>, settings: &ClusterSettings) -> Draft {
    draft(name, &served(name, settings))
}

/// The same as a message.
fn served(name: &str, settings: &ClusterSettings) -> Cluster {
    Cluster {
        // gRPC's own clients report their load only where a cluster says so; Envoy ignores it.
        lrs_server: Some(same_server()),
        ..message(name, settings)
    }
}

fn draft(name: &Arc<str>, cluster: &Cluster) -> Draft {
    Draft {
        kind: Kind::Cluster,
        name: name.clone(),
        body: cluster.encode_to_vec(),
        needs: vec![Arc::clone(name)],
        reach: Reach::All,
        local: None,
    }
}

/// As it stands in Envoy's own file.
#[must_use]
pub fn message(name: &str, settings: &ClusterSettings) -> Cluster {
    let panic = match settings.all_unhealthy {
        // Without endpoints there is no panic; those that only drain still get what there is.
        OnAllUnhealthy::Open | OnAllUnhealthy::Drop => 1.0,
        OnAllUnhealthy::Closed => 0.0,
    };
    let keys = &settings.declared;
    let check = keys.health_check.as_deref();
    let servers = settings.servers(name);
    // By itself Envoy takes the name of the cluster.
    let host = if servers == name { "" } else { servers };
    let mut cluster = Cluster {
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
        circuit_breakers: Some(connection::breakers(keys.limits.as_deref())),
        health_checks: check
            .map(|check| health::check(check, settings.protocol, host))
            .into_iter()
            .collect(),
        // Else a server that the registry no longer has stays as long as it passes.
        ignore_health_on_host_removal: check.is_some(),
        outlier_detection: match keys.outlier.as_deref() {
            Some(Outlier::On(ejection)) => Some(health::ejection(ejection)),
            Some(Outlier::Off) | None => None,
        },
        // Always there: a cluster that changes is built again.
        lrs_report_endpoint_metrics: settings
            .metric
            .iter()
            .map(|name| format!("named_metrics.{name}"))
            .collect(),
        upstream_connection_options: keys.tcp_keepalive.as_deref().map(connection::options),
        transport_socket: connection::socket_of(servers, settings),
        typed_extension_protocol_options: connection::http_options(settings),
        ..Cluster::default()
    };
    balancing::set(&mut cluster, keys);
    cluster
}

#[expect(clippy::unnecessary_wraps, reason = "as fields take it")]
const fn wrapped(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
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

/// "To whom this comes from."
fn same_server() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Self_(SelfConfigSource::default())),
        ..ConfigSource::default()
    }
}
