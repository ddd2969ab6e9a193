//! The cluster of what no registry knows: its addresses stand in it, or Envoy finds them by DNS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily,
};
use envoy_types::pb::envoy::config::core::v3::{
    Address, SocketAddress, address::Address as AddressKind, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use prost::Message as _;

use super::endpoints::socket;
use crate::model::{ClusterSettings, Dns, External};
use crate::xds::{Draft, Kind, Reach};

/// With the settings of a service's cluster.
#[must_use]
pub fn cluster(name: &Arc<str>, settings: &ClusterSettings, external: &External) -> Draft {
    Draft {
        kind: Kind::Cluster,
        name: name.clone(),
        body: message(name, settings, external).encode_to_vec(),
        needs: Vec::new(),
        reach: Reach::All,
        local: None,
    }
}

/// The same as a message.
#[must_use]
pub fn message(name: &str, settings: &ClusterSettings, external: &External) -> Cluster {
    let (kind, family) = match external.dns {
        None => (DiscoveryType::Static, DnsLookupFamily::default()),
        // By default Envoy keeps the IPv6 addresses of a name that has any, reachable or not.
        Some(Dns::Strict) => (DiscoveryType::StrictDns, DnsLookupFamily::All),
        Some(Dns::Logical) => (DiscoveryType::LogicalDns, DnsLookupFamily::V4Preferred),
    };
    let endpoint = |(host, port): &(String, u16)| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address(host, *port)),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind as i32)),
        dns_lookup_family: family as i32,
        eds_cluster_config: None,
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: external.addresses.iter().map(endpoint).collect(),
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }),
        ..super::cluster::message(name, settings)
    }
}

fn address(host: &str, port: u16) -> Address {
    match host.parse::<IpAddr>() {
        Ok(ip) => socket(SocketAddr::new(ip, port)),
        Err(_) => Address {
            address: Some(AddressKind::SocketAddress(SocketAddress {
                address: host.to_owned(),
                port_specifier: Some(PortSpecifier::PortValue(port.into())),
                ..SocketAddress::default()
            })),
        },
    }
}
