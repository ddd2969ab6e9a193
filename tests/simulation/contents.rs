//! What resources say, decoded by Envoy's own descriptors and not by what the engine knows of them: which clusters a
//! route needs, who has which requests, which endpoints there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::{RouteAction, RouteConfiguration};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use prost::Message as _;
use xds_bridge::xds::{Kind, Resource, Version};

/// What one resource says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Of a cluster: whose assignment it follows.
    pub(crate) follows: Option<String>,
    /// Of an assignment: where, and whether it gets new requests.
    pub(crate) endpoints: BTreeMap<SocketAddr, bool>,
    /// Of a listener: its route configurations.
    pub(crate) routes: BTreeSet<String>,
    /// Clusters that it sends requests to.
    pub(crate) clusters: BTreeSet<String>,
    /// Of a route configuration: by service what it has, in words.
    pub(crate) of_services: BTreeMap<String, BTreeSet<String>>,
    /// It cannot be decoded.
    pub(crate) is_broken: bool,
}

/// What was decoded already: equal versions are equal bytes.
#[derive(Debug, Default)]
pub(crate) struct Library(HashMap<(Kind, Version, usize), Rc<Content>>);

impl Library {
    pub(crate) fn read(&mut self, kind: Kind, resource: &Resource) -> Rc<Content> {
        let key = (kind, resource.version, resource.len());
        if let Some(known) = self.0.get(&key) {
            return known.clone();
        }
        if self.0.len() > 20_000 {
            self.0.clear();
        }
        let content = Rc::new(decode(kind, resource));
        self.0.insert(key, content.clone());
        content
    }
}

/// The service that a cluster is of.
pub(crate) fn service_of(cluster: &str) -> &str {
    cluster.split(['@', '~']).next().unwrap_or(cluster)
}

fn decode(kind: Kind, resource: &Resource) -> Content {
    let broken = || Content {
        is_broken: true,
        ..Content::default()
    };
    let Ok(body) = resource.body() else {
        return broken();
    };
    let decoded = match kind {
        Kind::Cluster => Cluster::decode(body).map(cluster),
        Kind::Endpoints => ClusterLoadAssignment::decode(body).map(assignment),
        Kind::Listener => Listener::decode(body).map(|listener| self::listener(&listener)),
        Kind::Route => RouteConfiguration::decode(body).map(|config| routes(&config)),
        Kind::Secret => return Content::default(),
    };
    decoded.unwrap_or_else(|_| broken())
}

fn cluster(cluster: Cluster) -> Content {
    let by_eds = ClusterDiscoveryType::Type(DiscoveryType::Eds as i32);
    let follows = (cluster.cluster_discovery_type == Some(by_eds)).then(|| {
        let other = cluster.eds_cluster_config.map(|eds| eds.service_name);
        other.filter(|name| !name.is_empty()).unwrap_or(cluster.name)
    });
    Content {
        follows,
        ..Content::default()
    }
}

fn assignment(assignment: ClusterLoadAssignment) -> Content {
    let mut content = Content::default();
    let all = assignment
        .endpoints
        .into_iter()
        .flat_map(|locality| locality.lb_endpoints);
    for endpoint in all {
        let healthy = [HealthStatus::Healthy as i32, HealthStatus::Unknown as i32];
        let gets = healthy.contains(&endpoint.health_status);
        let Some(HostIdentifier::Endpoint(host)) = endpoint.host_identifier else {
            continue;
        };
        let Some(Address::SocketAddress(socket)) = host.address.and_then(|address| address.address) else {
            continue;
        };
        let port = match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => u16::try_from(port).unwrap_or(0),
            _ => 0,
        };
        if let Ok(ip) = socket.address.parse() {
            content.endpoints.insert(SocketAddr::new(ip, port), gets);
        }
    }
    content
}

fn listener(listener: &Listener) -> Content {
    let mut content = Content::default();
    let mut managers = Vec::new();
    for chain in listener
        .filter_chains
        .iter()
        .chain(&listener.default_filter_chain)
    {
        for filter in &chain.filters {
            if let Some(ConfigType::TypedConfig(any)) = &filter.config_type
                && any.type_url.ends_with("HttpConnectionManager")
            {
                managers.push(HttpConnectionManager::decode(&*any.value));
            }
        }
    }
    let api = listener
        .api_listener
        .as_ref()
        .and_then(|api| api.api_listener.as_ref());
    managers.extend(api.map(|any| HttpConnectionManager::decode(&*any.value)));
    for manager in managers {
        match manager.map(|manager| manager.route_specifier) {
            Ok(Some(RouteSpecifier::Rds(rds))) => drop(content.routes.insert(rds.route_config_name)),
            Ok(Some(RouteSpecifier::RouteConfig(config))) => {
                let own = routes(&config);
                content.clusters.extend(own.clusters);
                content.of_services.extend(own.of_services);
            }
            Ok(_) => {}
            Err(_) => content.is_broken = true,
        }
    }
    content
}

fn routes(config: &RouteConfiguration) -> Content {
    let mut content = Content::default();
    for host in &config.virtual_hosts {
        for route in &host.routes {
            let Some(Action::Route(action)) = &route.action else {
                continue;
            };
            let clusters = clusters(action);
            let words = format!("{:?} {:?} {clusters:?}", host.domains, route.r#match);
            for cluster in clusters.keys() {
                let of = content.of_services.entry(service_of(cluster).to_owned());
                of.or_default().insert(words.clone());
            }
            content.clusters.extend(clusters.into_keys());
        }
    }
    content
}

fn clusters(action: &RouteAction) -> BTreeMap<String, u32> {
    let mut clusters = BTreeMap::new();
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => drop(clusters.insert(name.clone(), 0)),
        Some(ClusterSpecifier::WeightedClusters(all)) => {
            for part in &all.clusters {
                let weight = part.weight.as_ref().map_or(0, |weight| weight.value);
                clusters.insert(part.name.clone(), weight);
            }
        }
        _ => {}
    }
    let mirrors = action.request_mirror_policies.iter();
    clusters.extend(mirrors.map(|mirror| (mirror.cluster.clone(), 0)));
    clusters
}
