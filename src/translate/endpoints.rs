//! A service's endpoints: one locality per zone, health as the registry says.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, HealthStatus, Locality, SocketAddress};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::google::protobuf::UInt32Value;
use prost::Message as _;

use crate::model::{Health, Instance, Service};
use crate::xds::{Draft, Kind, Reach};

/// The assignment of a service's cluster; without instances it is empty, never missing.
#[must_use]
pub fn endpoints(service: &Service) -> Draft {
    let mut zones: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for instance in &service.instances {
        zones.entry(&instance.zone).or_default().push(instance);
    }
    let assignment = ClusterLoadAssignment {
        cluster_name: service.name.to_string(),
        endpoints: zones
            .into_iter()
            .map(|(zone, instances)| locality(zone, &instances))
            .collect(),
        ..ClusterLoadAssignment::default()
    };
    Draft {
        kind: Kind::Endpoints,
        name: service.name.clone(),
        body: assignment.encode_to_vec(),
        needs: Vec::new(),
        reach: Reach::All,
    }
}

/// gRPC clients silently drop a locality without a weight: it gets the sum of its instances.
fn locality(zone: &str, instances: &[&Instance]) -> LocalityLbEndpoints {
    let weight = instances
        .iter()
        .fold(0_u32, |sum, i| sum.saturating_add(i.weight));
    LocalityLbEndpoints {
        locality: Some(Locality {
            zone: zone.to_owned(),
            ..Locality::default()
        }),
        lb_endpoints: instances.iter().map(|i| endpoint(i)).collect(),
        load_balancing_weight: Some(UInt32Value { value: weight.max(1) }),
        ..LocalityLbEndpoints::default()
    }
}

fn endpoint(instance: &Instance) -> LbEndpoint {
    let health = match instance.health {
        Health::Healthy => HealthStatus::Healthy,
        Health::Draining => HealthStatus::Draining,
        Health::Unhealthy => HealthStatus::Unhealthy,
    };
    LbEndpoint {
        health_status: health as i32,
        load_balancing_weight: Some(UInt32Value {
            value: instance.weight.max(1),
        }),
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(socket(instance.address)),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    }
}

/// An address as Envoy takes it.
#[must_use]
pub fn socket(address: SocketAddr) -> Address {
    Address {
        address: Some(AddressKind::SocketAddress(SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..SocketAddress::default()
        })),
    }
}
