//! A request through one listener: its filter chains, and the routes of the one that takes the connection. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener};
use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use envoy_types::pb::google::protobuf::Any;
use prost::Message as _;

use super::matching::{in_words, misfit};
use super::outcome::{Ending, Outcome};
use super::target::{of_clusters, outcome};
use super::{Kind, Passed, Request, Served, TRIED, Way, hosts};
use crate::text::clip;

const ROUTER: &str = "envoy.filters.http.router";

/// What takes a connection.
enum Taker {
    Requests(Box<HttpConnectionManager>),
    Connections(Vec<(String, u32)>),
}

/// The way of a request, and whether the listener has the port that it names. None: no chain takes it.
pub(super) fn through(
    name: &Arc<str>,
    body: &Bytes,
    request: &Request,
    served: &dyn Served,
) -> Option<(bool, Way)> {
    let Ok(listener) = Listener::decode(body.clone()) else {
        return None;
    };
    let mut way = new(name);
    // What gRPC's own clients dial has no address: the name is what they dial.
    if let Some(api) = listener
        .api_listener
        .as_ref()
        .and_then(|api| api.api_listener.as_ref())
    {
        if request.host != *name.to_ascii_lowercase() {
            return None;
        }
        let manager = HttpConnectionManager::decode(&*api.value).ok()?;
        way.listener = format!("xds:///{name}");
        requests(&manager, request, served, &mut way);
        return Some((true, way));
    }
    let (address, port, udp) = place(&listener);
    let there = request.port.is_some() && request.port == port;
    let (chain, taker) = taker(&listener.filter_chains, request)?;
    way.address = if udp { format!("{address} (UDP)") } else { address };
    let speaks_tls = chain.transport_socket.is_some();
    match &taker {
        Taker::Requests(_) if speaks_tls != request.tls => way.notes.push(if speaks_tls {
            "it speaks TLS, and the request is http://".to_owned()
        } else {
            "it does not speak TLS: an https:// request reaches it only where TLS ends in front of it"
                .to_owned()
        }),
        _ => {}
    }
    match taker {
        Taker::Requests(manager) => requests(&manager, request, served, &mut way),
        Taker::Connections(clusters) => {
            "the whole connection".clone_into(&mut way.route);
            way.ending = of_clusters(&clusters, served);
        }
    }
    Some((there, way))
}

fn new(name: &str) -> Way {
    Way {
        listener: name.to_owned(),
        address: String::new(),
        notes: Vec::new(),
        filters: Vec::new(),
        routes: String::new(),
        host: String::new(),
        passed: Vec::new(),
        more: 0,
        route: String::new(),
        ending: Ending::default(),
    }
}

/// The way of a request through a listener that only Envoy's own file knows, to routes that the client gets.
pub(super) fn of_envoys_file(name: &str, request: &Request, served: &dyn Served) -> Way {
    let mut way = new("in Envoy's own file");
    name.clone_into(&mut way.routes);
    way.notes.push(format!(
        "where it is, and what stands in front of the routes `{}`, says that file",
        clip(name)
    ));
    match served.body(Kind::Route, name) {
        Some(body) => choose(body, request, served, &mut way),
        None => way.ending = Ending::fails("404: the routes are gone".to_owned()),
    }
    way
}

fn place(listener: &Listener) -> (String, Option<u16>, bool) {
    match listener
        .address
        .as_ref()
        .and_then(|address| address.address.as_ref())
    {
        Some(AddressKind::SocketAddress(socket)) => {
            let port = match socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => u16::try_from(port).ok(),
                _ => None,
            };
            let shown = match socket.address.parse::<IpAddr>() {
                Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
                _ => socket.address.clone(),
            };
            (
                format!("{shown}:{}", port.unwrap_or_default()),
                port,
                listener.udp_listener_config.is_some(),
            )
        }
        _ => (String::new(), None, false),
    }
}

/// The chain with the longest name that fits; one without names takes what is left.
fn taker<'a>(chains: &'a [FilterChain], request: &Request) -> Option<(&'a FilterChain, Taker)> {
    let fits = |chain: &FilterChain| -> Option<usize> {
        let names = chain.filter_chain_match.as_ref().map(|m| &m.server_names);
        let Some(names) = names.filter(|names| !names.is_empty()) else {
            return Some(0);
        };
        if !request.tls {
            return None;
        }
        let names = names.iter().filter_map(|name| match name.strip_prefix('*') {
            Some(end) => request.host.ends_with(end).then_some(name.len()),
            None => (*name == request.host).then_some(usize::MAX),
        });
        names.max()
    };
    let mut found: Vec<(usize, &FilterChain)> = chains
        .iter()
        .filter_map(|chain| Some((fits(chain)?, chain)))
        .collect();
    found.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    found.into_iter().find_map(|(_, chain)| {
        let configs = chain
            .filters
            .iter()
            .filter_map(|filter| match &filter.config_type {
                Some(ConfigType::TypedConfig(any)) => Some(any),
                _ => None,
            });
        let taker = configs.into_iter().find_map(of_filter)?;
        Some((chain, taker))
    })
}

fn of_filter(any: &Any) -> Option<Taker> {
    match any.type_url.rsplit('.').next()? {
        "HttpConnectionManager" => {
            let manager = HttpConnectionManager::decode(&*any.value).ok()?;
            Some(Taker::Requests(Box::new(manager)))
        }
        "TcpProxy" => {
            let proxy = TcpProxy::decode(&*any.value).ok()?;
            let clusters = match proxy.cluster_specifier? {
                ClusterSpecifier::Cluster(name) => vec![(name, 1)],
                ClusterSpecifier::WeightedClusters(all) => {
                    let all = all.clusters.into_iter();
                    all.map(|cluster| (cluster.name, cluster.weight)).collect()
                }
            };
            Some(Taker::Connections(clusters))
        }
        _ => None,
    }
}

fn requests(manager: &HttpConnectionManager, request: &Request, served: &dyn Served, way: &mut Way) {
    let filters = manager.http_filters.iter().map(|filter| filter.name.as_str());
    way.filters = filters
        .filter(|name| *name != ROUTER)
        .map(str::to_owned)
        .collect();
    if !way.filters.is_empty() {
        let note = "the filters in front of the routes may answer it themselves, which is not replayed here";
        way.notes.push(note.to_owned());
    }
    let body = match &manager.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => match served.body(Kind::Route, &rds.route_config_name) {
            Some(body) => {
                way.routes.clone_from(&rds.route_config_name);
                body
            }
            None => {
                way.ending = Ending::fails(format!(
                    "404: this client does not get the routes `{}`",
                    clip(&rds.route_config_name)
                ));
                return;
            }
        },
        Some(RouteSpecifier::RouteConfig(inline)) => inline.encode_to_vec().into(),
        _ => {
            way.ending = Ending::fails("its routes come in a way that is not known here".to_owned());
            return;
        }
    };
    choose(body, request, served, way);
}

fn choose(body: Bytes, request: &Request, served: &dyn Served, way: &mut Way) {
    match hosts::choose(body, request) {
        Err(why) => way.ending = Ending::fails(why),
        Ok((domain, host)) => {
            way.host = domain;
            routes(&host, request, served, way);
        }
    }
}

fn routes(host: &VirtualHost, request: &Request, served: &dyn Served, way: &mut Way) {
    for route in &host.routes {
        let matching = route.r#match.clone().unwrap_or_default();
        let Some(why) = misfit(&matching, request) else {
            way.route = in_words(&matching);
            way.ending = outcome(route, request, served);
            return;
        };
        if way.passed.len() >= TRIED {
            way.more += 1;
            continue;
        }
        way.passed.push(Passed {
            route: in_words(&matching),
            to: Outcome::of_route(route),
            why,
        });
    }
    way.ending = Ending::fails(format!(
        "404: none of the {} routes of the host `{}` takes it",
        host.routes.len(),
        clip(&way.host)
    ));
}
