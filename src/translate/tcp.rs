//! Connections that a service takes whole: the filter chains of a listener that bring them to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType as SocketConfig;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType as FilterConfig;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, WeightedCluster,
};
use envoy_types::pb::envoy::r#type::v3::HashPolicy;
use envoy_types::pb::envoy::r#type::v3::hash_policy::{PolicySpecifier, SourceIp};
use envoy_types::pb::google::protobuf::UInt32Value;

use super::any::{duration, pack};
use super::log::access_log;
use super::secret::downstream_of_connections;
use crate::model::route::hash::HashKey;
use crate::model::{Bind, Listener, ListenerTls, Matcher, Place, Target, Traffic};
use crate::plan::Claim;

/// The claims of one exposure on connections that count.
#[derive(Clone, Debug, Default)]
pub struct Connections(BTreeMap<Place, Claim>);

impl Connections {
    /// Who has these connections; nobody: they are refused. Whether that is another than before.
    pub fn set(&mut self, place: Place, claims: &[Claim]) -> bool {
        match claims.first() {
            Some(claim) => self.0.insert(place, claim.clone()).as_ref() != Some(claim),
            None => self.0.remove(&place).is_some(),
        }
    }

    /// What of them concerns a listener; it has a filter chain for each.
    fn of<'a>(&'a self, listener: &'a Listener) -> impl Iterator<Item = (&'a Place, &'a Claim)> {
        let port = match listener.bind {
            Bind::Address(address) => Some(address.port()),
            Bind::Internal => None,
        };
        self.0
            .iter()
            .filter(move |(place, claim)| match (place, &listener.traffic) {
                (_, Traffic::Tcp { service: Some(_) }) | (Place::Port(_), Traffic::Http) => false,
                (Place::Port(wanted), Traffic::Tcp { .. }) => Some(*wanted) == port,
                (Place::Name(_), _) => listener.tls.is_some() || !terminates(claim),
            })
    }

    /// The clusters that a listener sends connections to.
    #[must_use]
    pub fn clusters(&self, listener: &Listener) -> Vec<Arc<str>> {
        let claimed = self.of(listener).flat_map(|(_, claim)| claim.services());
        let all: BTreeSet<Arc<str>> = claimed.chain(listener.services().cloned()).collect();
        all.into_iter().collect()
    }

    /// The filter chains of a listener for connections.
    #[must_use]
    pub fn chains(&self, name: &str, listener: &Listener) -> Vec<FilterChain> {
        let fixed = match &listener.traffic {
            Traffic::Tcp { service } => service.as_ref(),
            Traffic::Http => None,
        };
        let fixed = fixed.map(|service| FilterChain {
            name: "port".to_owned(),
            filters: vec![proxy(name, listener, to(service))],
            transport_socket: listener.tls.as_ref().map(terminating),
            ..FilterChain::default()
        });
        let claimed = self.of(listener).map(|(place, claim)| FilterChain {
            // By their names Envoy leaves the connections of the other chains alone when one changes.
            name: match place {
                Place::Port(_) => "port".to_owned(),
                Place::Name(_) => place.host(),
            },
            filters: vec![proxy(name, listener, of_claim(claim))],
            filter_chain_match: match place {
                Place::Port(_) => None,
                Place::Name(host) => Some(FilterChainMatch {
                    // The name of all is written as none.
                    server_names: Some(host.clone())
                        .filter(|host| host != "*")
                        .into_iter()
                        .collect(),
                    transport_protocol: "tls".to_owned(),
                    ..FilterChainMatch::default()
                }),
            },
            transport_socket: match place {
                Place::Port(_) => listener.tls.as_ref().map(terminating),
                Place::Name(_) => listener
                    .tls
                    .as_ref()
                    .filter(|_| terminates(claim))
                    .map(terminating),
            },
            ..FilterChain::default()
        });
        fixed.into_iter().chain(claimed).collect()
    }
}

fn terminates(claim: &Claim) -> bool {
    matches!(claim.matcher, Matcher::Name { terminate: true })
}

fn terminating(tls: &ListenerTls) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(SocketConfig::TypedConfig(downstream_of_connections(tls))),
    }
}

/// All connections to one service.
fn to(service: &Arc<str>) -> TcpProxy {
    TcpProxy {
        cluster_specifier: Some(ClusterSpecifier::Cluster(service.to_string())),
        ..TcpProxy::default()
    }
}

fn of_claim(claim: &Claim) -> TcpProxy {
    let action = &claim.action;
    let extras = action.extras.as_deref();
    let by_address = extras.is_some_and(|extras| extras.hash.contains(&HashKey::Ip));
    TcpProxy {
        cluster_specifier: Some(match extras.map(|extras| &extras.target) {
            Some(Target::Split(parts)) => ClusterSpecifier::WeightedClusters(WeightedCluster {
                // A weight of 0 is refused, with the whole listener.
                clusters: parts
                    .iter()
                    .filter(|part| part.weight > 0)
                    .map(|part| ClusterWeight {
                        name: part.service.clone(),
                        weight: part.weight,
                        ..ClusterWeight::default()
                    })
                    .collect(),
            }),
            _ => ClusterSpecifier::Cluster(claim.cluster.to_string()),
        }),
        idle_timeout: action.stream_idle_timeout.value.map(duration),
        max_downstream_connection_duration: action
            .max_stream_duration
            .filter(|time| *time >= SHORTEST)
            .map(duration),
        // Nothing has been sent yet where a connection is refused: another server may take it.
        max_connect_attempts: Some(UInt32Value {
            value: action.retries.saturating_add(1),
        }),
        hash_policy: by_address
            .then_some(HashPolicy {
                policy_specifier: Some(PolicySpecifier::SourceIp(SourceIp {})),
            })
            .into_iter()
            .collect(),
        ..TcpProxy::default()
    }
}

/// Also on a listener with requests beside them.
const OF_CONNECTIONS: Traffic = Traffic::Tcp { service: None };

/// Envoy refuses a shorter duration of connections, and the whole listener with it.
const SHORTEST: Duration = Duration::from_millis(1);

/// With what the operator sets for the listener.
fn proxy(name: &str, listener: &Listener, proxy: TcpProxy) -> Filter {
    let proxy = TcpProxy {
        stat_prefix: name.to_owned(),
        access_log: listener
            .access_log
            .iter()
            .map(|log| access_log(name, &OF_CONNECTIONS, log))
            .collect(),
        max_downstream_connection_duration: proxy
            .max_downstream_connection_duration
            .or(listener.max_connection_duration.map(duration)),
        ..proxy
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(FilterConfig::TypedConfig(pack(&proxy))),
    }
}
